//! The request as it goes upstream: path, host, and who the client is.

use std::net::IpAddr;

use http::{HeaderValue, Uri, Version, header};
use pingora::http::RequestHeader;
use pingora::{ErrorType, OrErr};
use pingora_proxy::Session;
use ws_cloud_plugin_sdk::RequestState;

use super::context::{Context, Kind};
use super::{Proxy, head, trace};
use crate::request::onward::{self, Host, Sender, X_GATEWAY_PEER};

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
        let sender =
            Sender { client, peer: &connection.peer_value, is_trusted: from_trusted, scheme: Self::scheme(session) };
        onward::introduce(&mut head, sender).or_err(ErrorType::InternalError, "addresses are header values")?;
        if let (Some(route), Some(state)) = (&ctx.route, &mut ctx.state) {
            route.pipeline.upstream_request_filter(state, &mut head).map_err(|panic| self.panicked(&panic))?;
        }
        if let Some(trace) = &mut ctx.trace {
            trace::pass_on(trace, ctx.attempts.len().saturating_sub(1), &mut head);
        }
        drop(head);
        ctx.live_sent(request);
        Ok(())
    }

    fn scheme(session: &Session) -> &'static str {
        let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        if is_tls { "https" } else { "http" }
    }
}

/// The path as plugins left it, with its query.
fn set_target(request: &mut RequestHeader, state: &RequestState) -> pingora::Result<()> {
    let target = onward::target(state.path(), state.query());
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

fn set_host(session: &Session, request: &mut RequestHeader, ctx: &Context) -> pingora::Result<()> {
    let incoming = session.req_header();
    let header = incoming.headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let host = match onward::host(header, incoming.uri.authority().map(|a| a.as_str())) {
        Host::Same => return Ok(()),
        Host::Is(host) => host,
        Host::OfNode if request.headers.contains_key(header::HOST) => return Ok(()),
        Host::OfNode => {
            let (Some(upstream), Some(attempt)) = (&ctx.upstream, ctx.attempts.last()) else { return Ok(()) };
            upstream.nodes()[attempt.node].label()
        }
    };
    let value = HeaderValue::from_str(host).or_err(ErrorType::InvalidHTTPHeader, "the host is no header value")?;
    request.insert_header(header::HOST, value)
}

fn address_value(ip: IpAddr) -> pingora::Result<HeaderValue> {
    HeaderValue::try_from(ip.to_string()).or_err(ErrorType::InternalError, "an address is a header value")
}
