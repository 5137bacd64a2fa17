#!/usr/bin/env bash
# Fuzzes each target for a while, two at a time: t/fuzz/run.sh [seconds [target...]]
# FUZZ_SEED=1 begins the search at the same place each time.
# Works with stable Rust and without cargo-fuzz, which does the same and adds a sanitizer. An input
# that breaks a promise is left in t/fuzz/found/; put it among the seeds, where the tests keep it.
set -uo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
shift || true
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(path router config objects proxy)

# What cargo-fuzz gives rustc. Native code stays as it is.
coverage=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    --cfg fuzzing
)
triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="${coverage[*]} ${RUSTFLAGS:-}"
# With a triple, so that build scripts are not instrumented.
cargo build --release --target "$triple" || exit 1

mkdir -p found corpus
run() {
    local target=$1 log=corpus/$1.log
    mkdir -p "corpus/$target"
    if "target/$triple/release/$target" "corpus/$target" "seeds/$target" -max_total_time="$seconds" -seed="${FUZZ_SEED:-0}" \
        -max_len=8192 -timeout=25 -rss_limit_mb=2048 -artifact_prefix="found/$target-" -print_final_stats=1 \
        >"$log" 2>&1; then
        echo "fuzz $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing found"
    else
        tail -40 "$log"
        echo "fuzz $target: FAILED, see t/fuzz/found/ and t/fuzz/$log"
        return 1
    fi
}

failed=0
pids=()
for target in "${targets[@]}"; do
    if [[ ${#pids[@]} -ge 2 ]]; then
        wait "${pids[0]}" || failed=1
        pids=("${pids[@]:1}")
    fi
    run "$target" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || failed=1
done
exit $failed
