//! The control panel in a real browser (Debian's Chromium), against the real binary. The stories are
//! `t/panel/<name>.mjs`; what the browser saw is left in `target/panel/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::support::gateway::TOKEN;
use crate::support::{Etcd, Gateway, Request, Upstream};

/// A story is many clicks in a browser that shares two cores with all other tests.
const STORY: Duration = Duration::from_secs(180);

/// Browsers at once.
static BROWSERS: Semaphore = Semaphore::const_new(2);

/// Makes a test of each story.
macro_rules! stories {
    ($($promise:ident: $script:literal,)*) => {
        $(#[tokio::test]
        async fn $promise() {
            tell($script, Gateway::start().await).await;
        })*
    };
}

stories! {
    the_overview_tells_of_traffic_and_names_what_is_down: "overview",
    the_topology_shows_where_routes_lead_and_how_that_is: "topology",
}

/// Runs a story against a gateway, as an administrator.
async fn tell(script: &str, gateway: Gateway) {
    let _turn = BROWSERS.acquire().await.unwrap();
    let made = Request::new("PUT", "/admin/v2/users/ops")
        .header("X-Api-Token", TOKEN)
        .body(json!({"role": "admin"}).to_string())
        .send(gateway.admin)
        .await
        .expect(201)
        .json();
    let (one, two) = (Upstream::echo().await, Upstream::echo().await);
    let mut command = Command::new(node());
    command
        .arg(repository().join("t/panel").join(format!("{script}.mjs")))
        .env("ADMIN", format!("http://{}", gateway.admin))
        .env("GATEWAY", format!("http://{}", gateway.http))
        .env("NODES", format!("{},{}", one.address, two.address))
        .env("TOKEN", TOKEN)
        .env("USER_NAME", "ops")
        .env("PASSWORD", made["password"].as_str().unwrap())
        .kill_on_drop(true);
    let output = tokio::time::timeout(STORY, command.output()).await.expect("the story ends").expect("node runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}:\n{out}\n{err}\nthe gateway:\n{}", gateway.output());
}

/// The one that the tests brought, where the machine's is too old.
fn node() -> PathBuf {
    let brought = repository().join(".venv/bin/node");
    if brought.exists() { brought } else { "node".into() }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}
