//! Sessions of the panel: a random id in a cookie, whose digest is in the store under a lease, so
//! that a logout holds on every gateway; and what keeps other sites from using the cookie.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{COOKIE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::principal::Csrf;
use super::rights::Rights;
use super::rights::{Role, Services};

/// Sessions: `gw/sessions/<digest of the id>`, each with a lease until it ends.
pub(super) const SESSIONS: &str = "gw/sessions/";
const COOKIE_NAME: &str = "ws_gateway_session";
/// Where the cookie goes. Not `/`: a cookie does not tell ports apart, and the upstreams behind the
/// data ports of this host must not see it.
const COOKIE_PATH: &str = "/admin";
/// Cookies of that name that are looked at. A neighbour of the same domain can add some.
const MAX_COOKIES: usize = 4;
const ID: usize = 64;

/// A session as stored. Times are seconds since 1970.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredSession {
    /// Whose it is.
    pub(super) user: String,
    pub(super) created: f64,
    pub(super) expires: f64,
    /// What another party said the user is, who has no account here then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) foreign: Option<Foreign>,
}

/// What another party said of a user.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Foreign {
    pub(super) role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) services: Option<Services>,
}

impl Foreign {
    pub(super) fn rights(&self) -> Rights {
        Rights { role: self.role, services: self.services.clone() }
    }
}

/// A new session's id.
pub(super) fn generate() -> String {
    hex::encode(rand::random::<[u8; ID / 2]>())
}

/// What the store knows an id by.
pub(super) fn digest(id: &str) -> String {
    hex::encode(Sha256::digest(id))
}

/// The token that goes with an id. Who has it cannot make the id of it.
pub(super) fn csrf(id: &str) -> Csrf {
    let mut mac = Hmac::<Sha256>::new_from_slice(id.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(b"ws-cloud-gateway csrf");
    Csrf(hex::encode(mac.finalize().into_bytes()))
}

/// The `Set-Cookie` of a session, or of its end.
pub(super) fn cookie(id: Option<&str>, lifetime: std::time::Duration, is_secure: bool) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let (value, age) = id.map_or(("", 0), |id| (id, lifetime.as_secs()));
    let cookie = format!("{COOKIE_NAME}={value}; Path={COOKIE_PATH}; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    let mut cookie = HeaderValue::try_from(cookie).expect("an id is hexadecimal");
    cookie.set_sensitive(true);
    cookie
}

/// The ids in the cookies of a call.
pub(super) fn ids(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter(|(name, id)| *name == COOKIE_NAME && id.len() == ID).map(|(_, id)| id);
    ours.take(MAX_COOKIES)
}

/// Whether a call may use a session's cookie: one that changes nothing, or one that another site's
/// page could not have made.
pub(super) fn is_own_call(method: &Method, headers: &HeaderMap, origins: &[String], csrf: &Csrf) -> bool {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
        return true;
    }
    let shown = headers.get("x-csrf-token").map(HeaderValue::as_bytes).unwrap_or_default();
    let is_shown: bool = shown.ct_eq(csrf.0.as_bytes()).into();
    is_shown && is_same_origin(headers, origins)
}

/// Whether a call comes from a page of this origin, as far as the browser says. `origins` are those
/// the operator listed: behind a proxy the host of a call need not be the one the browser sees.
pub(super) fn is_same_origin(headers: &HeaderMap, origins: &[String]) -> bool {
    let site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
    let mut sent = headers.get_all(ORIGIN).iter();
    let origin = match (sent.next(), sent.next()) {
        (None, _) => true,
        (Some(origin), None) => origin.to_str().is_ok_and(|origin| is_own(origin, headers, origins)),
        (Some(_), Some(_)) => false,
    };
    site && origin
}

fn is_own(origin: &str, headers: &HeaderMap, origins: &[String]) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
        || origins.iter().any(|listed| listed.trim_end_matches('/') == origin)
}

/// Whether the browser speaks TLS, to us or to a proxy before us.
pub(super) fn is_secure(headers: &HeaderMap) -> bool {
    let origin = headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    origin || headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_calls_of_our_own_pages_may_use_the_cookie() {
        let token = csrf(&generate());
        let listed = ["https://panel.example.com/".to_owned()];
        let host = ("host", "gateway:12000");
        let shown = ("x-csrf-token", token.0.as_str());
        let cases = [
            (&[host, shown][..], true),
            (&[host, shown, ("origin", "http://gateway:12000"), ("sec-fetch-site", "same-origin")], true),
            (&[host, shown, ("origin", "https://GATEWAY:12000")], true),
            (&[host, shown, ("origin", "https://panel.example.com")], true),
            (&[host], false),
            (&[host, ("x-csrf-token", "")], false),
            (&[host, ("x-csrf-token", &csrf(&generate()).0)], false),
            (&[host, shown, ("origin", "http://gateway:12001")], false),
            (&[host, shown, ("origin", "http://evil.com")], false),
            (&[host, shown, ("origin", "http://gateway:12000.evil.com")], false),
            (&[host, shown, ("origin", "null")], false),
            (&[host, shown, ("origin", "")], false),
            (&[host, shown, ("sec-fetch-site", "same-site")], false),
            (&[host, shown, ("sec-fetch-site", "cross-site")], false),
            (&[shown, ("origin", "http://gateway:12000")], false),
        ];
        for (sent, own) in cases {
            assert_eq!(is_own_call(&Method::POST, &headers(sent), &listed, &token), own, "{sent:?}");
            assert!(is_own_call(&Method::GET, &headers(sent), &listed, &token));
        }
        let mut two = headers(&[host, shown, ("origin", "http://gateway:12000")]);
        two.append(ORIGIN, "http://evil.com".parse().unwrap());
        assert!(!is_own_call(&Method::DELETE, &two, &listed, &token));
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let id = generate();
        let found = |cookie: &str| ids(&headers(&[("cookie", cookie)])).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(found(&format!("a=b; {COOKIE_NAME}={id};c=d")), [id.as_str()]);
        assert_eq!(found(&format!("{COOKIE_NAME}=short; x{COOKIE_NAME}={id}")), Vec::<String>::new());
        assert_eq!(found(&format!("{COOKIE_NAME}={id};").repeat(9)).len(), MAX_COOKIES);
        assert_ne!(digest(&id), id);
        assert_ne!(csrf(&id).0, digest(&id));
    }

    #[test]
    fn the_cookie_is_for_the_api_alone_and_for_no_script() {
        let set = |secure| cookie(Some(&"a".repeat(ID)), std::time::Duration::from_secs(60), secure);
        let text = set(false).to_str().unwrap().to_owned();
        assert!(text.contains("; Path=/admin; Max-Age=60; HttpOnly; SameSite=Strict") && !text.contains("Secure"));
        assert!(set(true).to_str().unwrap().ends_with("; Secure"));
        assert!(!format!("{:?}", set(true)).contains("aaaa"));
        assert!(cookie(None, std::time::Duration::ZERO, false).to_str().unwrap().contains("=; Path=/admin; Max-Age=0"));
    }
}
