#!/bin/sh
# Installs the Debian packages that the tests need, where they are absent. It
# asks nothing, and leaves no registry running or enabled: the tests run their
# own, each on a port of its own. Without root it only says what is missing.
set -eu

missing=
optional=
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need docker-registry docker-registry
need skopeo skopeo
need podman podman
need openssl openssl
need tar tar
need sha256sum coreutils
[ -z "${AIRLIFT_SOAK-}" ] || need etcd etcd-server
want() { # PROGRAM PACKAGE: without it the tests that use it are skipped
    command -v "$1" >/dev/null 2>&1 || optional="$optional $2"
}
if [ "$(id -u)" -eq 0 ]; then # only root mounts
    want mkfs.exfat exfatprogs
    want mount.exfat-fuse exfat-fuse
fi

# The registry of distribution 3, which takes sparse indexes: Debian has none.
if ! command -v registry >/dev/null 2>&1 && [ ! -x "$(go env GOPATH)/bin/registry" ]; then
    GOBIN="$(go env GOPATH)/bin" CGO_ENABLED=0 go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2
fi

[ -n "$missing$optional" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "missing:$missing; run as root: apt-get install --no-install-recommends$missing" >&2
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing$optional; there is no apt-get here, install them by hand" >&2
    [ -z "$missing" ]
    exit
fi

# A policy that forbids maintainer scripts to start services, unless the system
# has a policy already.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# $missing and $optional are lists of words.
# shellcheck disable=SC2086
[ -z "$missing" ] || apt-get install -q -y --no-install-recommends $missing
# shellcheck disable=SC2086
[ -z "$optional" ] || apt-get install -q -y --no-install-recommends $optional ||
    echo "missing:$optional; the tests that need it are skipped" >&2

case "$missing " in
*" docker-registry "*)
    # Enabled by its package: not at the next start either.
    if [ -d /run/systemd/system ]; then
        systemctl disable --quiet --now docker-registry.service || true
    else
        update-rc.d docker-registry disable >/dev/null 2>&1 || true
    fi
    ;;
esac
