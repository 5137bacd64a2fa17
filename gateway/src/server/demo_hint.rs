//! What `--demo` tells a person to try.

use crate::config::Config;

/// Commands that work against the demo data, with the ports in use.
pub(super) fn try_this(config: &Config) -> String {
    let port = |addresses: &[std::net::SocketAddr]| addresses.first().map_or(0, std::net::SocketAddr::port);
    let (http, h2c) = (port(&config.listeners.http), port(&config.listeners.h2c));
    let at = |address: Option<std::net::SocketAddr>| address.map_or_else(|| "off".into(), |a| format!("http://{a}"));
    format!(
        r#"
The gateway is running with demo routes and demo upstreams. Try:

  a rewriting route (the upstream sees /openapi/hello):
    curl 'http://127.0.0.1:{http}/openapi/demo1/v1/hello?name=you'

  balancing over two nodes of weight 3 and 1:
    for i in 1 2 3 4; do curl -s http://127.0.0.1:{http}/openapi/demo2/hello | grep -o '"upstream":"[^"]*"'; done

  a gRPC call (with grpcurl or any client; with curl alone, the answer is "Hello, you!"):
    printf '\0\0\0\0\5\n\3you' | curl -s --http2-prior-knowledge -H 'content-type: application/grpc' -H 'te: trailers' \
      --data-binary @- http://127.0.0.1:{h2c}/grpc.hello.HelloService/SayHello --output - | tail -c +8; echo

  admin {admin} · health and metrics {status}/metrics · Ctrl-C ends it
"#,
        admin = at(config.admin.listen),
        status = at(config.status.listen),
    )
}
