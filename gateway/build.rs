//! Finds the built control panel for the gateway to embed. Runs no npm: without `dashboard/dist` a
//! page that says how to build it takes the panel's place, and with `PANEL_REQUIRED=1` that is an error.

use std::path::{Path, PathBuf};
use std::{env, fs};

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>ws-cloud-gateway</title></head>
<body>
<h1>ws-cloud-gateway</h1>
<p>The control panel is not built into this gateway. With Node 20.19 or later, <code>make panel</code> builds it; then build the gateway again.</p>
<p>The Admin API answers under <code>/admin/</code>; <a href=\"/admin/v2/docs\">this page</a> describes it.</p>
</body>
</html>
";

fn main() {
    println!("cargo::rerun-if-changed=dashboard/dist");
    println!("cargo::rerun-if-env-changed=PANEL_REQUIRED");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let built = here.join("dashboard/dist");
    let is_built = built.join("index.html").exists();
    if !is_built && env::var("PANEL_REQUIRED").is_ok_and(|value| value == "1") {
        println!("cargo::error=the control panel is not built ({} is missing); run `make panel`", built.display());
        return;
    }
    let folder = if is_built { built } else { instead() };
    println!("cargo::rustc-env=PANEL_FOLDER={}", folder.display());
}

/// A folder with the page alone.
fn instead() -> PathBuf {
    let folder = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("panel");
    fs::create_dir_all(&folder).expect("OUT_DIR can be written");
    fs::write(folder.join("index.html"), PAGE).expect("OUT_DIR can be written");
    folder
}
