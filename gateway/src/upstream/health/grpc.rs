//! The grpc probe: `grpc.health.v1.Health/Check`, its two messages written and read by hand.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, header};
use pingora::protocols::Stream;

use super::GrpcProbe;
use super::exchange;

/// The number of SERVING.
const SERVING: u64 = 1;
/// The names of `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING_STATUS: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// The names of gRPC's status codes.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Asks the standard health service.
pub(super) async fn check(stream: Stream, scheme: &str, authority: &str, probe: &GrpcProbe) -> Result<(), Box<str>> {
    let request = Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, concat!("ws-cloud-gateway-health/", env!("CARGO_PKG_VERSION")))
        .body(())
        .map_err(|e| e.to_string())?;
    let (response, trailers) =
        exchange::exchange(stream, request, question(&probe.service)).await.map_err(|e| e.to_string())?;
    judge(&response, &trailers)
}

/// A `HealthCheckRequest` in its frame: field 1 is the name.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn judge(response: &Response<Bytes>, trailers: &HeaderMap) -> Result<(), Box<str>> {
    if response.status() != 200 {
        return Err(format!("status {}", response.status().as_u16()).into());
    }
    // A response without a message has its status in the head.
    let code = trailers.get("grpc-status").or_else(|| response.headers().get("grpc-status"));
    let code = code.and_then(|code| code.to_str().ok()?.parse::<usize>().ok());
    match code {
        Some(0) => {}
        Some(code) => {
            let name = CODES.get(code).map_or_else(|| code.to_string(), ToString::to_string);
            return Err(format!("grpc status {name}").into());
        }
        None => return Err("the answer has no grpc status".into()),
    }
    match answer(response.body()) {
        Some(SERVING) => Ok(()),
        Some(status) => {
            let name = usize::try_from(status).ok().and_then(|status| SERVING_STATUS.get(status));
            Err(format!("grpc health {}", name.map_or_else(|| status.to_string(), ToString::to_string)).into())
        }
        None => Err("the answer is no HealthCheckResponse".into()),
    }
}

/// Reads a `HealthCheckResponse`: field 1 is the status, and 0 when it is left out.
fn answer(frame: &[u8]) -> Option<u64> {
    let (head, rest) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    // We have not offered any compression.
    if head[0] != 0 {
        return None;
    }
    let mut message = rest.get(..usize::try_from(length).ok()?)?;
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = take_varint(&mut message)?,
            (_, 0) => drop(take_varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 5) => message = message.get(4..)?,
            (_, 2) => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        // The lowest seven bits of it.
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or_default());
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respond(code: &str, body: &[u8]) -> Result<(), Box<str>> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        judge(&Response::new(Bytes::copy_from_slice(body)), &trailers)
    }

    #[test]
    fn the_name_asked_for_is_in_the_question() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn only_serving_is_a_success() {
        assert_eq!(respond("0", &[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        assert_eq!(respond("0", &[0, 0, 0, 0, 2, 8, 2]), Err("grpc health NOT_SERVING".into()));
        assert_eq!(respond("0", &[0, 0, 0, 0, 0]), Err("grpc health UNKNOWN".into()));
        assert_eq!(respond("5", &[]), Err("grpc status NOT_FOUND".into()));
        assert_eq!(respond("12", &[]), Err("grpc status UNIMPLEMENTED".into()));
        assert_eq!(respond("99", &[]), Err("grpc status 99".into()));
    }

    #[test]
    fn fields_we_do_not_know_are_passed_over() {
        assert_eq!(respond("0", &[0, 0, 0, 0, 7, 0x12, 1, b'x', 0x18, 5, 8, 1]), Ok(()));
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        for broken in [&[][..], &[0, 0, 0, 0, 9, 8, 1], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 1, 8], &[0; 4]] {
            assert_eq!(respond("0", broken), Err("the answer is no HealthCheckResponse".into()), "{broken:?}");
        }
        assert!(judge(&Response::new(Bytes::new()), &HeaderMap::new()).is_err());
    }
}
