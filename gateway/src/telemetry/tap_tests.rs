use super::*;

const NOTHING: Sampled<'static> =
    Sampled { route: None, service: None, status: None, took: Duration::ZERO, client: None, trace_id: None };

/// Lets a request pass; whether it was copied.
fn pass(tap: &Tap, method: &str, target: &str, sampled: Sampled<'_>) -> bool {
    let head = || Head::request(method, target.as_bytes(), std::iter::empty());
    let Some(begun) = tap.begin(method, target.as_bytes(), "HTTP/1.1", head) else { return false };
    tap.show(begun, target.as_bytes(), &sampled, |request| request.bytes = 7);
    true
}

fn got(listener: &mut TapListener) -> Option<Arc<LiveRequest>> {
    listener.received.try_recv().ok()
}

#[test]
fn nothing_is_copied_while_nobody_watches() {
    let tap = Arc::new(Tap::default());
    assert!(!tap.is_on() && !pass(&tap, "GET", "/", NOTHING));
    let listener = tap.watch(Filter::default()).unwrap();
    assert!(tap.is_on() && pass(&tap, "GET", "/", NOTHING));
    drop(listener);
    assert!(!tap.is_on() && !pass(&tap, "GET", "/", NOTHING));
    assert_eq!(tap.copied.load(Relaxed), 1);
}

#[test]
fn what_cannot_be_wanted_is_not_copied() {
    let tap = Arc::new(Tap::default());
    let filter = Filter { method: Some("POST".into()), path: Some("/a".into()), ..Filter::default() };
    let mut listener = tap.watch(filter).unwrap();
    assert!(!pass(&tap, "GET", "/a", NOTHING) && !pass(&tap, "POST", "/b", NOTHING));
    assert!(pass(&tap, "POST", "/a/b", NOTHING));
    let request = got(&mut listener).unwrap();
    assert_eq!((request.received.target.as_deref(), request.bytes), (Some("/a/b"), 7));
    let _nobody = tap.watch(Filter { sample: 0.0, path: Some("/b".into()), ..Filter::default() }).unwrap();
    assert!(!pass(&tap, "GET", "/b", NOTHING));
}

#[test]
fn each_filter_keeps_out_what_does_not_match() {
    let seen = Sampled {
        route: Some("r"),
        service: Some("s"),
        status: Some(503),
        took: Duration::from_millis(20),
        client: Some("10.1.2.3".parse().unwrap()),
        trace_id: Some(b"t"),
    };
    let all = Filter::default;
    let cases: Vec<(Filter, bool)> = vec![
        (all(), true),
        (Filter { route: Some("r".into()), ..all() }, true),
        (Filter { route: Some("x".into()), ..all() }, false),
        (Filter { service: Some("s".into()), ..all() }, true),
        (Filter { service: Some("x".into()), ..all() }, false),
        (Filter { status: StatusFilter::parse("5xx"), ..all() }, true),
        (Filter { status: StatusFilter::parse("503"), ..all() }, true),
        (Filter { status: StatusFilter::parse("2xx"), ..all() }, false),
        (Filter { min_latency: Duration::from_millis(20), ..all() }, true),
        (Filter { min_latency: Duration::from_millis(21), ..all() }, false),
        (Filter { client: Some("10.0.0.0/8".parse().unwrap()), ..all() }, true),
        (Filter { client: Some("10.1.2.4/32".parse().unwrap()), ..all() }, false),
        (Filter { trace_id: Some("t".into()), ..all() }, true),
        (Filter { trace_id: Some("x".into()), ..all() }, false),
    ];
    for (filter, wanted) in cases {
        assert_eq!(filter.wants(&seen), wanted, "{filter:?}");
    }
    for wrong in ["", "6xx", "0xx", "xx", "99", "600", "5x", "-1"] {
        assert_eq!(StatusFilter::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn what_is_beyond_the_rate_or_the_queue_is_counted() {
    let tap = Arc::new(Tap::default());
    let mut slow = tap.watch(Filter { per_second: u32::MAX, ..Filter::default() }).unwrap();
    let mut few = tap.watch(Filter { per_second: 3, ..Filter::default() }).unwrap();
    assert!((0..QUEUE + 10).all(|_| pass(&tap, "GET", "/", NOTHING)));
    assert_eq!(slow.dropped(), 10);
    assert_eq!(slow.dropped(), 0, "they have been told");
    let shown = std::iter::from_fn(|| got(&mut few)).count() as u64;
    // A second may have begun meanwhile.
    assert!((3..=9).contains(&shown), "{shown}");
    assert_eq!(few.dropped(), QUEUE as u64 + 10 - shown);
}

#[test]
fn only_so_many_may_watch() {
    let tap = Arc::new(Tap::default());
    let watchers: Vec<_> = (0..WATCHERS).map(|_| tap.watch(Filter::default()).unwrap()).collect();
    assert!(tap.watch(Filter::default()).is_none());
    drop(watchers);
    assert!(tap.watch(Filter::default()).is_some());
}

#[test]
fn a_head_is_cut_and_shows_no_secret() {
    let many: Vec<(String, String)> = (0..100).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
    let head = Head::response(many.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    assert!(head.truncated && head.headers.len() == MOST_HEADERS);
    let long = vec![b'a'; 20 << 10];
    let head = Head::request("GET", &long, [(&b"x"[..], &long[..]), (b"y", b"z")].into_iter());
    let shown = |head: &Head| serde_json::to_string(head).unwrap();
    assert!(head.truncated && shown(&head).len() < 2 * MOST_BYTES + 200, "{}", shown(&head).len());
    let secrets = [(&b"Cookie"[..], &b"canary"[..]), (b"Referer", b"http://h/?token=canary"), (b"A", b"seen")];
    let head = Head::request("GET", b"/x?api_key=canary", secrets.into_iter());
    assert!(!shown(&head).contains("canary") && shown(&head).contains("seen"), "{}", shown(&head));
}
