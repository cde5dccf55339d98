#!/bin/sh
# check_packages.sh: packages, demos and tests name what configure asks for,
# and one version.
# SPDX-License-Identifier: Apache-2.0
cd "${srcdir:-.}" || exit 99
rc=0

wrong() {
    echo "$*"
    rc=1
}
# The Debian package of each name that pkg-config knows.
debian() {
    case $1 in
    cmocka) echo libcmocka-dev ;;
    hiredis | hiredis_ssl) echo libhiredis-dev ;;
    json-c) echo libjson-c-dev ;;
    libcrypto) echo libssl-dev ;;
    zlib) echo zlib1g-dev ;;
    *) echo "unknown-to-check_packages.sh:$1" ;;
    esac
}
names=$(sed -n 's/.*PKG_CHECK_MODULES(\[[A-Z_]*\], \[\([^]]*\)\].*/\1/p' \
    configure.ac | tr ' ' '\n' | grep -E '^[a-z]')
[ -n "$names" ] || wrong "no PKG_CHECK_MODULES found in configure.ac"
for name in $names; do
    package=$(debian "$name")
    for file in debian/control tests/run; do
        grep -qw -e "$package" $file ||
            wrong "$file lacks $package, which configure asks for"
    done
    grep -qF "pkgconfig($name)" packaging/rpm/mod_idempotency.spec ||
        wrong "the spec lacks pkgconfig($name)"
    [ "$name" = cmocka ] || grep -qw -e "$package" demo/cluster ||
        wrong "demo/cluster lacks $package, which configure asks for"
    # The demo wants what the base module wants, and no more.
    case $name in
    cmocka | hiredis* | zlib) ;;
    *)
        grep -qw -e "$package" demo/run ||
            wrong "demo/run lacks $package, which configure asks for"
        ;;
    esac
done

# A base system has no pgrep.
for file in demo/run demo/cluster; do
    if grep -qw -e pgrep -e pkill $file; then
        grep -qw procps $file || wrong "$file uses pgrep and lacks procps"
    fi
done

version=$(sed -n 's/^AC_INIT(\[mod_idempotency\], \[\(.*\)\])$/\1/p' \
    configure.ac)
grep -q "^mod-idempotency ($version-" debian/changelog ||
    wrong "debian/changelog does not begin with version $version"
grep -q "^Version: *$version\$" packaging/rpm/mod_idempotency.spec ||
    wrong "the spec is not of version $version"
grep -q "^Changes with mod_idempotency $version\$" CHANGES ||
    wrong "CHANGES has nothing of version $version"
exit $rc
