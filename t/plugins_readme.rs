//! What `plugins/README.md` tells a newcomer works as it is written: a gateway with a plugin of
//! one's own, outside this repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Gateway, Request, Upstream};

/// The folder the README believes the checkout to be.
const CHECKOUT: &str = "../ws-cloud-gateway";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The files of a page: a fenced block after each `<!-- file: PATH -->`.
fn files(page: &str) -> Vec<(String, String)> {
    page.split("<!-- file: ")
        .skip(1)
        .map(|part| {
            let (path, rest) = part.split_once(" -->").expect("the marker ends");
            let fence = rest.trim_start();
            let body = fence.split_once('\n').expect("a fenced block follows").1;
            let (content, _) = body.split_once("\n```").expect("the block ends");
            (path.trim().to_owned(), format!("{content}\n"))
        })
        .collect()
}

/// Writes the README's files, and returns what they are.
fn write_out(dir: &Path) -> Vec<String> {
    let page = std::fs::read_to_string(repository().join("plugins/README.md")).unwrap();
    let checkout = repository().display().to_string();
    let mut written = Vec::new();
    for (path, content) in files(&page) {
        let target = dir.join(&path);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, content.replace(CHECKOUT, &checkout)).unwrap();
        written.push(path);
    }
    // The versions that the workspace has been tested with, and that are there already.
    for package in ["hello", "my-gateway"] {
        std::fs::copy(repository().join("Cargo.lock"), dir.join(package).join("Cargo.lock")).unwrap();
    }
    written
}

/// Where this test was built, so that the dependencies need not be built again.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

fn cargo(dir: &Path, arguments: &[&str]) {
    let output = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(arguments)
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", target())
        // As in the workspace: otherwise nothing built there could be used.
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
        .env("OPENSSL_NO_VENDOR", "1")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?} in {}:\n{errors}", dir.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_ones_own_plugin_is_built_and_runs_as_the_readme_says() {
    let dir = tempfile::tempdir().unwrap();
    let written = write_out(dir.path());
    for path in [
        "hello/Cargo.toml",
        "hello/src/lib.rs",
        "hello/src/tests.rs",
        "my-gateway/Cargo.toml",
        "my-gateway/src/main.rs",
    ] {
        assert!(written.iter().any(|w| w == path), "{path} is not in the README: {written:?}");
    }
    let (hello, gateway) = (dir.path().join("hello"), dir.path().join("my-gateway"));
    tokio::task::spawn_blocking(move || {
        cargo(&hello, &["test", "--quiet"]);
        cargo(&gateway, &["build", "--quiet"]);
    })
    .await
    .unwrap();

    let mut gateway = Gateway::prepare(json!({})).running(target().join("debug/my-gateway"));
    gateway.boot().await;
    let upstream = Upstream::echo().await;
    let more = json!({"plugins": ["discovery", "hello"], "props": {"hello": {"name": "world"}}});
    gateway.serve_with("/*", &[upstream.address], more).await;
    assert_eq!(gateway.get("/hello").await.expect(200).text(), "hello, world\n");
    assert_eq!(upstream.count(), 0, "the plugin answered");
    gateway.get("/other").await.expect(200);
    assert_eq!(upstream.last().header("x-hello"), Some("world"));

    // As the README's own curl does it: a route without a service.
    let body = json!({"prefix": "/hi", "protocol": "http", "status": 1, "plugins": ["hello"], "props": {"hello": {"name": "x"}}});
    gateway.call_admin("/admin/routes/save", &body).await.expect(200);
    let wrong = json!({"prefix": "/bad", "protocol": "http", "status": 1, "plugins": ["hello"], "props": {"hello": {"nam": "x"}}});
    let refused = gateway.call_admin("/admin/routes/save", &wrong).await.expect(500);
    assert!(refused.text().contains("nam"), "{}", refused.text());
    let listed = gateway.get_admin("/admin/plugins/list").await.json();
    assert!(listed.to_string().contains("says hello_v1.0"), "{listed}");
    assert_eq!(Request::get("/healthz").send(gateway.status).await.status, 200);
}

#[test]
fn files_are_found_in_a_page() {
    let page = "text\n<!-- file: a/b.rs -->\n```rust\nfn a() {}\n```\n\n<!-- file: c.toml -->\n```toml\n[x]\n```\n";
    assert_eq!(files(page), [("a/b.rs".into(), "fn a() {}\n".into()), ("c.toml".into(), "[x]\n".into())]);
}

/// The Chinese page carries the same files.
#[test]
fn both_languages_have_the_same_files() {
    let page = |name: &str| std::fs::read_to_string(repository().join("plugins").join(name)).unwrap();
    assert_eq!(files(&page("README.md")), files(&page("README.zh-CN.md")));
}
