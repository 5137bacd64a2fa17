use super::*;

const LONG: Duration = Duration::from_secs(20);

/// What is in the file after these events: level, target, message.
fn lines(level: LevelFilter, json: bool, events: &[(Level, &str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("error.log");
    let options = ErrorLogOptions { level, json, output: Output::File(path.clone()) };
    let log = ErrorLog { backend: Arc::new(Backend::open(&options).unwrap()) };
    for (n, &(level, target, message)) in (0..).zip(events) {
        let mut record = Record::builder();
        record.level(level).target(target).file_static(Some("here.rs")).line(Some(n));
        Log::log(&log, &record.args(format_args!("{message}")).build());
    }
    assert!(log.shutdown(LONG));
    std::fs::read_to_string(path).unwrap().lines().map(String::from).collect()
}

#[test]
fn text_is_time_level_target_message() {
    let lines = lines(LevelFilter::Info, false, &[(Level::Warn, "gateway::control", "etcd \"a\" is away")]);
    let (time, rest) = lines[0].split_once(' ').unwrap();
    assert_eq!(rest, "WARN gateway::control: etcd \"a\" is away");
    assert_eq!(time.len(), "2026-11-22T18:00:00.123Z".len());
    chrono::DateTime::parse_from_rfc3339(time).unwrap();
}

#[test]
fn one_event_is_one_line() {
    let nasty = "a\nERROR forged\r\x1b[31m\u{2028}\u{9b}";
    let text = lines(LevelFilter::Info, false, &[(Level::Error, "x", nasty), (Level::Error, "x", "next")]);
    assert_eq!(text.len(), 2);
    assert!(text[0].ends_with(r"ERROR x: a\nERROR forged\r\u001b[31m\u2028\u009b"), "{text:?}");

    let json = lines(LevelFilter::Info, true, &[(Level::Error, "x", nasty)]);
    assert_eq!(json.len(), 1);
    let read: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!([&read["level"], &read["target"], &read["message"]], ["ERROR", "x", nasty]);
    let names: Vec<_> = read.as_object().unwrap().keys().collect();
    assert_eq!(names, ["time", "level", "target", "message"]);
}

#[test]
fn a_long_message_is_cut() {
    let lines = lines(LevelFilter::Info, false, &[(Level::Info, "x", &"y".repeat(1 << 20))]);
    assert!(lines[0].ends_with("yyy...") && lines[0].len() < 17_000);
}

#[test]
fn what_pingora_says_of_single_connections_is_for_debug() {
    let noise = [
        (Level::Error, "pingora_proxy", "Fail to proxy"),
        (Level::Warn, "pingora_proxy::proxy_h1", "x"),
        (Level::Error, "pingora_core::apps::http_app", "HTTP server fails to read from downstream"),
        (Level::Error, "pingora_core::services::listening", "Downstream handshake error from 1.2.3.4: x"),
        (Level::Warn, "pingora_core::protocols::http::v1::body", "x"),
    ];
    let news = [
        (Level::Error, "pingora_core::services::listening", "Accept() failed: too many open files"),
        (Level::Warn, "pingora_core::listeners::l4", "0.0.0.0:80 is in use, will try again"),
        (Level::Info, "pingora_core::server", "Server starting"),
        (Level::Error, "pingora_core::protocols", "Crit: FD mismatch"),
        (Level::Error, "pingora_proxying", "someone else"),
    ];
    let all = [noise, news].concat();
    assert_eq!(lines(LevelFilter::Info, false, &all).len(), news.len());
    let debug = lines(LevelFilter::Debug, false, &all);
    assert_eq!(debug.len(), all.len());
    assert!(debug[..noise.len()].iter().all(|line| line.contains(" DEBUG ")));
}

#[test]
fn the_level_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("error.log");
    let options = ErrorLogOptions { level: LevelFilter::Warn, json: false, output: Output::File(path.clone()) };
    // Not made the process's own: other tests of this process have a logger too.
    let log = ErrorLog { backend: Arc::new(Backend::open(&options).unwrap()) };
    let say = |text: &str| {
        Log::log(&log, &Record::builder().args(format_args!("{text}")).level(Level::Info).build());
    };
    say("unheard");
    log.backend.level.store(LevelFilter::Info as u8, Ordering::Relaxed);
    assert_eq!(log.level(), LevelFilter::Info);
    say("heard");
    log.backend.level.store(LevelFilter::Off as u8, Ordering::Relaxed);
    say("unheard");
    assert!(log.flush(LONG));
    let text = std::fs::read_to_string(path).unwrap();
    let ours: Vec<_> = text.lines().filter(|line| line.ends_with("heard")).collect();
    assert_eq!(ours.len(), 1, "{text}");
}

#[test]
fn a_flood_from_one_place_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("error.log");
    let options = ErrorLogOptions { level: LevelFilter::Info, json: false, output: Output::File(path.clone()) };
    let log = ErrorLog { backend: Arc::new(Backend::open(&options).unwrap()) };
    for _ in 0..1000 {
        Log::log(&log, &Record::builder().args(format_args!("again")).level(Level::Error).build());
    }
    assert!(log.shutdown(LONG));
    // Two windows, if the machine is slow.
    assert!(std::fs::read_to_string(path).unwrap().lines().count() <= 101);
}
