#!/bin/sh
# check_layers.sh: lib/, stores/ and include/ know no httpd.
# SPDX-License-Identifier: Apache-2.0
cd "${srcdir:-.}" || exit 99
bad=$(grep -nE '#[[:space:]]*include[[:space:]]*[<"](httpd|http_|ap_|util_|mod_(status|ssl|watchdog|proxy))' \
    include/*.h lib/*.[ch] stores/idem_*.[ch])
if [ -n "$bad" ]; then
    echo "httpd headers below the glue:"
    echo "$bad"
    exit 1
fi
bad=$(grep -nE '#[[:space:]]*include.*idem_(store_)?shm' lib/*.[ch] include/*.h)
if [ -n "$bad" ]; then
    echo "lib/ must not know a store:"
    echo "$bad"
    exit 1
fi
# A clock in the logic would make its tests depend on the time of day.
bad=$(grep -nE 'apr_time_now|[^_]time\(NULL\)|clock_gettime|ap_log_' lib/*.[ch])
if [ -n "$bad" ]; then
    echo "clock or log in lib/:"
    echo "$bad"
    exit 1
fi
# httpd loads modules of many authors into one process: no other name shows.
if [ -f "${IDEM_MODULE-}" ] && command -v nm >/dev/null; then
    shown=$(nm -D --defined-only "$IDEM_MODULE" | sed 's/.* //')
    if [ "$shown" != idempotency_module ]; then
        echo "exported, besides or instead of idempotency_module:"
        echo "$shown"
        exit 1
    fi
    redis=${IDEM_MODULE%.so}_redis.so
    if [ -f "$redis" ]; then
        shown=$(nm -D --defined-only "$redis" | sed 's/.* //')
        if [ "$shown" != idempotency_redis_module ]; then
            echo "exported, besides or instead of idempotency_redis_module:"
            echo "$shown"
            exit 1
        fi
    fi
    # jansson, which mod_md loads, has functions of these names too.
    if nm -D --undefined-only "$IDEM_MODULE" |
        grep -E ' json_object_(get|iter_next)(@|$)'; then
        echo "of json-c or of jansson?"
        exit 1
    fi
fi
