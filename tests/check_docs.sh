#!/bin/sh
# check_docs.sh: directives with their contexts and defaults, log numbers,
# problem types with their statuses: code, manual and sample agree.
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

sed -n 's/^    { "\([a-z-]*\)", \([0-9]*\),.*/\1 \2/p' lib/idem_problem.c |
    sort >"$work/statuses"
awk '/^## /{ name = $2; next }
    name && /^[0-9][0-9][0-9][. ]/{ print name, substr($0, 1, 3); name = "" }' \
    docs/problems.md | sort >"$work/problems"
same "statuses of problems" "$work/statuses" "$work/problems" code \
    docs/problems.md
sed -n 's/^|.* | \([0-9]*\) | `\([a-z-]*\)` |$/\2 \1/p' \
    docs/mod_idempotency.md | sort >"$work/answers"
same "statuses of problems" "$work/statuses" "$work/answers" code manual
n=$(grep -c . "$work/types")
for who in Client Administrator; do
    [ "$(grep -c "^\*$who:\*" docs/problems.md)" = "$n" ] ||
        wrong "docs/problems.md: not one *$who:* for each problem"
done

# Contexts and defaults: what the table of directives says, against the manual.
base=$(sed -n 's/^#define IDEM_DEFAULT_BASE "\(.*\)"/\1/p' httpd/*.h lib/*.h)
awk -v base="$base" '
    /AP_INIT_/ { text = ""; on = 1 }
    on { text = text $0 }
    on && /("|IDEM_DEFAULT_BASE)\),$/ {
        on = 0
        gsub(/" +"/, "", text)
        sub(/" IDEM_DEFAULT_BASE/, base "\"", text)
        name = text; sub(/^[^"]*"/, "", name); sub(/".*/, "", name)
        where = text ~ /EVERYWHERE/ ? "everywhere" : \
            text ~ /NOT_HTACCESS/ ? "sections" : "server"
        preset = "-"
        if (text ~ /default /) {
            preset = text
            sub(/.*default /, "", preset)
            sub(/(:.*no limit)?"\),$/, "", preset)
        }
        print name "\t" where "\t" preset
    }' httpd/idem_directives.c | sort >"$work/table"
awk '
    function flush() { if (name) print name "\t" where "\t" preset }
    /^## / { flush(); name = ""; where = preset = "-" }
    /^## Idempotency/ { name = $2 }
    name && /^\| Context \| / {
        where = /\.htaccess/ ? "everywhere" : \
            /directory/ ? "sections" : "server"
    }
    name && /^\| Default \| / {
        preset = $0
        sub(/^\| Default \| /, "", preset)
        sub(/ \|$/, "", preset)
        gsub(/`/, "", preset)
        sub("^" name " ", "", preset)
    }
    END { flush() }' docs/mod_idempotency.md | sort >"$work/pages"
# No default in the table of the code: the manual says so in its own words.
awk -F '\t' 'NR == FNR { if ($3 == "-") free[$1] = 1; next }
    $1 in free { $3 = "-" } { print $1 "\t" $2 "\t" $3 }' \
    "$work/table" "$work/pages" >"$work/pages.free"
same "contexts and defaults" "$work/table" "$work/pages.free" code manual
# The sample shows the default, where there is one that a line can be.
awk -F '\t' 'NR == FNR {
        if ($3 !~ /^-$|^none$|%/) preset[$1] = $3
        next
    }
    { sub(/^[ #]*/, "") }
    match($0, /^Idempotency[A-Za-z]+/) {
        name = substr($0, 1, RLENGTH)
        if (name in preset &&
            index($0 " ", name " " preset[name] " ") != 1) print
    }' "$work/table" conf/idempotency.conf >"$work/other"
[ ! -s "$work/other" ] ||
    wrong "conf/idempotency.conf: not the default: $(cat "$work/other")"
awk '/^## /{ name = "" } /^## Idempotency/{ name = $2; want[name] = 1 }
    name && /^\*\*To publish:\*\*/ { delete want[name] }
    END { for (name in want) print name }' docs/mod_idempotency.md \
    >"$work/unpublished"
[ ! -s "$work/unpublished" ] ||
    wrong "no text to publish for: $(cat "$work/unpublished")"

for list in code numbers types statuses table; do
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
