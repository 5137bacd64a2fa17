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
    routes_services_and_nodes_are_drawn_with_their_health: "topology",
    a_request_that_comes_is_in_the_figures_and_a_node_that_is_down_is_named: "overview",
    objects_are_made_changed_and_deleted_by_clicks: "objects_crud",
    a_lost_race_is_explained_and_has_two_ways_out: "race",
    what_is_refused_is_told_at_its_field: "field_errors",
    what_is_typed_is_not_lost_on_the_way: "unsaved",
    many_are_paged_chosen_and_found_again: "lists",
    a_node_is_weighed_and_drained: "overlay",
    a_request_is_explained_and_so_is_what_a_change_would_do: "explain",
    a_change_is_found_in_the_history_and_rolled_back: "history",
    a_change_that_waits_is_confirmed_or_taken_back: "confirm",
    what_is_exported_is_imported_and_what_is_wrong_is_told_at_its_place: "transfer",
    a_login_begins_ends_and_takes_codes_of_an_app: "login",
    a_viewer_sees_every_screen_and_no_button_that_would_be_refused: "viewer",
    users_are_made_changed_sent_away_and_deleted: "users",
    a_token_is_shown_once_and_good_until_it_is_deleted: "tokens",
    parts_of_the_panel_that_an_upgrade_took_away_are_loaded_anew: "upgraded",
    what_is_typed_outlives_a_session_that_ends_and_a_connection_that_is_lost: "session_lost",
    whatever_is_stored_is_shown_as_text: "xss",
    both_languages_and_colours_are_on_every_screen: "languages",
    requests_are_watched_filtered_and_opened_without_secrets: "live_requests",
    what_happens_appears_as_events: "events",
}

#[tokio::test]
async fn on_etcd_too_objects_are_made_changed_and_deleted_by_clicks() {
    let etcd = Etcd::start().await;
    tell("objects_crud", Gateway::on(&etcd).await).await;
}

#[tokio::test]
async fn on_etcd_too_a_change_is_found_in_the_history_and_rolled_back() {
    let etcd = Etcd::start().await;
    tell("history", Gateway::on(&etcd).await).await;
}

/// As a person does who has just started a gateway.
#[tokio::test]
async fn from_the_printed_password_to_a_mistake_that_is_found_and_rolled_back() {
    let gateway = Gateway::with(json!({"healthcheck": {"active": {"healthy": {"interval": 0.5}}}})).await;
    let password = gateway.output().lines().find_map(|line| line.strip_prefix("admin password: ").map(str::to_owned));
    tell_as("whole", &gateway, "admin", &password.expect("it is printed")).await;
}

/// Runs a story against a gateway, as an administrator.
async fn tell(script: &str, gateway: Gateway) {
    let made = Request::new("PUT", "/admin/v2/users/ops")
        .header("X-Api-Token", TOKEN)
        .body(json!({"role": "admin"}).to_string())
        .send(gateway.admin)
        .await
        .expect(201)
        .json();
    tell_as(script, &gateway, "ops", made["password"].as_str().unwrap()).await;
}

async fn tell_as(script: &str, gateway: &Gateway, user: &str, password: &str) {
    let _turn = BROWSERS.acquire().await.unwrap();
    let (one, two) = (Upstream::echo().await, Upstream::echo().await);
    let mut command = Command::new(node());
    command
        .arg(repository().join("t/panel").join(format!("{script}.mjs")))
        .env("ADMIN", format!("http://{}", gateway.admin))
        .env("GATEWAY", format!("http://{}", gateway.http))
        .env("NODES", format!("{},{}", one.address, two.address))
        .env("TOKEN", TOKEN)
        .env("USER_NAME", user)
        .env("PASSWORD", password)
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
