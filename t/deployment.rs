//! The deployment files of `etc/`, as far as one machine can try them: what they say is run as it
//! stands, with paths and ports put in, and checked against each other.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{binary, put_node, put_route, route};
use crate::support::process::Process;
use crate::support::{Etcd, Gateway, Upstream, eventually};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn etc(file: &str) -> PathBuf {
    repository().join("etc").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(etc(file)).unwrap()
}

/// YAML as others read it.
fn yaml(text: &str) -> Value {
    const CONVERT: &str = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.argv[1])))";
    let python = repository().join(".venv/bin/python3");
    let output = Command::new(python).args(["-c", CONVERT, text]).output().expect("run `make deps`");
    assert!(output.status.success(), "{}", text_of(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What this version makes of a configuration.
fn check(config: &str, dir: &TempDir, etcd: &str) -> Output {
    let file = dir.path().join("gateway.yaml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(binary());
    command.args(["check", "-c"]).arg(file).current_dir(dir.path()).env("ETCD_ENDPOINT", etcd).output().unwrap()
}

/// Seconds of a duration of a few seconds, as the files have them.
fn seconds(value: &Value) -> u64 {
    value.as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap()
}

/// What the gateway takes to end at most, by its configuration.
fn longest_end(config: &Value) -> u64 {
    let shutdown = &config["shutdown"];
    let or = |name: &str, default: u64| if shutdown[name].is_null() { default } else { seconds(&shutdown[name]) };
    or("delay", 0) + or("drain", 30)
}

/// A configuration as it stands, but for the addresses and paths of this machine.
fn placed(config: &Value) -> Value {
    let mut config = config.clone();
    let fields = config.as_object_mut().unwrap();
    fields.remove("listeners");
    fields.remove("status");
    fields.remove("store");
    if let Some(admin) = fields.get_mut("admin") {
        admin.as_object_mut().unwrap().remove("listen");
    }
    config
}

#[tokio::test]
async fn the_kubernetes_manifests_are_valid_and_fit_each_other_and_the_gateway() {
    let files = ["configmap", "deployment", "service", "poddisruptionbudget"].map(|f| format!("kubernetes/{f}.yaml"));
    let mut validate = Command::new(repository().join(".venv/bin/kubernetes-validate"));
    let output = validate.arg("--strict").args(files.iter().map(|file| etc(file))).output().expect("run `make deps`");
    assert!(output.status.success(), "{}", text_of(&output));

    let [configmap, deployment, service, budget] = files.map(|file| yaml(&read(&file)));
    let etcd = Etcd::start().await;
    let text = configmap["data"]["gateway.yaml"].as_str().unwrap();
    let checked = check(text, &tempfile::tempdir().unwrap(), &etcd.endpoint());
    assert!(checked.status.success(), "{}", text_of(&checked));
    let config = yaml(text);

    let pod = &deployment["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    for selector in [&service["spec"]["selector"], &budget["spec"]["selector"]["matchLabels"]] {
        assert_eq!(selector, &pod["metadata"]["labels"]);
    }
    let ports = container["ports"].as_array().unwrap();
    let port = |name: &str| ports.iter().find(|p| p["name"] == name).unwrap()["containerPort"].clone();
    assert_eq!([port("http"), port("h2c")], [10_000, 11_000], "the defaults");
    let status = config["status"]["listen"].as_str().unwrap();
    assert!(status.starts_with("0.0.0.0:") && status.ends_with(&format!(":{}", port("status"))));
    assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], port("status").to_string());
    for port in service["spec"]["ports"].as_array().unwrap() {
        assert!(ports.iter().any(|p| p["name"] == port["targetPort"]), "{port}");
    }
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= longest_end(&config) + 10, "{grace}");
    let mounts = container["volumeMounts"].as_array().unwrap();
    for path in ["/etc/ws-cloud-gateway", "/var/lib/ws-cloud-gateway", "/tmp"] {
        assert!(mounts.iter().any(|mount| mount["mountPath"] == path), "{path}");
    }

    let gateway = Gateway::on_with(&etcd, placed(&config)).await;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let probe = &container[probe]["httpGet"];
        assert_eq!(probe["port"], "status");
        let path = probe["path"].as_str().unwrap();
        crate::support::Request::get(path).send(gateway.status).await.expect(200);
    }
}

#[tokio::test]
async fn composes_three_gateways_serve_what_is_written_to_one() {
    let compose = yaml(&read("docker/compose.yaml"));
    let services = compose["services"].as_object().unwrap();
    let etcd = Etcd::start().await;
    let text = read("docker/cluster.yaml");
    let checked = check(&text, &tempfile::tempdir().unwrap(), &etcd.endpoint());
    assert!(checked.status.success(), "{}", text_of(&checked));
    let config = yaml(&text);

    let mut gateways = Vec::new();
    for (name, service) in services.iter().filter(|(name, _)| name.starts_with("gateway-")) {
        let mounts: Vec<_> = service["volumes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(mounts.contains(&"./cluster.yaml:/etc/ws-cloud-gateway/gateway.yaml:ro"), "{name}: {mounts:?}");
        assert!(mounts.contains(&format!("{name}:/var/lib/ws-cloud-gateway").as_str()), "{name}: {mounts:?}");
        assert!(compose["volumes"].as_object().unwrap().contains_key(name));
        assert!(seconds(&service["stop_grace_period"]) >= longest_end(&config) + 10);
        assert_eq!(service["environment"]["ETCD_ENDPOINT"], "http://etcd:2379");
        assert_eq!(service["build"]["dockerfile"], "etc/docker/Dockerfile");
        for port in service["ports"].as_array().unwrap() {
            let inside = port.as_str().unwrap().rsplit(':').next().unwrap();
            assert!(["10000", "11000", "12000"].contains(&inside), "{port}");
        }
        gateways.push(Gateway::on_with(&etcd, placed(&config)).await);
    }
    assert_eq!(gateways.len(), 3);
    let upstream = Upstream::saying("from all").await;
    gateways[0].node("s", upstream.address, 1).await;
    gateways[0].route("/all/*", "s", json!({})).await;
    for gateway in &gateways {
        eventually("it serves the route", || async { gateway.get("/all/x").await.status == 200 }).await;
    }
    put_node(&etcd, "t", upstream.address).await;
    put_route(&etcd, &route("/etcd/*", "t", json!({}))).await;
    for gateway in &gateways {
        eventually("it serves the other route", || async { gateway.get("/etcd/x").await.status == 200 }).await;
    }
}

/// The arguments of an instruction in its JSON form.
fn instruction(dockerfile: &str, name: &str) -> Vec<String> {
    let line = dockerfile.lines().rfind(|line| line.starts_with(name)).unwrap();
    serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap_or_else(|e| panic!("{line}: {e}"))
}

#[tokio::test]
async fn the_images_command_and_health_check_work() {
    let dockerfile = read("docker/Dockerfile");
    assert_eq!(instruction(&dockerfile, "ENTRYPOINT"), ["/usr/local/bin/ws-cloud-gateway"]);
    assert_eq!(instruction(&dockerfile, "CMD"), ["run"]);
    assert!(dockerfile.contains("RUN etc/install-deps.sh build"), "what the script installs, the image has");
    assert!(dockerfile.contains("USER 65532:65532"));
    let text = read("docker/gateway.yaml");
    let checked = check(&text, &tempfile::tempdir().unwrap(), "");
    assert!(checked.status.success(), "{}", text_of(&checked));
    let config = yaml(&text);
    assert_eq!(config["status"]["listen"], "0.0.0.0:12001");

    let mut gateway = Gateway::with(placed(&config)).await;
    let healthy = instruction(&dockerfile, "HEALTHCHECK");
    let script = healthy[2].replace("127.0.0.1/12001", &format!("127.0.0.1/{}", gateway.status.port()));
    assert_ne!(script, healthy[2]);
    let health = || Command::new(&healthy[0]).args([&healthy[1], &script]).output().unwrap();
    assert!(health().status.success(), "{}", text_of(&health()));
    gateway.stop().await;
    assert!(!health().status.success(), "it says so when nothing answers");
}

#[tokio::test]
async fn as_the_first_process_of_a_container_it_hears_sigterm_and_is_not_upgraded() {
    let gateway = Gateway::prepare(json!({}));
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(binary()).arg("run").arg("-c");
    unshare.arg(gateway.config()).current_dir(gateway.dir());
    let mut outside = Process::spawn("container", gateway.dir(), &mut unshare);
    let started = std::time::Instant::now();
    while crate::support::Request::get("/readyz").try_send(gateway.status).await.map(|r| r.status).ok() != Some(200) {
        if outside.output().contains("unshare failed") || outside.output().contains("Operation not permitted") {
            eprintln!("skipped: this machine gives no process namespace");
            return;
        }
        assert!(started.elapsed() < crate::support::PATIENCE, "{}", outside.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let upgrade = gateway.command("upgrade").await;
    assert!(text_of(&upgrade).contains("replace the container"), "{}", text_of(&upgrade));
    let inside = *gateway.pids().iter().find(|pid| **pid != outside.pid()).expect("it runs");
    assert!(Command::new("kill").args(["-TERM", &inside.to_string()]).status().unwrap().success());
    assert_eq!(outside.ended().await.code(), Some(0), "{}", outside.output());
    assert!(outside.output().contains("stopped"), "{}", outside.output());
    drop(gateway);
}

#[tokio::test]
async fn the_systemd_unit_is_valid_and_its_command_runs() {
    let unit = read("systemd/ws-cloud-gateway.service");
    let value = |name: &str| {
        let line = unit.lines().find(|line| line.starts_with(&format!("{name}="))).expect(name);
        line[name.len() + 1..].to_owned()
    };
    assert_eq!((value("Type"), value("NotifyAccess")), ("notify".into(), "main".into()));
    assert!(value("TimeoutStopSec").parse::<u64>().unwrap() >= longest_end(&json!({})) + 10);

    let dir = tempfile::tempdir().unwrap();
    let placed = dir.path().join("ws-cloud-gateway.service");
    let here = binary().to_string_lossy().into_owned();
    std::fs::write(&placed, unit.replace("/usr/local/bin/ws-cloud-gateway", &here)).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&placed).output().expect("run `make deps`");
    assert!(verified.status.success(), "{}", text_of(&verified));
    let mut exposure = Command::new("systemd-analyze");
    let exposure = exposure.args(["security", "--offline=true", "--threshold=25"]).arg(&placed).output().unwrap();
    assert!(exposure.status.success(), "{}", text_of(&exposure));

    let command = value("ExecStart");
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(words, ["/usr/local/bin/ws-cloud-gateway", "run", "-c", "/etc/ws-cloud-gateway/gateway.yaml"]);
    // The tests start it with these words; what comes before and after a reload is told as promised.
    let gateway = Gateway::start().await;
    let reload = value("ExecReload").replace("$MAINPID", &gateway.pid_in_charge().to_string());
    let words: Vec<_> = reload.split(' ').collect();
    assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success());
    eventually("it reloads", || async { gateway.output().contains("configuration reloaded") }).await;
}
