/* replay.c: feeds files to a fuzz target, for compilers without libFuzzer.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   fuzz_key tests/fuzz/corpus/key/...
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define LEN_MAX (1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A copy of exactly its length, so that a sanitizer sees reads beyond. */
static int replay(const char *name, uint8_t *room)
{
    FILE *file = fopen(name, "rb");
    uint8_t *data;
    size_t len, i;

    if (!file) {
        perror(name);
        return 0;
    }
    len = fread(room, 1, LEN_MAX, file);
    fclose(file);
    data = malloc(len ? len : 1);
    if (!data) {
        perror(name);
        return 0;
    }
    for (i = 0; i < len; i++) {
        data[i] = room[i];
    }
    LLVMFuzzerTestOneInput(data, len);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    uint8_t *room = malloc(LEN_MAX);
    int i, bad = 0;

    if (!room || argc < 2) {
        fprintf(stderr, "usage: %s file ...\n", argv[0]);
        return 2;
    }
    for (i = 1; i < argc; i++) {
        bad += !replay(argv[i], room);
    }
    free(room);
    printf("%d files replayed\n", argc - 1 - bad);
    return bad ? 1 : 0;
}
