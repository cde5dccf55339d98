#!/bin/sh
# check_docs.sh: directives, log numbers and problem types: code, manual and
# sample configuration agree.
# SPDX-License-Identifier: Apache-2.0
cd "${srcdir:-.}" || exit 99
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
rc=0

wrong() {
    echo "$*"
    rc=1
}
same() { # what, file A, file B, name of A, name of B
    if ! diff "$2" "$3" >"$work/diff"; then
        wrong "$1 differ (< $4, > $5):"
        cat "$work/diff"
    fi
}

grep -ohE 'AP_INIT_[A-Z0-9_]+\("Idempotency[A-Za-z]+"' httpd/idem_directives.c |
    sed 's/.*"\(.*\)"/\1/' | sort >"$work/code"
grep -oE '^## Idempotency[A-Za-z]+' docs/mod_idempotency.md |
    sed 's/## //' | sort >"$work/manual"
grep -oE '^[ #]*Idempotency[A-Za-z]+' conf/idempotency.conf |
    sed 's/[ #]*//' | sort >"$work/sample"
same "directives" "$work/code" "$work/manual" code manual
same "directives" "$work/code" "$work/sample" code sample

grep -ohE '"IDEM[0-9]{4}' mod_idempotency.c httpd/*.c \
    stores/mod_*.c | tr -d '"' |
    sort >"$work/numbers"
grep -oE '^\| IDEM[0-9]{4}' docs/log-messages.md | sed 's/| //' |
    sort >"$work/rows"
same "log numbers" "$work/numbers" "$work/rows" code manual
doubled=$(uniq -d "$work/numbers")
[ -z "$doubled" ] || wrong "log numbers used twice: $doubled"

sed -n 's/^    { "\([a-z-]*\)", [0-9]*,.*/\1/p' lib/idem_problem.c |
    sort >"$work/types"
sed -n 's/^## \([a-z-]*\)$/\1/p' docs/problems.md | sort >"$work/sections"
same "problem types" "$work/types" "$work/sections" code docs/problems.md

for list in code numbers types; do
    [ -s "$work/$list" ] || wrong "no $list found: does the search still fit?"
done

# The sample loads as it is, and with each of its lines put in force.
if [ -x "${HTTPD-}" ] && [ -f "${IDEM_MODULE-}" ]; then
    cp conf/idempotency.conf "$work/asis.conf"
    sed 's/^\( *\)#\(Idempotency[A-Z]\)/\1\2/' conf/idempotency.conf \
        >"$work/inforce.conf"
    for form in asis inforce; do
        cat >"$work/httpd.conf" <<END
ServerRoot $work
ServerName localhost
DefaultRuntimeDir $work
ErrorLog $work/error.log
LoadModule mpm_event_module $HTTPD_MODULEDIR/mod_mpm_event.so
LoadModule idempotency_module $IDEM_MODULE
Include $work/$form.conf
END
        LD_PRELOAD=${IDEM_PRELOAD-} ASAN_OPTIONS=detect_leaks=0 \
            "$HTTPD" -t -f "$work/httpd.conf" >"$work/says" 2>&1 ||
            wrong "conf/idempotency.conf, $form: $(cat "$work/says")"
    done
fi
exit $rc
