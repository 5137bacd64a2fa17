//! The life of the process: what happens to those who are connected when it is told to end, and
//! what it takes over when it is told to read its configuration again.

use std::net::SocketAddr;
use std::time::Duration;

use http::Request as HttpRequest;
use serde_json::json;
use tokio::sync::watch;

use crate::support::etcd::PREFIX;
use crate::support::gateway::{put_node, route, route_key};
use crate::support::tunnel::{open, tunnel};
use crate::support::upstream::{ok, read_request};
use crate::support::{Client, Etcd, Gateway, Request, Upstream, eventually, h2c, in_time};

/// An upstream that answers when it is let.
async fn waiting() -> (Upstream, watch::Sender<bool>) {
    let (go, gone) = watch::channel(false);
    let upstream = Upstream::scripted(move |stream, _| {
        let mut gone = gone.clone();
        async move {
            let mut client = Client::over(stream);
            drop(read_request(&mut client).await);
            drop(gone.wait_for(|go| *go).await);
            drop(client.send(&ok("finished")).await);
        }
    })
    .await;
    (upstream, go)
}

/// A gRPC server that answers every message, for as long as its client likes.
async fn grpc_echo() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let head = http::Response::builder().header("content-type", "application/grpc").body(());
                        let mut answer = respond.send_response(head.unwrap(), false).unwrap();
                        let mut messages = request.into_body();
                        while let Some(Ok(message)) = messages.data().await {
                            drop(messages.flow_control().release_capacity(message.len()));
                            drop(answer.send_data(message, false));
                        }
                        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
                        drop(answer.send_trailers(trailers.into_iter().collect()));
                    });
                }
            });
        }
    });
    address
}

async fn refused(port: SocketAddr) {
    eventually("the listener closes", || async { Client::try_connect(port).await.is_err() }).await;
}

/// The last message of what has arrived.
async fn message(stream: &mut h2::RecvStream) -> bytes::Bytes {
    let chunk = in_time("a message", stream.data()).await.expect("the stream lives").unwrap();
    stream.flow_control().release_capacity(chunk.len()).unwrap();
    chunk
}

#[tokio::test]
async fn after_sigterm_listeners_close_while_requests_in_flight_finish() {
    let mut gateway = Gateway::start().await;
    let (upstream, go) = waiting().await;
    gateway.serve("/slow/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/slow/x").to_bytes()).await.unwrap();
    eventually("it has reached the upstream", || async { upstream.connections() == 1 }).await;

    gateway.process().signal("TERM");
    refused(gateway.http).await;
    refused(gateway.h2c).await;
    let ready = Request::get("/readyz").send(gateway.status).await;
    assert_eq!(ready.status, 503, "the status port says so to the end");
    assert_eq!(Request::get("/healthz").send(gateway.status).await.status, 200, "and that it lives");

    go.send(true).unwrap();
    let response = client.response_to("GET").await.unwrap().expect(200);
    assert_eq!((response.text().as_str(), response.header("connection")), ("finished", Some("close")));
    assert_eq!(gateway.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn during_the_delay_connections_are_accepted_and_readyz_says_no() {
    let mut gateway = Gateway::with(json!({"shutdown": {"delay": "3s"}})).await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/*", &[upstream.address]).await;
    gateway.process().signal("TERM");
    eventually("it is not ready any more", || async {
        Request::get("/readyz").send(gateway.status).await.status == 503
    })
    .await;
    let mut client = Client::connect(gateway.http).await;
    let response = client.get("/a").await.unwrap().expect(200);
    assert_eq!(response.header("connection"), Some("close"));
    refused(gateway.http).await;
    assert_eq!(gateway.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_connection_is_told_with_its_next_response() {
    let mut gateway = Gateway::with(json!({"shutdown": {"idle": "20s"}})).await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/*", &[upstream.address]).await;
    let mut idle = Client::connect(gateway.http).await;
    assert_ne!(idle.get("/a").await.unwrap().expect(200).header("connection"), Some("close"));
    let mut untouched = Client::connect(gateway.http).await;
    eventually("both are accepted", || async {
        Request::get("/nginx_status").send(gateway.status).await.text().contains("Active connections: 2 ")
    })
    .await;
    gateway.process().signal("TERM");
    refused(gateway.http).await;
    for client in [&mut idle, &mut untouched] {
        let response = client.get("/b").await.unwrap().expect(200);
        assert_eq!(response.header("connection"), Some("close"));
        assert!(client.until_closed().await.is_empty());
    }
    assert_eq!(gateway.process().ended().await.code(), Some(0), "it waits no longer than it must");
}

#[tokio::test]
async fn http2_clients_get_goaway_and_their_streams_finish() {
    let mut gateway = Gateway::start().await;
    let (upstream, go) = waiting().await;
    gateway.serve("/slow/*", &[upstream.address]).await;
    let stream = tokio::net::TcpStream::connect(gateway.h2c).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = HttpRequest::get("http://gateway.test/slow/x").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    eventually("it has reached the upstream", || async { upstream.connections() == 1 }).await;

    gateway.process().signal("TERM");
    eventually("a new stream is refused, as GOAWAY tells", || async { client.clone().ready().await.is_err() }).await;
    assert!(!connection.is_finished(), "the connection lives as long as its stream");
    go.send(true).unwrap();
    assert_eq!(h2c::read(response).await.body, "finished");
    drop(in_time("the connection ends", connection).await.unwrap());
    assert_eq!(gateway.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_grpc_stream_goes_on_after_sigterm_until_it_ends() {
    let mut gateway = Gateway::start().await;
    gateway.serve_with("/t.Echo/*", &[grpc_echo().await], json!({"protocol": "grpc"})).await;
    let (response, mut send) = h2c::begin_call(h2c::connect(gateway.h2c).await, "/t.Echo/Talk").await;
    send.send_data(h2c::frame(b"one"), false).unwrap();
    let mut receive = in_time("the head", response).await.unwrap().into_body();
    assert_eq!(message(&mut receive).await, h2c::frame(b"one"));

    gateway.process().signal("TERM");
    refused(gateway.h2c).await;
    for round in 0..10 {
        let text = format!("after {round}");
        send.send_data(h2c::frame(text.as_bytes()), false).unwrap();
        assert_eq!(message(&mut receive).await, h2c::frame(text.as_bytes()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    send.send_data(h2c::frame(b"last"), true).unwrap();
    assert_eq!(message(&mut receive).await, h2c::frame(b"last"));
    let trailers = in_time("trailers", receive.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(gateway.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_websocket_goes_on_for_the_time_of_the_drain_and_no_longer() {
    let mut gateway = Gateway::with(json!({"shutdown": {"drain": "3s"}})).await;
    let upstream = tunnel().await;
    gateway.serve("/ws", &[upstream.address]).await;
    let mut client = open(gateway.http).await;
    gateway.process().signal("TERM");
    refused(gateway.http).await;
    client.send(b"ping").await.unwrap();
    assert_eq!(client.exactly(4).await.unwrap(), b"ping", "it still passes");
    in_time("it is cut", client.until_closed()).await;
    assert_eq!(gateway.process().ended().await.code(), Some(0));
    assert!(gateway.output().contains("1 requests did not finish"), "{}", gateway.output());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut gateway = Gateway::with(json!({"shutdown": {"delay": "1h"}})).await;
    let (upstream, _go) = waiting().await;
    gateway.serve("/slow/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/slow/x").to_bytes()).await.unwrap();
    eventually("it has reached the upstream", || async { upstream.connections() == 1 }).await;
    gateway.process().signal("QUIT");
    eventually("it drains", || async { gateway.output().contains("draining: 1 requests in flight") }).await;
    gateway.process().signal("INT");
    gateway.process().ended().await;
}

#[tokio::test]
async fn sighup_takes_over_what_it_can_and_names_what_it_cannot() {
    let gateway = Gateway::start().await;
    let mut config = gateway.read_config();
    config["log"]["error"] = json!({"level": "debug"});
    config["shutdown"] = json!({"drain": "7s"});
    config["workers"] = json!(1);
    config["plugins"] = json!({"secrets": {"signing": "do not show this"}});
    gateway.write_config(&config);
    gateway.signal("HUP");
    let said = "needs a restart or `upgrade`: workers, plugins.secrets";
    eventually("it says what it cannot", || async { gateway.output().contains(said) }).await;
    let output = gateway.output();
    assert!(output.contains("changed: log.error.level, shutdown.drain"), "{output}");
    assert!(!output.contains("do not show this"), "{output}");
    let level = gateway.get_admin("/admin/v2/log-level").await.expect(200).text();
    assert!(level.contains("debug"), "{level}");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_shown_with_its_place() {
    let gateway = Gateway::start().await;
    let upstream = Upstream::saying("x").await;
    gateway.serve("/*", &[upstream.address]).await;
    std::fs::write(gateway.config(), "log:\n  error:\n    level: loud\n").unwrap();
    gateway.signal("HUP");
    eventually("it says what is wrong", || async {
        let output = gateway.output();
        output.contains("was not reloaded") && output.contains("loud") && output.contains("line 3")
    })
    .await;
    gateway.get("/a").await.expect(200);
}

/// R9. The figure is printed, and not judged: tests share their machine.
#[tokio::test]
async fn killed_with_a_thousand_routes_it_serves_again_at_once() {
    let etcd = Etcd::start().await;
    let mut gateway = Gateway::on(&etcd).await;
    let upstream = Upstream::saying("x").await;
    put_node(&etcd, "s", upstream.address).await;
    let mut client = etcd.client().await;
    for i in 0..1000 {
        let prefix = format!("/r{i}/*");
        let mut route = route(&prefix, "s", json!({}));
        let key = route_key(&prefix);
        route["key"] = key["routes/".len()..].into();
        client.put(format!("{PREFIX}{key}"), route.to_string(), None).await.unwrap();
    }
    let serves = |target: &'static str, port: SocketAddr| async move {
        Request::get(target).try_send(port).await.is_ok_and(|response| response.status == 200)
    };
    eventually("all routes are served", || serves("/r999/x", gateway.http)).await;
    let copy = gateway.dir().join("data/snapshot/current.json");
    eventually("all are in the copy on disk", || async {
        std::fs::read_to_string(&copy).is_ok_and(|copy| copy.matches("/r").count() >= 1000 && copy.contains("/r999/"))
    })
    .await;
    for store in ["etcd", "the copy on disk"] {
        gateway.kill();
        let started = std::time::Instant::now();
        gateway.spawn();
        while !serves("/r999/x", gateway.http).await {
            assert!(started.elapsed() < crate::support::PATIENCE, "{}", gateway.output());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        eprintln!("killed and started, 1,000 routes from {store}: served after {:?}", started.elapsed());
        gateway.get("/r0/x").await.expect(200);
        // The second time etcd does not answer.
        etcd.signal("STOP");
    }
    etcd.signal("CONT");
}
