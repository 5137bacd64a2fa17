//! The request as it goes to a node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, header};
use pingora::upstreams::peer::{HttpPeer, Peer as _};

use super::answer::{Onward, Plugin, Tls};
use super::find::Arrived;
use super::head;
use super::plugins::{self, Course, Ended, Place};
use super::refusal::Refusal;
use super::service::{Carriage, With, peer};
use crate::request::onward::{self, Host, Sender};
use crate::upstream::ProxyVersion;

/// What is sent, and from whom.
pub(super) struct Sent<'a> {
    pub(super) with: &'a With<'a>,
    /// The node's place.
    pub(super) index: Option<usize>,
    pub(super) arrived: &'a Arrived,
    pub(super) is_trusted: bool,
}

/// As the proxy's `prepare`.
pub(super) async fn show(
    sent: Sent<'_>,
    mut course: Course,
    shown: &mut [Plugin],
    place: &Place,
) -> (Option<Onward>, Option<Ended>) {
    let Some((upstream, index)) = sent.with.upstream.zip(sent.index) else {
        return (None, Some(Ended::Refused(Refusal::NoNode)));
    };
    let node = &upstream.nodes()[index];
    let target = match target(&sent, &course) {
        Ok(target) => target,
        Err(refusal) => return (None, Some(Ended::Refused(refusal))),
    };
    let had_host = course.head.headers.contains_key(header::HOST);
    course.head = course.head.onward(sent.with.carriage);
    if let Err(refusal) = introduce(&sent, &mut course, node.label(), had_host) {
        return (None, Some(Ended::Refused(refusal)));
    }
    let (course, ended) = plugins::upstream_request(course, sent.with.route, shown, place).await;
    let Some(course) = course else { return (None, ended) };
    let peer = peer(node, sent.with);
    let onward = Onward {
        node: node.address,
        protocol: protocol(&peer),
        tls: tls(&peer),
        proxy_protocol: upstream.options.proxy_protocol.map(|version| match version {
            ProxyVersion::V1 => "v1",
            ProxyVersion::V2 => "v2",
        }),
        method: course.head.method.to_string(),
        target,
        headers: headers(&course.head.headers, &course.asked),
    };
    (Some(onward), ended)
}

/// As the client sent it, unless it was not in normal form or a plugin has changed it.
fn target(sent: &Sent<'_>, course: &Course) -> Result<String, Refusal> {
    if !course.state.path_changed() && sent.arrived.was_normal {
        return Ok(String::from_utf8_lossy(sent.arrived.target.raw_path()).into_owned());
    }
    let target = onward::target(course.state.path(), course.state.query());
    target.map(|target| target.to_string()).map_err(|_| Refusal::Panicked("the rewritten path is no path".into()))
}

fn introduce(sent: &Sent<'_>, course: &mut Course, node: &str, had_host: bool) -> Result<(), Refusal> {
    let impossible = |what: &str| Refusal::Panicked(format!("{what} is no header value"));
    // A call of gRPC goes on with the authority it came with.
    if sent.with.carriage != Carriage::Grpc {
        let host = match onward::host(course.head.host(), None) {
            Host::Same => None,
            Host::Is(host) => Some(HeaderValue::from_str(host)),
            Host::OfNode if had_host => None,
            Host::OfNode => Some(HeaderValue::from_str(node)),
        };
        if let Some(host) = host {
            course.head.headers.insert(header::HOST, host.map_err(|_| impossible("the host"))?);
        }
    }
    let value = |ip: IpAddr| HeaderValue::try_from(ip.to_string()).map_err(|_| impossible("an address"));
    let peer = value(sent.arrived.peer.to_canonical())?;
    let client = if sent.is_trusted { value(course.state.client_ip)? } else { peer.clone() };
    let scheme = if sent.arrived.is_tls { "https" } else { "http" };
    let sender = Sender { client, peer: &peer, is_trusted: sent.is_trusted, scheme };
    onward::introduce(&mut course.head, sender).map_err(|_| impossible("X-Forwarded-For"))
}

fn headers(headers: &HeaderMap, asked: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        shown.entry(name.as_str().to_owned()).or_default().push(head::shown(name, value, asked));
    }
    shown
}

fn protocol(peer: &HttpPeer) -> &'static str {
    match (peer.options.alpn.get_min_http_version(), peer.options.alpn.get_max_http_version()) {
        (2, _) => "h2",
        (_, 2) => "h2 or http/1.1",
        _ => "http/1.1",
    }
}

fn tls(peer: &HttpPeer) -> Option<Tls> {
    peer.tls().then(|| Tls {
        server_name: peer.sni.clone(),
        verify: peer.options.verify_cert,
        client_certificate: peer.client_cert_key.is_some(),
    })
}
