#!/bin/sh
# check_fuzz.sh: every file of the corpora once through its fuzz target.
# SPDX-License-Identifier: Apache-2.0
rc=0
for name in form json key key_time multipart record store; do
    "tests/fuzz/fuzz_$name" "${srcdir:-.}/tests/fuzz/corpus/$name"/* || {
        echo "tests/fuzz/fuzz_$name failed"
        rc=1
    }
done
exit $rc
