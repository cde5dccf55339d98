# httpd_program.py: pytest plugin: IDEM_HTTPD names the httpd to be started.
# SPDX-License-Identifier: Apache-2.0
#
# check_httpd.sh gives a script that loads a sanitizer's run-time library
# before httpd. To preload it for all of pytest is no way: PHP-FPM, which the
# tests start as well, does not run under it.
import os
import sys


def pytest_sessionstart(session):
    sys.modules["rig"].HTTPD = os.environ["IDEM_HTTPD"]
