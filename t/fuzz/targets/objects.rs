//! Stored objects: any value is taken or refused, what is taken compiles, and requests find routes.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, Method};
use ws_cloud_gateway::config::Config;
use ws_cloud_gateway::router::Lookup;
use ws_cloud_gateway::server::bare;
use ws_cloud_gateway::snapshot::{Change, Checker, Compiler, Handle, Publish};

use super::input::Input;

/// Keys below the data prefix, one for each kind of object.
const KEYS: [&str; 5] =
    ["routes/r", "discovery/s.00000000000000000000000000000000", "gw/services/s", "gw/plugins/tracing", "gw/nodes/s.0"];

/// What separates objects in an input.
const SEPARATOR: u8 = 0xff;

pub fn run(bytes: &[u8]) {
    static CHECKER: LazyLock<Checker> = LazyLock::new(|| bare::checker(&Config::default(), factories()).unwrap());
    let mut changes = Vec::new();
    for (revision, object) in (1..).zip(bytes.split(|byte| *byte == SEPARATOR).take(16)) {
        let mut input = Input::new(object);
        let key = input.choose(KEYS);
        let value = input.rest();
        changes.push((
            CHECKER.check(key, value).is_ok(),
            Change {
                key: format!("{key}{}", if key.starts_with("routes") { revision.to_string() } else { String::new() }),
                value: Some(value.to_vec().into()),
                revision,
            },
        ));
    }
    let handle = Arc::new(Handle::default());
    let mut compiler = compiler(&handle);
    compiler.replace(1, &mut std::iter::empty());
    for (accepted, change) in changes {
        let key = change.key.clone();
        compiler.apply(change.revision, vec![change]);
        let snapshot = handle.load();
        let rejected = snapshot.rejected.iter().find(|rejected| rejected.key == key);
        assert_eq!(rejected.is_none(), accepted, "{key}: the check and the compiler differ: {rejected:?}");
        for path in ["/", "/a", "/api/v1/x", "/a%2Fb"] {
            let lookup =
                Lookup { path, host: "a.test", method: &Method::GET, headers: &HeaderMap::new(), query: Some("x=1") };
            if let Some(route) = snapshot.find(&lookup) {
                std::hint::black_box(snapshot.target(route));
            }
        }
    }
}

fn compiler(handle: &Arc<Handle>) -> Compiler {
    bare::compiler(&Config::default(), factories(), handle, super::env).unwrap()
}

fn factories() -> Vec<ws_cloud_gateway::sdk::Factory> {
    ws_cloud_plugin_standard::factories()
}
