#!/usr/bin/env bash
# Installs the system packages that are missing, and nothing when none is.
#   etc/install-deps.sh build         what compiling needs
#   etc/install-deps.sh build test    and what the tests need
#   etc/install-deps.sh benchmark     what the benchmark needs
#   etc/install-deps.sh pgo           what `make release` needs to train the gateway
# Debian and Ubuntu by apt; elsewhere it names what is missing.
set -euo pipefail

missing=()

# Each line: what shows that a package is there (a command, or a file), and the package's name.
need() {
    case $1 in
        /*) [[ -e $1 ]] || missing+=("$2") ;;
        *) command -v "$1" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || missing+=("$2") ;;
    esac
}

build() {
    need cc gcc
    need make make
    need cmake cmake                     # zlib-ng, which Pingora compiles
    need protoc protobuf-compiler        # etcd-client's protocol
    need /usr/include/google/protobuf/descriptor.proto libprotobuf-dev
    need pkg-config pkg-config
    need /usr/include/openssl/ssl.h libssl-dev
}

test() {
    need curl curl
    need c++ g++                         # libFuzzer
    need etcd etcd-server
    need nginx nginx
    need wrk wrk
    need h2load nghttp2-client
    need python3 python3
    need systemd-analyze systemd
    need unshare util-linux
    need chromium chromium               # the control panel's tests
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
}

benchmark() {
    need curl curl
    need h2load nghttp2-client
    need haproxy haproxy
    need nginx nginx
    need openssl openssl
    need etcd etcd-server
    need python3 python3
    need valgrind valgrind
    need wrk wrk
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
}

pgo() {
    local llvm
    llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    # rustup's llvm-tools have it too.
    if [[ -z ${LLVM_PROFDATA:-} ]] && ! compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/llvm-profdata" >/dev/null; then
        need "llvm-profdata-$llvm" "llvm-$llvm"
    fi
    need curl curl
    need h2load nghttp2-client
    need nginx nginx
    need openssl openssl
}

for group in "$@"; do
    case $group in
        build | test | benchmark | pgo) "$group" ;;
        *) echo "unknown group: $group (build, test, benchmark, pgo)" >&2; exit 2 ;;
    esac
done

if ((${#missing[@]} == 0)); then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "please install: ${missing[*]} (names as in Debian)" >&2
    exit 1
fi

echo "installing: ${missing[*]}"
root=()
if [[ $(id -u) != 0 ]]; then
    root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -qq
# A package must not start its service here: the tests bring their own nginx and etcd.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
    "${root[@]}" chmod +x $policy
    trap '"${root[@]}" rm -f $policy' EXIT
fi
"${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
