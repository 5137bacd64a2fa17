use ws_cloud_plugin_sdk::trace_context::TRACEPARENT;

use super::*;

const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn tracer(sample: f64, queue: usize) -> (Tracer, mpsc::Receiver<Box<Exchange>>, Arc<Metrics>) {
    let (queue, waiting) = mpsc::channel(queue);
    let metrics = Metrics::new(1);
    (Tracer { sample, queue, metrics: Arc::clone(&metrics) }, waiting, metrics)
}

fn headers(sent: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !sent.is_empty() {
        headers.insert(TRACEPARENT, HeaderValue::from_str(sent).unwrap());
    }
    headers
}

fn place(value: &HeaderValue) -> TraceParent {
    TraceParent::of(&headers(value.to_str().unwrap())).unwrap()
}

#[test]
fn a_client_decides_for_its_own_trace() {
    for sample in [0.0, 1.0] {
        let (tracer, ..) = tracer(sample, 1);
        assert!(tracer.begin(&headers(&SENT.replace("-01", "-00"))).is_none(), "nothing is recorded");
        let mut trace = tracer.begin(&headers(SENT)).unwrap();
        trace.settle(&HeaderMap::new());
        assert!(trace.is_recorded() && trace.keeps_state());
        assert_eq!(trace.parent, Some(0x00f0_67aa_0ba9_02b7));
        let (first, second) = (place(&trace.traceparent(0).unwrap()), place(&trace.traceparent(1).unwrap()));
        assert_eq!((first.trace, first.is_sampled()), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, true));
        assert_ne!(first.span, second.span);
        assert_eq!(first.span, trace.span_of_try(0));
    }
}

#[test]
fn a_share_of_the_traces_that_begin_here_is_recorded() {
    for (sample, least, most) in [(0.0, 0, 0), (0.1, 500, 1500), (1.0, 10_000, 10_000)] {
        let (tracer, ..) = tracer(sample, 1);
        let recorded = (0..10_000).filter(|_| tracer.begin(&HeaderMap::new()).unwrap().is_recorded()).count();
        assert!((least..=most).contains(&recorded), "{recorded} of 10000 at {sample}");
    }
}

#[test]
fn what_begins_here_is_told_to_nodes_either_way() {
    for recorded in [true, false] {
        let (tracer, ..) = tracer(f64::from(u8::from(recorded)), 1);
        // A plugin may have begun a trace, and may think that it is sampled.
        for (sent, known) in [("", false), (SENT, true)] {
            let mut trace = tracer.begin(&HeaderMap::new()).unwrap();
            trace.settle(&headers(sent));
            assert_eq!(trace.keeps_state(), known);
            // At the second try as well.
            trace.settle(&headers(sent));
            assert_eq!(trace.keeps_state(), known);
            let told = place(&trace.traceparent(0).unwrap());
            assert_eq!(told.is_sampled(), recorded);
            assert_eq!(told.trace == 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, known);
            assert_eq!(trace.parent, None, "it has none, whatever the plugin wrote");
            assert_eq!(place(&trace.traceparent(1).unwrap()).trace, told.trace);
        }
    }
}

/// A request that was tried twice.
fn exchange(tracer: &Tracer, method: Method) -> Exchange {
    let tried = || TriedNode {
        name: "n:1".into(),
        address: ([127, 0, 0, 1], 1).into(),
        path: "/".into(),
        scheme: "http",
        after: Duration::ZERO,
        time: Duration::ZERO,
        status: None,
        error: None,
    };
    Exchange {
        trace: tracer.begin(&HeaderMap::new()).unwrap(),
        ended: SystemTime::now(),
        time: Duration::ZERO,
        method,
        path: "/".into(),
        scheme: "http",
        host: None,
        version: "1.1",
        user_agent: None,
        client: None,
        route: None,
        status: None,
        tries: vec![tried(), tried()],
    }
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let (tracer, mut waiting, metrics) = tracer(1.0, 2);
    for _ in 0..5 {
        tracer.finish(exchange(&tracer, Method::GET));
    }
    assert_eq!(metrics.spans.dropped().collect::<Vec<_>>(), [("queue_full", 9), ("export", 0)]);
    assert!(waiting.try_recv().is_ok() && waiting.try_recv().is_ok() && waiting.try_recv().is_err());
}

#[test]
fn what_a_client_sends_cannot_make_the_queue_large() {
    assert_eq!(text(&[b'x'; 100_000]).len(), MAX_TEXT);
    // Each byte that is no UTF-8 becomes a character of three.
    assert!(text(&[0xff; 100_000]).len() <= 3 * MAX_TEXT);
    assert_eq!(text("ok".as_bytes()), "ok");
    let (tracer, mut waiting, _) = tracer(1.0, 1);
    tracer.finish(exchange(&tracer, Method::from_bytes(&[b'X'; 60_000]).unwrap()));
    assert_eq!(waiting.try_recv().unwrap().method.as_str().len(), MAX_TEXT);
}
