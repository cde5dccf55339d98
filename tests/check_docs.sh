#!/bin/sh
# check_docs.sh: directives and log numbers: code, manual and sample agree.
# SPDX-License-Identifier: Apache-2.0
cd "${srcdir:-.}" || exit 99
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
rc=0

same() { # what, file A, file B
    if ! diff "$2" "$3" >"$work/diff"; then
        echo "$1 differ (< $4, > $5):"
        cat "$work/diff"
        rc=1
    fi
}

grep -ohE 'AP_INIT_[A-Z0-9_]+\("Idempotency[A-Za-z]+"' httpd/idem_config.c |
    sed 's/.*"\(.*\)"/\1/' | sort >"$work/code"
grep -oE '^## Idempotency[A-Za-z]+' docs/mod_idempotency.md |
    sed 's/## //' | sort >"$work/manual"
grep -oE '^[ #]*Idempotency[A-Za-z]+' conf/idempotency.conf |
    sed 's/[ #]*//' | sort >"$work/sample"
same "directives" "$work/code" "$work/manual" code manual
same "directives" "$work/code" "$work/sample" code sample

grep -ohE '"IDEM[0-9]{4}' mod_idempotency.c httpd/*.c stores/mod_*.c 2>/dev/null |
    tr -d '"' | sort >"$work/numbers"
grep -oE '^\| IDEM[0-9]{4}' docs/log-messages.md | sed 's/| //' |
    sort >"$work/rows"
same "log numbers" "$work/numbers" "$work/rows" code manual
doubled=$(uniq -d "$work/numbers")
if [ -n "$doubled" ]; then
    echo "log numbers used twice: $doubled"
    rc=1
fi

for word in missing-key invalid-key payload-too-large key-reused in-progress \
    response-not-retained outcome-unknown key-expired store-unavailable; do
    grep -q "^## $word" docs/problems.md || {
        echo "docs/problems.md has no section $word"
        rc=1
    }
done
[ -s "$work/code" ] && [ -s "$work/numbers" ] || rc=1
exit $rc
