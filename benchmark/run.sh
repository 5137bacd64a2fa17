#!/usr/bin/env bash
# The old gateway's wrk benchmark, against this gateway and against nginx doing the same, in turns.
#   benchmark/run.sh                      about two minutes
#   ROUNDS=5 SECONDS_EACH=20 CONNECTIONS=100 benchmark/run.sh
# The proxy under test has one CPU for itself; wrk and the nodes share the other ones. A response
# other than 2xx or a socket error makes it fail: a benchmark of errors says nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-3}
seconds=${SECONDS_EACH:-10}
connections=${CONNECTIONS:-64}
gateway=${GATEWAY:-target/release/ws-cloud-gateway}
path=/innerapi/hello/world
token=benchmark-token-only-on-loopback

fail() {
    echo "benchmark: $*" >&2
    exit 1
}

[[ -x $gateway ]] || fail "$gateway is missing: cargo build --release"
nginx=$(PATH=$PATH:/usr/sbin command -v nginx) || fail "nginx is missing: make test-deps"
command -v wrk >/dev/null || fail "wrk is missing: make test-deps"

# The last CPU is the proxy's. On a single CPU all share it, and the figures mean less.
cpus=$(nproc)
proxy_cpu=$((cpus - 1))
if ((cpus > 1)); then load_cpus=0-$((cpus - 2)); else load_cpus=0; fi

dir=$(mktemp -d)
pids=()
cleanup() {
    local code=$?
    if ((${#pids[@]})); then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    if ((code)); then
        tail -n 20 "$dir"/*.out "$dir"/*/error.log 2>/dev/null >&2 || true
    fi
    rm -rf "$dir"
}
trap cleanup EXIT

start() { # name, cpus, command...
    local name=$1 on=$2
    shift 2
    taskset -c "$on" "$@" >"$dir/$name.out" 2>&1 &
    pids+=($!)
    eval "${name}_pid=$!"
}

answers() { # url
    for _ in $(seq 100); do
        if curl -fso /dev/null "$1"; then return 0; fi
        sleep 0.1
    done
    fail "$1 does not answer: $(curl -sS -i "$1" 2>&1 | head -c 500)"
}

mkdir "$dir/upstream" "$dir/nginx" "$dir/gateway"
for name in upstream nginx; do
    cp "benchmark/nginx/$([[ $name == nginx ]] && echo nginx || echo upstream).conf" "$dir/$name/nginx.conf"
done
start upstream "$load_cpus" "$nginx" -p "$dir/upstream" -c nginx.conf
start nginx "$proxy_cpu" "$nginx" -p "$dir/nginx" -c nginx.conf
sed "s#DIR#$dir/gateway#g" benchmark/gateway.yaml >"$dir/gateway.yaml"
start gateway "$proxy_cpu" "$gateway" run -c "$dir/gateway.yaml"

answers http://127.0.0.1:18081/hello/world
answers http://127.0.0.1:18077/readyz

save() { # what, object
    local said
    said=$(curl -sS -H "X-Api-Token: $token" -H 'Content-Type: application/json' -d "$2" "http://127.0.0.1:18078/admin/$1/save")
    [[ $said == ok ]] || fail "the Admin API refused $2: $said"
}
save routes '{"key":"/innerapi/hello/*","prefix":"/innerapi/hello/*","hosts":[],"service_name":"hello","protocol":"http","status":1,
    "plugins":["discovery","tracing","rewrite"],"props":{"rewrite_url_regex":"^/innerapi/(.*)$","rewrite_replace":"/$1"},"remark":""}'
for port in 18081 18082; do
    save services "{\"key\":\"hello/127.0.0.1:$port\",\"service_name\":\"hello\",\"upstream\":\"127.0.0.1:$port\",\"weight\":1,\"status\":1}"
done

declare -A url=([gateway]=http://127.0.0.1:18080$path [nginx]=http://127.0.0.1:18090$path)
for name in gateway nginx; do
    answers "${url[$name]}"
    curl -sI "${url[$name]}" | grep -qi '^x-trace-id: .' || fail "$name adds no trace id: it does not do the same work"
done

# A process and its children: nginx's worker is a child of its master.
family() { echo "$1" $(pgrep -P "$1" || true); }

ticks() { # user and system time so far, in clock ticks
    local sum=0 pid fields
    for pid in $(family "$1"); do
        # The command in field 2 may have blanks; utime and stime are fields 14 and 15.
        fields=$(sed 's/.*) //' "/proc/$pid/stat")
        set -- $fields
        sum=$((sum + ${12} + ${13}))
    done
    echo "$sum"
}

rss() { # KiB
    local sum=0 pid
    for pid in $(family "$1"); do
        sum=$((sum + $(awk '/^VmRSS:/ {print $2}' "/proc/$pid/status")))
    done
    echo "$sum"
}

wrk_once() { # url, seconds
    taskset -c "$load_cpus" wrk -t1 -c"$connections" -d"$2s" --timeout 5s -s benchmark/report.lua "$1"
}

hz=$(getconf CLK_TCK)
results=$dir/results
echo "$connections connections, $rounds rounds of ${seconds}s each, proxy on CPU $proxy_cpu of $cpus, $("$nginx" -v 2>&1 | sed 's/.*: //')"
printf '%-8s %6s %12s %9s %9s %9s %9s %12s %9s\n' proxy round requests/s p50_ms p90_ms p99_ms p99.9_ms CPU_us/req RSS_MiB
for name in gateway nginx; do
    wrk_once "${url[$name]}" 2 >/dev/null # warm up
done
for round in $(seq "$rounds"); do
    for name in gateway nginx; do
        pid_of=${name}_pid
        before=$(ticks "${!pid_of}")
        output=$(wrk_once "${url[$name]}" "$seconds")
        after=$(ticks "${!pid_of}")
        read -r _ requests took p50 p90 p99 p999 other connect read write timeout <<<"$(grep '^RESULT ' <<<"$output")" || fail "no result from wrk: $output"
        ((requests > 0)) || fail "$name answered nothing"
        ((other == 0)) || fail "$name: $other of $requests responses were not 2xx"
        ((connect + read + write + timeout == 0)) || fail "$name: socket errors: connect $connect, read $read, write $write, timeout $timeout"
        rate=$(awk "BEGIN {printf \"%.0f\", $requests / $took}")
        cpu=$(awk "BEGIN {printf \"%.2f\", ($after - $before) / $hz * 1e6 / $requests}")
        memory=$(awk "BEGIN {printf \"%.1f\", $(rss "${!pid_of}") / 1024}")
        printf '%-8s %6d %12s %9s %9s %9s %9s %12s %9s\n' "$name" "$round" "$rate" "$p50" "$p90" "$p99" "$p999" "$cpu" "$memory"
        echo "$name $rate $p50 $p99 $cpu $memory" >>"$results"
    done
done

echo
echo "medians:"
median() { # name, column
    awk -v name="$1" -v column="$2" '$1 == name {print $column}' "$results" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
}
printf '%-8s %12s %9s %9s %12s %9s\n' proxy requests/s p50_ms p99_ms CPU_us/req RSS_MiB
for name in gateway nginx; do
    printf '%-8s %12s %9s %9s %12s %9s\n' "$name" "$(median $name 2)" "$(median $name 3)" "$(median $name 4)" "$(median $name 5)" "$(median $name 6)"
done

# The work must have been done to the end: every line of the log is there and parses.
dropped=$(curl -s http://127.0.0.1:18077/metrics | awk '/^gateway_access_log_dropped_total/ {sum += $2} END {print sum + 0}')
echo "access log lines dropped by the gateway: $dropped"
