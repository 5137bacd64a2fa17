#!/usr/bin/env bash
# The release binary with LTO, compiled a second time by a profile of itself at work (PGO): `make release`.
#   benchmark/pgo.sh                 target/dist/ws-cloud-gateway; about as long as two release builds
#   PGO_PORT=20000 benchmark/pgo.sh  the first of the eight loopback ports that the training uses (18180)
#   LLVM_PROFDATA=FILE               an llvm-profdata of rustc's LLVM version, where Debian has no package
# Installs what is missing. Without an llvm-profdata it makes a release without a profile, and says so.
# A response with another status than the training expects makes it fail: a profile of errors would
# optimise errors.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
dist=$target/dist/ws-cloud-gateway
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
token=pgo-token-only-on-loopback

port=${PGO_PORT:-18180}
http=127.0.0.1:$port
h2c=127.0.0.1:$((port + 1))
tls=127.0.0.1:$((port + 2))
admin=127.0.0.1:$((port + 3))
status=127.0.0.1:$((port + 4))
nodes=(127.0.0.1:$((port + 5)) 127.0.0.1:$((port + 6)))
grpc_node=127.0.0.1:$((port + 7))

dir=$(mktemp -d)
pids=()
stop() {
    if ((${#pids[@]})); then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    pids=()
}
cleanup() {
    local code=$?
    stop
    if ((code)); then
        tail -n 20 "$dir"/*.out "$dir"/error.log "$dir"/nodes/error.log >&2 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap cleanup EXIT

fail() {
    echo "pgo: $*" >&2
    exit 1
}

times=()
step() { # what, command...
    local what=$1 since=$SECONDS
    shift
    echo "== $what ($(date +%T))"
    "$@"
    times+=("$(printf '%-24s %5d s' "$what" $((SECONDS - since)))")
}

# Prints an llvm-profdata that reads what this rustc's programs write: the format changes with LLVM.
find_profdata() {
    command -v "${LLVM_PROFDATA:-}" || command -v "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" ||
        command -v "llvm-profdata-$llvm"
}

# Why there can be no profile, or nothing.
obstacle() {
    if ! compgen -G "$(rustc --print target-libdir)/libprofiler_builtins-*" >/dev/null; then
        echo "this rustc comes without profiler_builtins; rustup's has it"
    elif ! etc/install-deps.sh pgo >&2 || ! find_profdata >/dev/null; then
        echo "llvm-profdata $llvm or a tool of the training is missing: see above, or: rustup component add llvm-tools"
    fi
}

compile() { # target directory, flags of rustc...
    local into=$1 flags
    shift
    # Unlike RUSTFLAGS this may hold paths with blanks. --target keeps the flags from build scripts and
    # procedural macros. Both builds use one cargo profile: a crate's symbols, by which the profile knows
    # its functions, depend on it.
    flags=$(printf '\x1f%s' ${RUSTFLAGS:-} "$@")
    CARGO_ENCODED_RUSTFLAGS=${flags:1} CARGO_TARGET_DIR=$into $cargo build --release --target "$host" --bin ws-cloud-gateway
}

# Most counts are sums and differences of others: they are atomic lest two threads lose some.
instrument() {
    compile "$target/pgo/train" -Cprofile-generate -Cllvm-args=-instrprof-atomic-counter-update-all
}

start() { # name, command...
    local name=$1
    shift
    "$@" >"$dir/$name.out" 2>&1 &
    pids+=($!)
}

answers() { # curl's arguments...
    for _ in $(seq 100); do
        if curl -fsk --max-time 5 -o /dev/null "$@"; then return 0; fi
        sleep 0.1
    done
    fail "no good answer to: curl $*: $(curl -sSki "$@" 2>&1 | head -c 500)"
}

# Nodes that answer at once: a short body, one of 100 KiB, a chunked one, and gRPC's frame and trailer.
write_node_config() {
    mkdir "$dir/nodes"
    head -c 102400 /dev/zero | tr '\0' x >"$dir/nodes/large"
    printf '\0\0\0\0\5\n\3you' >"$dir/nodes/reply"
    cat >"$dir/nodes/nginx.conf" <<END
# The directory is only its owner's; a warning when that is not root.
user $(id -un) $(id -gn);
worker_processes 1;
daemon off;
pid pid;
error_log error.log warn;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    keepalive_requests 100000000;
    tcp_nodelay on;
    server {
        listen ${nodes[0]} backlog=4096;
        listen ${nodes[1]} backlog=4096;
        default_type application/json;
        client_max_body_size 0;
        location = /hello/world { return 200 '{"message":"hello, world","from":"a node behind the gateway"}'; }
        location = /hello/large { alias large; }
        # SSI cannot know the length beforehand.
        location = /hello/chunked { alias large; ssi on; ssi_types *; }
        location = /reply { default_type application/grpc; alias reply; }
        location / { return 404; }
    }
    server {
        listen $grpc_node http2 backlog=4096;
        add_trailer grpc-status 0;
        # The request's body is read to its end before the file is sent.
        location = /hello.Greeter/SayHello { proxy_method GET; proxy_pass http://${nodes[0]}/reply; }
        location / { return 404; }
    }
}
END
}

# Two workers, so that taking work from each other is in the profile, and everything a request can cost.
write_gateway_config() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>"$dir/openssl.out"
    cat >"$dir/gateway.yaml" <<END
workers: 2
listeners: {http: ["$http"], h2c: ["$h2c"]}
tls: {listen: ["$tls"], certificates: [{cert: $dir/cert.pem, key: $dir/key.pem, default: true}]}
store: {embedded: {path: $dir/store.redb}}
snapshot: {dir: $dir/snapshot}
runtime_dir: $dir/run
admin: {listen: "$admin", tokens: {$token: {desc: benchmark/pgo.sh}}}
status: {listen: "$status"}
log:
  access: {output: $dir/access.log, rotate_size: 0B}
  admin: {output: $dir/admin-access.log}
  error: {level: warn, output: $dir/error.log}
shutdown: {idle: 0s, drain: 5s}
END
}

save() { # what, object
    local said
    said=$(curl -sS -H "X-Api-Token: $token" -H 'Content-Type: application/json' -d "$2" "http://$admin/admin/$1/save")
    [[ $said == ok ]] || fail "the Admin API refused $2: $said"
}

route() { # prefix, service, protocol, plugins, properties
    save routes "{\"key\":\"$1\",\"prefix\":\"$1\",\"hosts\":[],\"service_name\":\"$2\",\"protocol\":\"$3\",\"status\":1,\"plugins\":[$4],\"props\":$5,\"remark\":\"\"}"
}

node() { # service, address, weight
    save services "{\"key\":\"$1/$2\",\"service_name\":\"$1\",\"upstream\":\"$2\",\"weight\":$3,\"status\":1}"
}

publish() {
    node hello "${nodes[0]}" 1
    node hello "${nodes[1]}" 1
    node greeter "$grpc_node" 1
    route '/innerapi/hello/*' hello http '"discovery","tracing","rewrite"' '{"rewrite_url_regex":"^/innerapi/(.*)$","rewrite_replace":"/$1"}'
    route '/hello/*' hello http '"discovery"' '{}'
    route '/hello.Greeter/*' greeter grpc '"discovery","tracing"' '{}'
    # No gateway has three routes only.
    for i in $(seq 40); do
        route "/other$i/*" hello http '"discovery","tracing"' '{}'
    done
}

# What changes and who asks while requests are served.
change() {
    for i in $(seq 20); do
        node hello "${nodes[1]}" $((i % 3 + 1))
        route "/other$i/*" hello http '"discovery"' '{}'
        curl -fsS -H "X-Api-Token: $token" "http://$status/metrics" "http://$status/readyz" "http://$admin/admin/routes/list" >/dev/null ||
            fail "status or Admin API: no good answer"
    done
    node hello "${nodes[1]}" 1
}

# h2load is told how many requests, not how long: the weights of the training are the same on every machine.
load() { # class of the responses, requests, connections, h2load's arguments...
    local class=$1 requests=$2 connections=$3 output
    shift 3
    output=$(h2load -n "$requests" -c "$connections" "$@" 2>&1) || fail "h2load $*: $output"
    grep -q "^status codes:.* $requests $class" <<<"$output" ||
        fail "not all $requests responses are $class: h2load $*: $(grep -E '^(requests|status codes):' <<<"$output")"
}

train_http1() {
    local path=/innerapi/hello/world
    local browser=(-H 'user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0' -H 'accept: application/json, */*'
        -H 'accept-language: en' -H 'accept-encoding: gzip, br' -H 'cookie: session=0f5c7e9ab2; theme=dark' -H 'x-forwarded-for: 192.0.2.7')
    load 2xx 40000 32 --h1 "http://$http$path"
    load 2xx 20000 32 --h1 "${browser[@]}" "http://$http$path?name=you&page=2"
    load 2xx 4000 16 --h1 "http://$http/hello/world"
    load 2xx 4000 16 --h1 -d "$dir/short" -H 'content-type: application/json' "http://$http$path"
    load 2xx 500 8 --h1 -d "$dir/nodes/large" "http://$http$path"
    load 2xx 2000 8 --h1 "http://$http/innerapi/hello/large"
    load 2xx 1000 8 --h1 "http://$http/innerapi/hello/chunked"
    load 2xx 400 400 --h1 "http://$http$path" # a connection for each
    load 4xx 1000 8 --h1 "http://$http/nobody/is/here"
}

train_http2() {
    local path=/innerapi/hello/world
    load 2xx 8000 8 -m 8 "http://$h2c$path"
    load 2xx 1000 4 -m 4 -d "$dir/short" "http://$h2c$path"
    load 2xx 500 4 -m 4 "http://$h2c/innerapi/hello/large"
    load 2xx 8000 8 -m 8 -d "$dir/nodes/reply" -H 'content-type: application/grpc' -H 'te: trailers' "http://$h2c/hello.Greeter/SayHello"
    load 4xx 200 4 "http://$h2c/nobody/is/here"
}

train_tls() {
    local url=https://localhost:${tls#*:}/innerapi/hello
    load 2xx 10000 16 --h1 "$url/world"
    load 2xx 300 300 --h1 "$url/world"
    load 2xx 500 8 --h1 "$url/large"
    load 2xx 5000 8 -m 8 "$url/world"
    load 2xx 300 300 "$url/world"
}

# The gateway writes its profile when it ends well.
train() { # the instrumented gateway
    local gateway changing nginx
    nginx=$(PATH=$PATH:/usr/sbin command -v nginx)
    write_node_config
    write_gateway_config
    head -c 600 "$dir/nodes/large" >"$dir/short"
    start nodes "$nginx" -p "$dir/nodes" -c nginx.conf
    LLVM_PROFILE_FILE=$dir/%p-%m.profraw start gateway "$1" run -c "$dir/gateway.yaml"
    gateway=${pids[-1]}
    answers "http://${nodes[1]}/hello/world"
    answers "http://$status/healthz"
    publish
    answers "http://$http/innerapi/hello/world"
    answers_grpc

    change &
    changing=$!
    pids+=("$changing")
    train_http1
    wait "$changing"
    train_http2
    train_tls

    answers_grpc
    kill "$gateway"
    wait "$gateway" || fail "the gateway ended with status $?"
    stop # now: by the end of the build their ids may be another's
    compgen -G "$dir/*.profraw" >/dev/null || fail "the gateway wrote no profile"
}

# h2load knows no grpc-status: an error of the gateway would be a 200 to it.
answers_grpc() {
    local said
    for _ in $(seq 50); do
        said=$(nghttp -nv --timeout=5 -d "$dir/nodes/reply" -H 'content-type: application/grpc' -H 'te: trailers' "http://$h2c/hello.Greeter/SayHello" 2>&1) || true
        if grep -q 'grpc-status: 0' <<<"$said"; then return 0; fi
        sleep 0.1
    done
    fail "no good answer to a gRPC call: $said"
}

merge() { # the profile to write
    local profdata
    profdata=$(find_profdata)
    "$profdata" merge -o "$dir/merged" "$dir"/*.profraw
    "$profdata" show "$dir/merged" | grep -E '^(Total functions|Maximum function count):'
    mv "$dir/merged" "$1"
}

# Leaves the name of the profile in $profile. It is new when what it is of is new: the gateway or the training.
learn() {
    local trainee=$target/pgo/train/$host/release/ws-cloud-gateway
    step 'instrumented build' instrument
    profile=$target/pgo/$(cat "$trainee" benchmark/pgo.sh | sha256sum | head -c 16).profdata
    if [[ -e $profile ]]; then
        echo "the profile of this gateway is there already: $profile"
        return
    fi
    step 'training' train "$trainee"
    # What an earlier profile made is never used again, and large.
    rm -rf "$target"/pgo/*.profdata "$target/pgo/final/$host"
    step 'merging the profile' merge "$profile"
}

optimise() {
    compile "$target/pgo/final" "-Cprofile-use=$profile"
    place "$target/pgo/final/$host/release/ws-cloud-gateway"
}

plain() {
    CARGO_TARGET_DIR=$target $cargo build --release --bin ws-cloud-gateway
    place "$target/release/ws-cloud-gateway"
}

# A running gateway keeps the file it was started from.
place() { # the binary
    mkdir -p "${dist%/*}"
    cp "$1" "$dist.new"
    mv "$dist.new" "$dist"
}

why=$(obstacle)
if [[ -n $why ]]; then
    echo "pgo: no profile: $why" >&2
    step 'plain release build' plain
    made='without a profile (LTO only)'
else
    learn
    step 'final build' optimise
    made="with LTO and the profile ${profile##*/}"
fi

echo
printf '%s\n' "${times[@]}"
for binary in "$target/pgo/train/$host/release/ws-cloud-gateway" "$target/release/ws-cloud-gateway" "$dist"; do
    if [[ -e $binary ]]; then
        printf '%9d KiB  %s\n' $(($(stat -c %s "$binary") / 1024)) "$binary"
    fi
done
echo "made $made: $dist"
