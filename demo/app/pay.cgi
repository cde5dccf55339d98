#!/bin/sh
# pay.cgi: the same as a CGI script.
# SPDX-License-Identifier: Apache-2.0
body=$(cat)
number=$(
    flock 9
    n=$(($(cat "$PAYMENTS" 2>/dev/null || echo 0) + 1))
    echo "$n" >"$PAYMENTS"
    echo "$n"
) 9>"$PAYMENTS.lock"
case ${QUERY_STRING-} in
sleep=[0-9]) sleep "${QUERY_STRING#sleep=}" ;;
esac
printf 'Status: 201 Created\r\nContent-Type: text/plain\r\n'
printf 'Location: /payments/%s\r\n\r\n' "$number"
printf 'payment %s by process %s: %s\n' "$number" "$$" "$body"
