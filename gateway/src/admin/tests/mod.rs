//! Tests of the Admin API through its router, on a store in memory.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::peer::Connection;
use super::{Admin, AdminDeps, PeerSource, PluginInfo, Unexplained};
use crate::config::{AccountConfig, AdminConfig, Right, TokenConfig};
use crate::resource::{Invalid, Node, NodeOverlay, Route, Service};

mod access;
mod auth;
mod changes;
mod declared;
mod explain;
mod front;
mod golden;
mod history;
mod limits;
mod live;
mod nodes;
mod objects;
mod openapi;
mod registrations;
mod sessions;
mod store;

use store::MemoryStore;

const P: &str = "/my/cloud/";
const API_TOKEN: &str = "canary-api-token-0123456789";
/// A token that may register nodes of `demo1` and `team-*`.
const REGISTRAR: &str = "canary-registrar-0123456789";
const SECRET: &str = "canary-jwt-secret-0123456789";
const PASSWORD: &str = "canary-password";
const LOCAL: &str = "127.0.0.1";

/// An Admin API on a store of its own.
struct Api {
    store: Arc<MemoryStore>,
    router: Router,
    level: Arc<Mutex<String>>,
    live: super::LiveDeps,
}

/// An answer, its body read.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn config() -> AdminConfig {
    let info = json!({"roles": ["admin"], "introduction": "i", "avatar": "a", "name": "Admin"});
    let account = AccountConfig { password: PASSWORD.into(), info: info.as_object().unwrap().clone() };
    let registrar = TokenConfig {
        desc: "ci".into(),
        may: Some(vec![Right::Register]),
        services: vec!["demo1".into(), "team-*".into()],
    };
    AdminConfig {
        jwt_secret: Some(SECRET.into()),
        account: [("admin".to_owned(), account)].into(),
        tokens: [
            (API_TOKEN.to_owned(), TokenConfig { desc: "tests".into(), ..TokenConfig::default() }),
            (REGISTRAR.to_owned(), registrar),
        ]
        .into(),
        cors_origins: vec!["https://panel.example.com".into()],
        ..AdminConfig::default()
    }
}

fn check(key: &str, value: &[u8]) -> Result<(), Invalid> {
    if key.starts_with("routes/") {
        let route = Route::parse(value)?;
        if let Some(Value::String(pattern)) = route.props.get("rewrite_url_regex") {
            regex::Regex::new(pattern).map_err(|e| Invalid::at("props.rewrite_url_regex", e.to_string()))?;
        }
        Ok(())
    } else if key.starts_with("discovery/") {
        Node::parse(value).map(drop)
    } else if key.starts_with("gw/services/") {
        Service::parse(value).map(drop)
    } else {
        NodeOverlay::parse(value).map(drop)
    }
}

impl Api {
    fn new() -> Self {
        Self::on(MemoryStore::new(), config(), PeerSource::Socket)
    }

    fn on(store: Arc<MemoryStore>, config: AdminConfig, source: PeerSource) -> Self {
        let level = Arc::new(Mutex::new("info".to_owned()));
        let deps_level = Arc::clone(&level);
        let plugin = |name: &str, description: &str, version: &str| PluginInfo {
            name: name.into(),
            description: description.into(),
            version: version.into(),
            ..PluginInfo::default()
        };
        let live = live::deps(&store);
        let admin = Admin::new(AdminDeps {
            store: Arc::clone(&store) as _,
            data_prefix: P.into(),
            check: Arc::new(check),
            advise: Arc::new(|_, _| Vec::new()),
            plugins: vec![
                plugin("discovery", "服务发现插件", "v1.0"),
                plugin("default", "默认插件", "v1.0"),
                plugin("tracing", "链路跟踪插件", "v1.0"),
                plugin("rewrite", "url重写插件", "v1.0"),
            ],
            ended: Arc::new(|_, _| {}),
            seal: Arc::new(|place, plain| {
                // Those that are opened again are kept.
                let kept = if place.starts_with("gw/totp/") { plain.to_owned() } else { plain.len().to_string() };
                Ok(format!("sealed:v1:test:{place}:{kept}"))
            }),
            open: Arc::new(|place, sealed| {
                let plain = sealed.strip_prefix(&format!("sealed:v1:test:{place}:"));
                plain.map(str::to_owned).ok_or_else(|| "it belongs elsewhere".to_owned())
            }),
            status: Arc::new(|| json!({"version": "2.0.0", "rejected": []})),
            log_level: Arc::new(move |wanted| {
                let mut level = deps_level.lock().unwrap();
                match wanted {
                    Some(new) if ["info", "debug"].contains(&new) => *level = new.to_owned(),
                    Some(other) => return Err(format!("\"{other}\" is no level; expected info or debug")),
                    None => {}
                }
                Ok(level.clone())
            }),
            explain: Arc::new(|question| {
                Box::pin(async move {
                    match question["url"].as_str() {
                        Some("busy") => Err(Unexplained::Busy),
                        Some("wrong") => Err(Unexplained::Invalid(Invalid::at("url", "expected a path"))),
                        _ => Ok(json!({"asked": question})),
                    }
                })
            }),
            config,
            server_header: "Ws-Cloud-Gateway".into(),
            live: live.clone(),
        });
        Self { store, router: admin.router(source), level, live }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// A call with the API token.
    async fn call(&self, method: Method, path: &str, body: &str) -> Answer {
        self.send(request(method, path, &[("x-api-token", API_TOKEN)], body)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, &body.to_string()).await
    }

    async fn get_as(&self, path: &str, token: &str) -> Answer {
        self.send(request(Method::GET, path, &[("x-token", token)], "")).await
    }

    async fn try_login(&self, name: &str, password: &str, from: &str) -> Answer {
        let body = json!({"username": name, "password": password}).to_string();
        let mut request = request(Method::POST, "/admin/login", &[], &body);
        request.extensions_mut().insert(Connection(Some(from.parse().unwrap())));
        self.send(request).await
    }

    async fn login(&self) -> String {
        let answer = self.try_login("admin", PASSWORD, LOCAL).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    async fn routes(&self) -> Value {
        self.call(Method::GET, "/admin/routes/list", "").await.json()
    }

    async fn services(&self) -> Value {
        self.call(Method::GET, "/admin/services/list", "").await.json()
    }
}

/// A call from this machine.
fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:12000");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(Connection(Some(LOCAL.parse::<IpAddr>().unwrap())));
    request
}

fn page(title: &str) -> String {
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
}

/// Waits for a condition.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}
