# lib.sh: small Debian systems to install into, made once and copied.
# SPDX-License-Identifier: Apache-2.0
#
# For bash, as root. They are in /var/tmp/idempotency-chroot and made anew
# after a week. Which archive they come from is what apt of this machine says.

chroots=/var/tmp/idempotency-chroot
# shellcheck disable=SC1091
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
chroot_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# inside ROOT net|alone COMMAND...: with processes and mounts of its own, and
# with "alone" a network of its own that reaches nothing.
inside() {
    local root=$1 net=() up=:
    [ "$2" = alone ] && net=(--net) && up="ip link set lo up"
    shift 2
    unshare --mount --pid --fork --kill-child "${net[@]}" bash -c '
        mount --make-rprivate / &&
            mount -t proc proc "$0/proc" &&
            mount -t tmpfs -o mode=1777 tmpfs "$0/dev/shm" &&
            mount -t devpts -o newinstance,ptmxmode=666 devpts "$0/dev/pts" &&
            '"$up"' &&
            exec chroot "$0" env -i PATH='"$chroot_path"' HOME=/root \
                LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
    ' "$root" "$@"
}

# Whether this machine lets us.
chroot_allowed() {
    unshare --mount --pid --fork --net ip link set lo up 2>/dev/null
}

# Lines of sources.list for Debian's own archives, as apt of this machine
# has them.
debian_sources() {
    # shellcheck disable=SC2016 # the fields are apt's
    apt-get indextargets --format \
        '$(ORIGIN) deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' | sed -n 's/^Debian deb /deb /p' | sort -u
}

# make_base ROOT: the base system alone
make_base() {
    local site proxy=""
    site=$(debian_sources | awk -v c="$codename" '$3 == c { print $2; exit }')
    [ -n "$site" ] || {
        echo "apt of this machine names no archive of Debian $codename"
        return 1
    }
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    http_proxy=$proxy debootstrap --variant=minbase "$codename" "$1" "$site" &&
        debian_sources >"$1/etc/apt/sources.list" &&
        { [ -z "$proxy" ] || echo "Acquire::http::Proxy \"$proxy\";" \
            >"$1/etc/apt/apt.conf.d/01proxy"; } &&
        cp /etc/resolv.conf "$1/etc/" &&
        echo 'Acquire::Retries "3";' >"$1/etc/apt/apt.conf.d/02retries" &&
        echo 127.0.0.1 localhost >"$1/etc/hosts"
}

# make_server ROOT: an Apache with PHP, as a newcomer has it, and Redis.
# Packages start and restart services in it only later: without init that
# takes a policy.
make_server() {
    local base
    base=$(chroot_of base) && cp -a "$base/." "$1" &&
        printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" &&
        chmod 755 "$1/usr/sbin/policy-rc.d" &&
        inside "$1" net apt-get update -qq &&
        inside "$1" net apt-get install -y -qq --no-install-recommends \
            apache2 libapache2-mod-php curl logrotate procps redis-server &&
        inside "$1" net apt-get clean &&
        printf '#!/bin/sh\nexit 0\n' >"$1/usr/sbin/policy-rc.d"
}

# chroot_of base|server: makes it if it is missing or old; prints its path
chroot_of() {
    local root
    # A change of how it is made, makes another one.
    root=$chroots/$1-$codename-$(declare -f make_base "make_$1" | cksum |
        cut -d' ' -f1)
    mkdir -p "$chroots" && (
        flock 9
        if [ -n "$(find "$root/made" -mtime -7 2>/dev/null)" ]; then
            exit 0
        fi
        rm -rf --one-file-system "$chroots/$1-$codename"-*
        mkdir "$root.new" && "make_$1" "$root.new" >"$root.log" 2>&1 || {
            tail -20 "$root.log" >&2
            exit 1
        }
        touch "$root.new/made" && mv "$root.new" "$root"
    ) 9>"$chroots/$1.lock" && echo "$root"
}

# promtool, which is said on standard output: the one that is installed, or
# taken out of its package, since installing that would start a service.
find_promtool() {
    local kept=$chroots/promtool
    command -v promtool && return 0
    mkdir -p "$chroots" && (
        flock 9
        [ -x "$kept" ] && exit 0
        cd "$chroots" && rm -rf prometheus && mkdir prometheus &&
            cd prometheus && chown _apt . && apt-get download prometheus &&
            dpkg-deb -x prometheus_*.deb . && mv usr/bin/promtool "$kept" &&
            cd .. && rm -rf prometheus
    ) 9>"$chroots/promtool.lock" >"$chroots/promtool.log" 2>&1 && echo "$kept"
}
