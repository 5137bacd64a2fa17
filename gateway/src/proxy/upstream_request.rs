//! The request as it goes upstream: path, host, and who the client is.

use std::net::IpAddr;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri, Version, header};
use pingora::http::RequestHeader;
use pingora::{ErrorType, OrErr};
use pingora_proxy::Session;
use ws_cloud_plugin_sdk::{RequestHead as _, RequestState};

use super::context::{Context, Kind};
use super::{Proxy, head};
use crate::request::{host, path};

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Tells the admin's own socket who is asking; never taken from a client.
pub(super) const X_GATEWAY_PEER: HeaderName = HeaderName::from_static("x-gateway-peer");

impl Proxy {
    pub(super) fn prepare(
        &self,
        session: &Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        let Some(connection) = &ctx.connection else { return Ok(()) };
        let peer = connection.peer.ip();
        if ctx.kind == Kind::Internal {
            request.insert_header(X_GATEWAY_PEER, address_value(ctx.client_ip.unwrap_or(peer))?)?;
            return Ok(());
        }
        if let Some(state) = &ctx.state
            && (state.path_changed() || !ctx.path_was_normal)
        {
            set_target(request, state)?;
        }
        if ctx.kind != Kind::Grpc {
            set_host(session, request, ctx)?;
        }
        let from_trusted = self.options.trusted_proxies.contains(peer);
        let client = match ctx.client_ip {
            Some(ip) if from_trusted => address_value(ip)?,
            _ => connection.peer_value.clone(),
        };
        let mut head = head::Request::new(request);
        head.insert_header(X_REAL_IP, client);
        append_forwarded_for(&mut head, &connection.peer_value)?;
        if !from_trusted || !head.headers().contains_key(X_FORWARDED_PROTO) {
            head.insert_header(X_FORWARDED_PROTO, self.scheme(session));
        }
        head.remove_header(&X_GATEWAY_PEER);
        if let (Some(route), Some(state)) = (&ctx.route, &mut ctx.state) {
            route.pipeline.upstream_request_filter(state, &mut head).map_err(|panic| self.panicked(&panic))?;
        }
        drop(head);
        ctx.live_sent(request);
        Ok(())
    }

    fn scheme(&self, session: &Session) -> HeaderValue {
        let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        HeaderValue::from_static(if is_tls { "https" } else { "http" })
    }
}

/// The path as plugins left it, encoded again, with its query.
fn set_target(request: &mut RequestHeader, state: &RequestState) -> pingora::Result<()> {
    let path = path::encode(state.path());
    let target = match state.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path.into_owned()),
    };
    let target = target.or_err(ErrorType::InternalError, "the rewritten path is no path")?;
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query = Some(target);
    if request.version != Version::HTTP_2 {
        // Absolute form is for proxies; a node gets the origin form.
        (parts.scheme, parts.authority) = (None, None);
    }
    request.set_uri(Uri::from_parts(parts).or_err(ErrorType::InternalError, "the rewritten path is no path")?);
    Ok(())
}

/// `Host` as the first gateway sent it: without the port. HTTP/2 requests carry it in the authority.
/// One of HTTP/1.0 may have none, but what goes to the node is HTTP/1.1, which must: there it is the
/// node's own address.
fn set_host(session: &Session, request: &mut RequestHeader, ctx: &Context) -> pingora::Result<()> {
    let incoming = session.req_header();
    let (full, from_uri) = match incoming.headers.get(header::HOST).and_then(|v| v.to_str().ok()) {
        Some(host) => (host, false),
        None => match incoming.uri.authority() {
            Some(authority) => (authority.as_str(), true),
            None if request.headers.contains_key(header::HOST) => return Ok(()),
            None => {
                let (Some(upstream), Some(attempt)) = (&ctx.upstream, ctx.attempts.last()) else { return Ok(()) };
                let address = HeaderValue::from_str(upstream.nodes()[attempt.node].label());
                return request.insert_header(
                    header::HOST,
                    address.or_err(ErrorType::InternalError, "an address is a header value")?,
                );
            }
        },
    };
    let host = host::host_without_port(full);
    if from_uri || host.len() != full.len() {
        let value = HeaderValue::from_str(host).or_err(ErrorType::InvalidHTTPHeader, "the host is no header value")?;
        request.insert_header(header::HOST, value)?;
    }
    Ok(())
}

fn append_forwarded_for(head: &mut head::Request<'_>, peer: &HeaderValue) -> pingora::Result<()> {
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
    let value =
        HeaderValue::from_bytes(&joined).or_err(ErrorType::InternalError, "a list of addresses is a header value")?;
    head.insert_header(X_FORWARDED_FOR, value);
    Ok(())
}

fn address_value(ip: IpAddr) -> pingora::Result<HeaderValue> {
    HeaderValue::try_from(ip.to_string()).or_err(ErrorType::InternalError, "an address is a header value")
}
