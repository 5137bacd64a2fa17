//! The request as it goes upstream: its target, its host, and who the client is.

use http::header::InvalidHeaderValue;
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderName, HeaderValue};
use ws_cloud_plugin_sdk::RequestHead;

use super::host::host_without_port;
use super::path;

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Tells the admin's own socket who is asking; never taken from a client.
pub const X_GATEWAY_PEER: HeaderName = HeaderName::from_static("x-gateway-peer");

/// Path and query as plugins left them, encoded again.
///
/// # Errors
/// When they cannot stand in a request line.
pub fn target(path: &str, query: Option<&str>) -> Result<PathAndQuery, InvalidUri> {
    let path = path::encode(path);
    match query {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path.into_owned()),
    }
}

/// What a node is told as `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// What the client said.
    Same,
    /// This.
    Is(&'a str),
    /// The node's own address: the client said nothing.
    OfNode,
}

/// `Host` as the first gateway sent it: without the port. HTTP/2 requests carry it in the authority.
/// One of HTTP/1.0 may have none, but what goes to the node is HTTP/1.1, which must.
#[must_use]
pub fn host<'a>(header: Option<&'a str>, authority: Option<&'a str>) -> Host<'a> {
    match (header, authority) {
        (Some(full), _) => {
            let host = host_without_port(full);
            if host.len() == full.len() { Host::Same } else { Host::Is(host) }
        }
        (None, Some(authority)) => Host::Is(host_without_port(authority)),
        (None, None) => Host::OfNode,
    }
}

/// Who sends a request, as a node is told.
#[derive(Debug)]
pub struct Sender<'a> {
    /// The client's address.
    pub client: HeaderValue,
    /// That of the connection.
    pub peer: &'a HeaderValue,
    /// Whether the connection is that of a trusted proxy.
    pub is_trusted: bool,
    /// What the connection speaks: `http` or `https`.
    pub scheme: &'static str,
}

/// Tells a node who sends the request.
///
/// # Errors
/// When what a client sent as `X-Forwarded-For` cannot be continued, which no request that came as far has.
pub fn introduce(head: &mut impl RequestHead, sender: Sender<'_>) -> Result<(), InvalidHeaderValue> {
    head.insert_header(X_REAL_IP, sender.client);
    append_forwarded_for(head, sender.peer)?;
    if !sender.is_trusted || !head.headers().contains_key(X_FORWARDED_PROTO) {
        head.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(sender.scheme));
    }
    head.remove_header(&X_GATEWAY_PEER);
    Ok(())
}

fn append_forwarded_for(head: &mut impl RequestHead, peer: &HeaderValue) -> Result<(), InvalidHeaderValue> {
    let mut values = head.headers().get_all(X_FORWARDED_FOR).iter();
    let Some(first) = values.next() else {
        head.insert_header(X_FORWARDED_FOR, peer.clone());
        return Ok(());
    };
    let mut joined = Vec::with_capacity(first.len() + peer.len() + 2);
    joined.extend_from_slice(first.as_bytes());
    for value in values.chain(std::iter::once(peer)) {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value.as_bytes());
    }
    let value = HeaderValue::from_bytes(&joined)?;
    head.insert_header(X_FORWARDED_FOR, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_the_host_without_its_port() {
        assert_eq!(host(Some("a.test"), None), Host::Same);
        assert_eq!(host(Some("a.test:80"), Some("b.test")), Host::Is("a.test"));
        assert_eq!(host(None, Some("b.test:443")), Host::Is("b.test"));
        assert_eq!(host(None, None), Host::OfNode);
    }

    #[test]
    fn a_path_is_encoded_and_its_query_left_alone() {
        assert_eq!(target("/用户 x", Some("a=%41")).unwrap(), "/%E7%94%A8%E6%88%B7%20x?a=%41");
        assert!(target("/a", Some("b c")).is_err());
    }
}
