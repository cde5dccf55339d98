#!/bin/sh
# check_httpd.sh: the server tests, or 77 (skipped) where httpd is missing.
# SPDX-License-Identifier: Apache-2.0
# IDEM_TESTS names a part of them; IDEM_MPM the MPM, event unless set.
python=/usr/bin/python3
[ -x "${HTTPD:-/usr/sbin/apache2}" ] || exit 77
[ "$(id -u)" = 0 ] || exit 77
$python -c 'import pytest' 2>/dev/null || exit 77
[ "${IDEM_TESTS-}" = none ] && exit 77
exec $python -m pytest -q -p no:cacheprovider --mpm "${IDEM_MPM:-event}" \
    "${srcdir:-.}/tests/httpd/${IDEM_TESTS-}"
