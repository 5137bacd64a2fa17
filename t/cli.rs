//! The command line, and the life of the process.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::json;

use crate::support::gateway::{binary, put_route, route};
use crate::support::{Client, Etcd, Gateway, Request, Upstream, eventually};

fn gateway(arguments: &[&str]) -> (Output, String, String) {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    (output, out, err)
}

fn check(file: &Path) -> (Option<i32>, String, String) {
    let (output, out, err) = gateway(&["check", "-c", file.to_str().unwrap()]);
    (output.status.code(), out, err)
}

#[test]
fn the_version_is_told() {
    for argument in ["version", "--version"] {
        let (output, out, _) = gateway(&[argument]);
        assert!(output.status.success());
        assert_eq!(out, format!("ws-cloud-gateway {}\n", env!("CARGO_PKG_VERSION")), "{argument}");
    }
}

#[test]
fn completions_and_a_manual_page_are_made() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (output, out, _) = gateway(&["completions", shell]);
        assert!(output.status.success() && out.contains("ws-cloud-gateway") && out.contains("check"), "{shell}");
    }
    let (output, out, _) = gateway(&["man"]);
    assert!(output.status.success() && out.starts_with(".ie") || out.contains(".TH"), "{out}");
}

#[test]
fn wrong_usage_is_exit_2_with_a_hint() {
    for arguments in [&["no-such-command"][..], &["run", "--no-such-option"], &["completions", "no-such-shell"]] {
        let (output, _, err) = gateway(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err.contains("Usage") || err.contains("possible values") || err.contains("--help"), "{err}");
    }
}

#[test]
fn a_wrong_configuration_is_shown_with_file_line_and_cure() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    for (text, shown) in [
        ("store:\n  kindd: etcd\n", &["gateway.yaml", "kindd", "2", "kind"][..]),
        ("client:\n  header_timeout: soon\n", &["gateway.yaml", "header_timeout", "2"]),
        ("client:\n  header_timeout: 0s\n", &["client.header_timeout", "greater than 0"]),
        ("store:\n  data_prefix: my/cloud\n", &["store.data_prefix", "begin and end with `/`"]),
        ("listeners: [\n", &["gateway.yaml"]),
        ("store:\n  data_prefix: ${WS_GATEWAY_NO_SUCH_VARIABLE}\n", &["WS_GATEWAY_NO_SUCH_VARIABLE"]),
    ] {
        std::fs::write(&file, text).unwrap();
        for command in ["check", "run"] {
            let (output, _, err) = gateway(&[command, "-c", file.to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(1), "{command} {text}");
            for part in shown {
                assert!(err.contains(part), "{part} in: {err}");
            }
        }
    }
    let (code, _, err) = check(&dir.path().join("absent.yaml"));
    assert_eq!(code, Some(1));
    assert!(err.contains("absent.yaml") && err.contains("cannot read"), "{err}");
}

#[tokio::test]
async fn check_names_what_the_store_has_that_cannot_be_used() {
    let etcd = Etcd::start().await;
    put_route(&etcd, &route("/good/*", "s", json!({}))).await;
    let gateway = Gateway::prepare_on(&etcd, json!({}));
    let (code, out, err) = check(&gateway.config());
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("1 objects ok, 0 rejected"), "{out}");

    put_route(&etcd, &route("/bad/*", "s", json!({"protocol": "ftp"}))).await;
    put_route(&etcd, &route("/worse/*", "s", json!({"plugins": ["no-such-plugin"]}))).await;
    etcd.put_text("discovery/s.x", "{").await;
    let (code, out, err) = check(&gateway.config());
    assert_eq!(code, Some(1), "{out}{err}");
    for part in ["protocol", "ftp", "no-such-plugin", "/my/cloud/discovery/s.x", "1 objects ok, 3 rejected"] {
        assert!(out.contains(part), "{part} in: {out}");
    }
}

#[tokio::test]
async fn check_says_when_the_store_cannot_be_reached() {
    let mut etcd = Etcd::start().await;
    let gateway = Gateway::prepare_on(&etcd, json!({"store": {"etcd": {"request_timeout": "1s"}}}));
    etcd.kill();
    let (code, out, err) = check(&gateway.config());
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("store"), "{err}");
}

#[test]
fn check_accepts_the_shipped_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = tempfile::tempdir().unwrap();
    for file in ["etc/gateway.yaml", "etc/demo/gateway.yaml"] {
        let output = Command::new(binary())
            .arg("check")
            .arg("-c")
            .arg(root.join(file).canonicalize().unwrap())
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn the_old_configuration_file_runs() {
    let etcd = Etcd::start().await;
    let upstream = Upstream::saying("served").await;
    crate::support::gateway::put_node(&etcd, "s", upstream.address).await;
    put_route(&etcd, &route("/s/*", "s", json!({}))).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.json");
    let old = json!({
        "appName": "ws-cloud-gateway", "env": "test",
        "etcd": {"http_host": etcd.endpoint(), "data_prefix": "/my/cloud/"},
        "plugins": ["default_plugin", "discovery_plugin", "tracing_plugin", "rewrite_plugin"],
        "admin": {"jwt_secret": "a secret nobody else has, long", "account": {}},
        "tokens": {"t0k3n-of-this-test": {"desc": "tests"}},
        "healthcheck": {"try_count": 3, "active": {"type": "tcp", "timeout": 1, "healthy": {"interval": 3, "successes": 1}, "unhealthy": {"interval": 10, "tcp_failures": 2}}},
    });
    std::fs::write(&file, old.to_string()).unwrap();
    // It names no ports, so it would take the usual ones: `check` reads it, store and all.
    let (code, out, err) = check(&file);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("2 objects ok"), "{out}");
}

/// T4: a port in use ends the process at once, with the port's name.
#[tokio::test]
async fn a_port_in_use_is_exit_1_at_once() {
    for field in ["http", "h2c", "admin", "status"] {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let config = match field {
            "http" => json!({"listeners": {"http": [address]}}),
            "h2c" => json!({"listeners": {"h2c": [address]}}),
            other => json!({other: {"listen": address}}),
        };
        let mut gateway = Gateway::prepare(config);
        let started = Instant::now();
        gateway.spawn();
        let status = gateway.process().ended().await;
        assert_eq!(status.code(), Some(1), "{field}: {}", gateway.output());
        assert!(started.elapsed().as_secs() < 10, "{field}: after {:?}", started.elapsed());
        assert!(gateway.output().contains(&address.to_string()), "{field}: {}", gateway.output());
    }
}

#[tokio::test]
async fn a_store_in_use_is_exit_1_with_its_file() {
    let first = Gateway::start().await;
    let store = first.dir().join("data/store.redb");
    let mut second = Gateway::prepare(json!({"store": {"embedded": {"path": store}}}));
    second.spawn();
    assert_eq!(second.process().ended().await.code(), Some(1));
    assert!(second.output().contains("store.redb"), "{}", second.output());
}

#[tokio::test]
async fn ready_means_that_every_port_answers() {
    for _ in 0..5 {
        let mut gateway = Gateway::prepare(json!({}));
        gateway.spawn();
        eventually("it says that it is ready", || async {
            Request::get("/readyz").try_send(gateway.status).await.is_ok_and(|r| r.status == 200)
        })
        .await;
        for port in [gateway.http, gateway.h2c, gateway.admin] {
            assert!(Client::try_connect(port).await.is_ok(), "{port} does not listen yet");
        }
        gateway.kill();
    }
}

#[tokio::test]
async fn sigterm_and_ctrl_c_end_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let mut gateway = Gateway::start().await;
        let upstream = Upstream::saying("x").await;
        gateway.serve("/*", &[upstream.address]).await;
        gateway.get("/last-words").await.expect(200);
        let started = Instant::now();
        gateway.process().signal(signal);
        let status = gateway.process().ended().await;
        assert_eq!(status.code(), Some(0), "SIG{signal}: {status}: {}", gateway.output());
        assert!(started.elapsed().as_secs() < 20, "SIG{signal}: after {:?}", started.elapsed());
        assert!(gateway.access_log().contains("/last-words"), "what was logged is written");
        assert!(!gateway.output().contains("panicked"), "{}", gateway.output());
        assert!(Client::try_connect(gateway.http).await.is_err(), "the port is free");
    }
}

/// T5: a request in flight is finished after SIGTERM.
#[tokio::test]
async fn a_request_in_flight_is_finished_after_sigterm() {
    let mut gateway = Gateway::start().await;
    let (go, gone) = tokio::sync::watch::channel(false);
    let upstream = Upstream::scripted(move |stream, _| {
        let mut gone = gone.clone();
        async move {
            let mut client = Client::over(stream);
            drop(crate::support::upstream::read_request(&mut client).await);
            drop(gone.wait_for(|go| *go).await);
            drop(client.send(&crate::support::upstream::ok("finished")).await);
        }
    })
    .await;
    gateway.serve("/slow/*", &[upstream.address]).await;
    let mut client = Client::connect(gateway.http).await;
    client.send(&Request::get("/slow/x").to_bytes()).await.unwrap();
    eventually("it has reached the upstream", || async { upstream.connections() == 1 }).await;
    gateway.process().signal("TERM");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    go.send(true).unwrap();
    assert_eq!(client.response_to("GET").await.unwrap().expect(200).text(), "finished");
    assert_eq!(gateway.process().ended().await.code(), Some(0));
}

/// The one test on fixed ports: those of the demo data.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_answers_what_it_says_to_try() {
    let mut gateway = Gateway::prepare(json!({})).argument("--demo");
    gateway.boot().await;
    eventually("it says what to try", || async { gateway.output().contains("curl") }).await;
    eventually("the demo routes are served", || async { gateway.get("/openapi/demo1/hello").await.status == 200 })
        .await;
    let rewritten = gateway.get("/openapi/demo1/v1/hello?name=you").await.expect(200).json();
    assert_eq!((&rewritten["path"], &rewritten["query"]), (&json!("/openapi/hello"), &json!("name=you")));
    let mut nodes = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..8 {
        let answer = gateway.get("/openapi/demo2/hello").await.expect(200).json();
        *nodes.entry(answer["upstream"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(nodes.len(), 2, "balanced: {nodes:?}");
    let greeting = crate::support::h2c::call(gateway.h2c, "/grpc.hello.HelloService/SayHello", b"\x0a\x03you").await;
    assert_eq!(greeting.grpc().0, "0");
    assert!(String::from_utf8_lossy(&greeting.body).contains("Hello, you!"));
    gateway.process().signal("INT");
    assert_eq!(gateway.process().ended().await.code(), Some(0), "{}", gateway.output());
}

#[tokio::test]
async fn a_forgotten_password_can_be_reset() {
    let mut gateway = Gateway::start().await;
    gateway.stop().await;
    let (output, out, err) = self::gateway(&["admin", "reset-password", "-c", gateway.config().to_str().unwrap()]);
    assert!(output.status.success(), "{err}");
    let password = out.trim().strip_prefix("admin password: ").expect("the new one is printed").to_owned();
    gateway.boot().await;
    let login =
        Request::new("POST", "/admin/login").body(json!({"username": "admin", "password": password}).to_string());
    login.send(gateway.admin).await.expect(200);
}

#[test]
fn a_reader_that_went_away_is_no_panic() {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{} completions bash | head -c 1 >/dev/null", binary().display()))
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
