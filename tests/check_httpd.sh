#!/bin/sh
# check_httpd.sh: the server tests, or 77 (skipped) where httpd is missing.
# SPDX-License-Identifier: Apache-2.0
#
# IDEM_TESTS names a part of them, or none; IDEM_MPM the MPM, event unless set;
# arguments go to pytest.
python=/usr/bin/python3
httpd=${HTTPD:-/usr/sbin/apache2}
src=${srcdir:-.}/tests
[ "${IDEM_TESTS-}" = none ] && exit 77
[ -x "$httpd" ] || exit 77
# The workers run as www-data, which only root can arrange.
[ "$(id -u)" = 0 ] || exit 77
$python -c 'import pytest' 2>/dev/null || exit 77
export PYTHONDONTWRITEBYTECODE=1

# A sanitized module needs its run-time library before everything else. Leaks
# are not looked for: httpd leaves memory to the system at its end.
if [ -n "${IDEM_PRELOAD-}" ]; then
    work=$(mktemp -d) || exit 99
    trap 'rm -rf "$work"' EXIT
    IDEM_HTTPD=$work/httpd
    ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
    PYTHONPATH=$src${PYTHONPATH:+:$PYTHONPATH}
    export IDEM_HTTPD ASAN_OPTIONS PYTHONPATH
    cat >"$IDEM_HTTPD" <<END
#!/bin/sh
LD_PRELOAD=$IDEM_PRELOAD exec $httpd "\$@"
END
    chmod +x "$IDEM_HTTPD"
    set -- -p httpd_program "$@"
fi
$python -m pytest -q -p no:cacheprovider "$@" --mpm "${IDEM_MPM:-event}" \
    "$src/httpd/${IDEM_TESTS-}"
