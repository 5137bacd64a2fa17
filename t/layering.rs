//! Holds "who may know whom" of the design: which module of the gateway may use which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules and what each may use, beside itself. What is not listed is refused: a new edge is a
/// decision, and is made here.
const MAY_USE: &[(&str, &[&str])] = &[
    ("lib", &["cli"]),
    ("cli", &["config", "server", "pipeline", "resource", "registration", "store", "admin", "control", "snapshot"]),
    (
        "server",
        &[
            "cluster",
            "config",
            "control",
            "proxy",
            "admin",
            "telemetry",
            "demo",
            "explain",
            "pipeline",
            "request",
            "resource",
            "router",
            "secret",
            "snapshot",
            "store",
            "tls",
            "upstream",
        ],
    ),
    (
        "admin",
        &[
            "cluster",
            "config",
            "resource",
            "secret",
            "registration",
            "store",
            "history",
            "control",
            "snapshot",
            "request",
            "pipeline",
            "telemetry",
        ],
    ),
    ("cluster", &["resource", "store", "telemetry"]),
    ("registration", &["store", "resource"]),
    ("history", &[]),
    ("control", &["config", "store", "resource", "snapshot", "telemetry"]),
    ("proxy", &["config", "snapshot", "request", "telemetry", "router", "tls", "upstream", "pipeline", "resource"]),
    ("snapshot", &["config", "resource", "secret", "router", "tls", "upstream", "pipeline", "request", "telemetry"]),
    ("explain", &["snapshot", "request", "router", "pipeline", "upstream", "resource", "telemetry"]),
    ("tls", &["resource"]),
    ("secret", &[]),
    ("router", &["resource", "request"]),
    ("upstream", &["resource", "config", "telemetry"]),
    ("pipeline", &["resource", "telemetry"]),
    ("request", &["resource", "config"]),
    ("telemetry", &["config"]),
    ("resource", &[]),
    ("store", &["config"]),
    ("config", &[]),
    ("demo", &[]),
];

/// Words that must not be in a module's code.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("store", &["pingora"]),
    ("resource", &["pingora", "tokio::"]),
    ("request", &["pingora", "tokio::"]),
    ("router", &["pingora", "tokio::"]),
    ("tls", &["pingora", "tokio::"]),
    ("control", &["pingora"]),
    ("demo", &["pingora"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The code of each top-level module, without comments and without what only tests use.
fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let mut all = Vec::new();
    files(&source(), &mut all);
    let mut modules: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for path in all {
        let relative = path.strip_prefix(source()).unwrap().to_owned();
        let shown = relative.to_string_lossy().into_owned();
        if shown.contains("tests") || shown.contains("conformance") {
            continue;
        }
        let module = shown.split(['/', '.']).next().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let code: String =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
        modules.entry(module).or_default().push((relative, code));
    }
    modules
}

/// The modules that `crate::x` names in a piece of code, `use crate::{a, b::c}` included.
fn used(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (i, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && c.is_alphabetic() => {
                        found.insert(word(&group[i..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.insert(word(rest));
        }
    }
    found
}

#[test]
fn modules_use_only_what_they_may() {
    let modules = modules();
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(module, _)| *module).collect();
    let mut wrong = Vec::new();
    for (module, files) in &modules {
        let Some((_, may)) = MAY_USE.iter().find(|(name, _)| name == module) else {
            if module != "main" {
                wrong.push(format!("{module} is not in the table of t/layering.rs"));
            }
            continue;
        };
        for (path, code) in files {
            for other in used(code) {
                // Names of the crate's root, such as its types, are no modules.
                if known.contains(other.as_str()) && other != *module && !may.contains(&other.as_str()) {
                    wrong.push(format!("{}: {module} must not use {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn modules_without_io_have_none() {
    let modules = modules();
    let mut wrong = Vec::new();
    for (module, words) in FORBIDDEN {
        for (path, code) in &modules[*module] {
            for word in *words {
                if code.contains(word) {
                    wrong.push(format!("{}: {word} has no place in {module}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_control_replaces_the_snapshot() {
    let stores = |code: &str| {
        code.contains(".store(Arc::new(Snapshot")
            || code.contains("handle.publish(")
            || code.contains("handle.replace(")
    };
    for (module, files) in modules() {
        for (path, code) in files {
            assert!(module == "control" || module == "snapshot" || !stores(&code), "{}", path.display());
        }
    }
}

#[test]
fn plugins_know_the_sdk_and_not_the_gateway() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    for entry in std::fs::read_dir(plugins).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
        for word in ["ws-cloud-gateway.workspace", "path = \"../../gateway\"", "pingora"] {
            assert!(!text.contains(word), "{}: {word}", manifest.display());
        }
    }
}

#[test]
fn the_gateways_code_names_no_plugin() {
    for (module, files) in modules() {
        // The first gateway's lists, and what only reads or shows old names, must.
        if ["server", "demo", "admin"].contains(&module.as_str()) {
            continue;
        }
        for (path, code) in files {
            for name in ["\"rewrite\"", "\"tracing\"", "rewrite_url_regex"] {
                assert!(!code.contains(name), "{}: {name}", path.display());
            }
        }
    }
}

#[test]
fn a_use_is_found_however_it_is_written() {
    let names = |code: &str| used(code).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(names("use crate::store::Store;"), "store");
    assert_eq!(names("use crate::{admin::{Admin, status}, store};"), "admin store");
    assert_eq!(names("let x = crate::proxy::run();"), "proxy");
    assert_eq!(names("pub(crate) fn f() {}"), "");
}
