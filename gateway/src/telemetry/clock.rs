//! Timestamps as text. Formatting one costs as much as the rest of an access log line, so the text
//! of the present second is kept per thread.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Local, Utc};

/// `2026-11-22T18:00:00+08:00`: nginx's `$time_iso8601`.
type Iso = [u8; 25];

thread_local! {
    static PRESENT: Cell<(u64, Iso)> = const { Cell::new((u64::MAX, [0; 25])) };
}

/// Appends the local time with its offset, in seconds.
pub(super) fn local_seconds(out: &mut Vec<u8>, now: SystemTime) {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (mut of, mut text) = PRESENT.get();
    if of != seconds {
        (of, text) = (seconds, format_local(now));
        PRESENT.set((of, text));
    }
    out.extend_from_slice(&text);
}

fn format_local(now: SystemTime) -> Iso {
    let text = DateTime::<Local>::from(now).format("%Y-%m-%dT%H:%M:%S%:z").to_string();
    // Only a year past 9999 has another length.
    text.as_bytes().try_into().unwrap_or(*b"9999-12-31T23:59:59+00:00")
}

/// Appends the time in UTC, in milliseconds: `2026-11-22T18:00:00.123Z`.
pub(super) fn utc_millis(out: &mut Vec<u8>, now: SystemTime) {
    let text = DateTime::<Utc>::from(now).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_as_text() {
        let at = UNIX_EPOCH + Duration::from_millis(1_795_370_400_123);
        let mut out = Vec::new();
        utc_millis(&mut out, at);
        assert_eq!(out, b"2026-11-22T18:00:00.123Z");

        for at in [at, at + Duration::from_secs(1), at] {
            let mut out = Vec::new();
            local_seconds(&mut out, at);
            let read = DateTime::parse_from_rfc3339(std::str::from_utf8(&out).unwrap()).unwrap();
            let seconds = at.duration_since(UNIX_EPOCH).unwrap().as_secs();
            assert_eq!(u64::try_from(read.timestamp()).unwrap(), seconds);
            assert_eq!(out.len(), 25);
        }
    }
}
