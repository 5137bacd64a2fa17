//! What the proxy would refuse, and with which status: the proxy's own table is `proxy/answer.rs`, and a test holds the
//! two together.

use crate::snapshot::Ambiguous;

/// A request that the gateway answers itself.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The reason.
    Malformed(String),
    Ambiguous(Box<Ambiguous>),
    NoConnect,
    NoRoute,
    /// What is.
    Broken(&'static str),
    Loop,
    BodyTooLarge,
    NoNode,
    AtLimit,
    /// A plugin panicked.
    Panicked(String),
}

impl Refusal {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Ambiguous(_) => 400,
            Self::NoConnect => 405,
            Self::NoRoute => 404,
            Self::Broken(_) | Self::AtLimit => 503,
            Self::Loop => 508,
            Self::BodyTooLarge => 413,
            Self::NoNode => 502,
            Self::Panicked(_) => 500,
        }
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Self::Malformed(reason) | Self::Panicked(reason) => reason.clone(),
            Self::Ambiguous(ambiguous) => {
                let other = ambiguous.found.as_ref().map_or("no route".into(), |r| format!("route {}", r.info.key));
                format!("{}: as {} it is that of {other}", ambiguous, ambiguous.reading)
            }
            Self::NoConnect => "CONNECT is not supported".into(),
            Self::NoRoute => "no route takes the request".into(),
            Self::Broken(what) => format!("{what} is broken"),
            Self::Loop => "the request goes in circles: X-Forwarded-For names too many proxies".into(),
            Self::BodyTooLarge => "the request body is too large".into(),
            Self::NoNode => "no node of the service is available".into(),
            Self::AtLimit => "every node of the service is at its limit".into(),
        }
    }
}
