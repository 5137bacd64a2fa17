//! The http probe: a GET over a connection of its own, judged by its status.

use bytes::Bytes;
use http::{Method, Request, header};
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;

use super::HttpProbe;
use super::exchange::{self, MAX_BODY};

/// How we introduce ourselves.
const USER_AGENT: &str = concat!("ws-cloud-gateway-health/", env!("CARGO_PKG_VERSION"));
/// Most heads before the final one.
const MAX_HEADS: usize = 8;

/// Asks over HTTP/1.1.
pub(super) async fn http1(stream: Stream, authority: &str, probe: &HttpProbe) -> Result<(), Box<str>> {
    let text = |e: Box<pingora::Error>| super::prober::reason(&e);
    let mut request = RequestHeader::build(Method::GET, probe.path.as_bytes(), None).map_err(text)?;
    for (name, value) in [
        (header::HOST, authority),
        (header::USER_AGENT, USER_AGENT),
        (header::ACCEPT, "*/*"),
        (header::CONNECTION, "close"),
    ] {
        request.insert_header(name, value).map_err(text)?;
    }
    let mut session = HttpSession::new(stream);
    session.write_request_header(Box::new(request)).await.map_err(text)?;
    for _ in 0..MAX_HEADS {
        session.read_response().await.map_err(text)?;
        let status = session.get_status().map_or(0, |status| status.as_u16());
        if status >= 200 {
            judge(probe, status)?;
            // Read to its end, so that the node need not see its answer cut off.
            let mut read = 0;
            while let Some(piece) = session.read_body_bytes().await.map_err(text)? {
                read += piece.len();
                if read > MAX_BODY {
                    break;
                }
            }
            return Ok(());
        }
    }
    Err("no final response".into())
}

/// Asks over HTTP/2.
pub(super) async fn http2(stream: Stream, scheme: &str, authority: &str, probe: &HttpProbe) -> Result<(), Box<str>> {
    let request = Request::get(format!("{scheme}://{authority}{}", probe.path))
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .body(())
        .map_err(|e| e.to_string())?;
    let (response, _) = exchange::exchange(stream, request, Bytes::new()).await.map_err(|e| e.to_string())?;
    judge(probe, response.status().as_u16())
}

fn judge(probe: &HttpProbe, status: u16) -> Result<(), Box<str>> {
    if probe.expects(status) { Ok(()) } else { Err(format!("status {status}").into()) }
}
