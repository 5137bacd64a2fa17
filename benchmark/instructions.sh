#!/usr/bin/env bash
# Counts the user instructions of a request (full work) and of a gRPC call, under callgrind, and fails
# when either is more than 3 percent above benchmark/instructions.txt.
#   benchmark/instructions.sh           as CI does
#   benchmark/instructions.sh --keep    write the new number; say in the commit what was bought with it
#   PROFILE=quick, BUILD=no, GATEWAY=FILE, BARE=FILE and UPSTREAM=FILE as for run.sh; compare only with
#   a number of the same profile
set -euo pipefail
cd "$(dirname "$0")/.."

export PROFILE=${PROFILE:-release}
folder=target/$PROFILE
if [[ $PROFILE == dev ]]; then folder=target/debug; fi

etc/install-deps.sh build benchmark
if [[ ${BUILD:-yes} == yes ]]; then
    [[ -n ${GATEWAY:-} ]] || cargo build --profile "$PROFILE" --bin ws-cloud-gateway
    cargo build --profile "$PROFILE" -p ws-cloud-gateway-benchmark
fi
export GATEWAY=${GATEWAY:-$folder/ws-cloud-gateway}
export BARE=${BARE:-$folder/bare} UPSTREAM=${UPSTREAM:-$folder/bench-upstream}
PYTHONPATH=benchmark exec python3 -B -m harness.kept "$@"
