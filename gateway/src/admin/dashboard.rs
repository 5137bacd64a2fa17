//! The control panel: the files of `dashboard/dist` as they were built in, to anyone whose address may
//! call. They hold no secrets; what they show comes from the API.

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::answer;

/// The panel, or the page in its place. Of a debug build it is read from the disk.
#[derive(RustEmbed)]
#[folder = "$PANEL_FOLDER"]
struct Panel;

/// The compressed forms that the panel's build makes, in the order in which they are preferred.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// Answers a path that begins with `/dashboard`.
pub(super) fn answer(method: &Method, path: &str, headers: &HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return answer::page(StatusCode::METHOD_NOT_ALLOWED);
    }
    match path.strip_prefix("/dashboard") {
        // The panel's own links are relative, so its place must end with a slash.
        Some("") => {
            let mut response = answer::page(StatusCode::MOVED_PERMANENTLY);
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("/dashboard/"));
            response
        }
        Some("/") => file("index.html", headers),
        Some(name) => match name.strip_prefix('/') {
            Some(name) => file(name, headers),
            None => answer::page(StatusCode::NOT_FOUND),
        },
        None => answer::page(StatusCode::NOT_FOUND),
    }
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let is_compressed = ENCODINGS.iter().any(|(_, ending)| name.ends_with(ending));
    let Some(plain) = (!is_compressed && is_a_name(name)).then(|| Panel::get(name)).flatten() else {
        return answer::page(StatusCode::NOT_FOUND);
    };
    let kind = content_type(name);
    let tag = tag(&plain);
    let mut response = if is_known(headers, &tag) {
        answer::with_type(StatusCode::NOT_MODIFIED, kind, Body::empty())
    } else {
        content(name, plain, kind, headers)
    };
    let added = response.headers_mut();
    // A weak tag: the compressed forms have it too.
    if let Ok(tag) = HeaderValue::try_from(tag) {
        added.insert(ETAG, tag);
    }
    added.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    added.insert(CACHE_CONTROL, HeaderValue::from_static(caching(name)));
    response
}

/// Debug builds look for a file of this name on the disk.
fn is_a_name(name: &str) -> bool {
    name.split('/').all(|part| !part.is_empty() && !part.starts_with('.')) && !name.contains(['\\', '\0'])
}

/// The best form that the client takes.
fn content(name: &str, plain: EmbeddedFile, kind: HeaderValue, headers: &HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let accepted: Vec<&str> = accepted.flat_map(|value| value.split(',')).map(str::trim).collect();
    // A coding with a weight is taken unless the weight is 0 (RFC 9110, section 12.5.3).
    let takes = |coding: &str| {
        accepted.iter().any(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, "q=1"));
            let weight = weight.trim().trim_start_matches("q=").parse::<f32>().unwrap_or(0.0);
            name.trim().eq_ignore_ascii_case(coding) && weight > 0.0
        })
    };
    let found = ENCODINGS.iter().find_map(|(coding, ending)| {
        let compressed = takes(coding).then(|| Panel::get(&format!("{name}{ending}"))).flatten()?;
        Some((*coding, compressed))
    });
    let (coding, file) = found.map_or((None, plain), |(coding, file)| (Some(coding), file));
    let mut response = answer::with_type(StatusCode::OK, kind, Body::from(file.data.into_owned()));
    if let Some(coding) = coding {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

fn tag(file: &EmbeddedFile) -> String {
    format!("W/\"{}\"", hex::encode(&file.metadata.sha256_hash()[..12]))
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|known| known.trim() == tag)
}

/// Names under `assets/` have a digest of their content in them.
fn caching(name: &str) -> &'static str {
    if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" }
}

fn content_type(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, headers: &[(http::HeaderName, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        answer(&Method::GET, path, &headers.collect())
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let first = get("/dashboard/", &[]);
        let tag = first.headers()[ETAG].to_str().unwrap();
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        assert_eq!(get("/dashboard/index.html", &[(IF_NONE_MATCH, tag)]).status(), 304);
        assert_eq!(get("/dashboard/", &[(IF_NONE_MATCH, "W/\"other\"")]).status(), 200);
    }

    #[test]
    fn nothing_but_the_panel_is_found() {
        for path in [
            "/dashboard/nothing",
            "/dashboardindex.html",
            "/dashboard/index.html.gz",
            "/dashboard/index.html.br",
            "/dashboard/../Cargo.toml",
            "/dashboard/assets/../index.html",
            "/dashboard//etc/passwd",
            "/dashboard/.vite/manifest.json",
            "/dashboard/.gitkeep",
            "/dashboard/assets",
        ] {
            assert_eq!(get(path, &[]).status(), 404, "{path}");
        }
    }

    #[test]
    fn a_coding_is_used_only_where_it_is_taken() {
        let built = Panel::get("index.html.br").is_some();
        for (accepted, coding) in [
            ("", None),
            ("identity", None),
            ("gzip", Some("gzip")),
            ("gzip, br", Some("br")),
            ("gzip;q=0.5, br;q=0", Some("gzip")),
            ("gzip;q=0, br;q=0.0", None),
        ] {
            let answer = get("/dashboard/", &[(ACCEPT_ENCODING, accepted)]);
            let found = answer.headers().get(CONTENT_ENCODING).map(|coding| coding.to_str().unwrap());
            assert_eq!(found, coding.filter(|_| built), "{accepted}");
            assert_eq!(answer.headers()[VARY], "Accept-Encoding");
        }
    }
}
