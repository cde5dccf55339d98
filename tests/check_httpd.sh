#!/bin/sh
# check_httpd.sh: the server tests, or 77 (skipped) where httpd is missing.
# SPDX-License-Identifier: Apache-2.0
#
# IDEM_TESTS names a part of them, or none; IDEM_MPM the MPM, event unless set;
# arguments go to pytest.
python=/usr/bin/python3
[ "${IDEM_TESTS-}" = none ] && exit 77
[ -x "${HTTPD:-/usr/sbin/apache2}" ] || exit 77
# The workers run as www-data, which only root can arrange.
[ "$(id -u)" = 0 ] || exit 77
$python -c 'import pytest' 2>/dev/null || exit 77
export PYTHONDONTWRITEBYTECODE=1

# A module with sanitizers: the tests preload IDEM_PRELOAD into httpd. Leaks are
# not looked for: httpd leaves memory to the system at its end.
if [ -n "${IDEM_PRELOAD-}" ]; then
    ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
    export ASAN_OPTIONS
fi
exec $python -m pytest -q -p no:cacheprovider "$@" --mpm "${IDEM_MPM:-event}" \
    "${srcdir:-.}/tests/httpd/${IDEM_TESTS-}"
