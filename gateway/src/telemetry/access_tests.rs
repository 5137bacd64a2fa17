use proptest::prelude::*;
use serde_json::Value;

use super::*;

const NAMES: [&str; 20] = [
    "@timestamp",
    "domain",
    "method",
    "upstream-cache-status",
    "uri",
    "origin-uri",
    "querystring",
    "protocol",
    "httpcode",
    "bytes",
    "referer",
    "useragent",
    "xff",
    "client",
    "upstream",
    "trace-id",
    "upstream-status",
    "upstream-time",
    "response-time",
    "service",
];

/// The line as text and parsed; it is one line, and has all fields in order.
fn line(record: &AccessRecord<'_>) -> (String, Value) {
    let mut out = Vec::new();
    record.write(&mut out);
    let text = String::from_utf8(out).unwrap();
    let body = text.strip_suffix('\n').unwrap();
    assert!(!body.chars().any(|char| char.is_control() || "\u{2028}\u{2029}".contains(char)), "{body:?}");
    let value: Value = serde_json::from_str(body).unwrap();
    let names: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(names, NAMES);
    (text, value)
}

#[test]
fn a_line_has_the_old_fields_in_the_old_order() {
    let tries = [
        Try { upstream: "127.0.0.1:1024", status: Some(502), time: Some(Duration::from_micros(3_400)) },
        Try { upstream: "[::1]:1025", status: Some(200), time: Some(Duration::from_millis(12_001)) },
    ];
    let record = AccessRecord {
        domain: Some(b"example.com"),
        method: Some("GET"),
        cache_status: None,
        uri: Some(b"/openapi/hello"),
        origin_uri: Some(b"/openapi/demo1/hello"),
        querystring: Some(b"a=1&b=%20"),
        protocol: Some("HTTP/1.1"),
        status: Some(200),
        bytes: 12_345,
        referer: None,
        useragent: Some(b"curl/8"),
        xff: Some(b"10.0.0.1, 10.0.0.2"),
        client: Some("192.168.0.7"),
        tries: &tries,
        trace_id: Some(b"0193"),
        response_time: Duration::from_micros(12_007_999),
        service: Some("demo1"),
    };
    let (text, value) = line(&record);
    let (time, rest) = text.split_at(text.find(",\"domain\"").unwrap());
    assert_eq!(
        rest,
        concat!(
            r#","domain":"example.com","method":"GET","upstream-cache-status":"-","uri":"/openapi/hello","#,
            r#""origin-uri":"/openapi/demo1/hello","querystring":"a=1&b=%20","protocol":"HTTP/1.1","httpcode":200,"#,
            r#""bytes":12345,"referer":"-","useragent":"curl/8","xff":"10.0.0.1, 10.0.0.2","client":"192.168.0.7","#,
            r#""upstream":"127.0.0.1:1024, [::1]:1025","trace-id":"0193","upstream-status":"502, 200","#,
            r#""upstream-time":"0.003, 12.001","response-time":12.007,"service":"demo1"}"#,
            "\n"
        )
    );
    let time = time.strip_prefix("{\"@timestamp\":\"").unwrap().trim_end_matches('"');
    let at = chrono::DateTime::parse_from_rfc3339(time).unwrap();
    assert!((chrono::Utc::now().timestamp() - at.timestamp()).abs() <= 2);
    assert!(value["httpcode"].is_u64() && value["bytes"].is_u64() && value["response-time"].is_f64());
}

#[test]
fn what_is_missing_is_a_dash() {
    let (_, value) = line(&AccessRecord { tries: &[], ..AccessRecord::default() });
    for name in NAMES.iter().filter(|name| !["@timestamp", "httpcode", "bytes", "response-time"].contains(name)) {
        assert_eq!(value[name], "-", "{name}");
    }
    assert_eq!(value["httpcode"], 0);
    assert_eq!(value["response-time"], 0.0);

    let unanswered = [Try { upstream: "a:1", status: None, time: None }, Try { upstream: "b:2", ..Try::default() }];
    let (_, value) = line(&AccessRecord { tries: &unanswered, ..AccessRecord::default() });
    assert_eq!([&value["upstream"], &value["upstream-status"], &value["upstream-time"]], ["a:1, b:2", "-, -", "-, -"]);
}

#[test]
fn what_a_client_sends_cannot_break_the_line() {
    let forged = b"x\"}\r\n{\"@timestamp\":\"2026-01-01T00:00:00+00:00\"";
    let cases: [&[u8]; 12] = [
        forged,
        b"\n",
        b"\r\n\r\n",
        b"\x1b]0;owned\x07\x1b[2J",
        "\u{2028}\u{2029}\u{85}".as_bytes(),
        "\u{9b}31m\u{202e}".as_bytes(),
        b"\"\\\"\\",
        b"\\",
        b"\xff\xfe\x80\xc0\xaf\xed\xa0\x80",
        b"\0\x7f",
        b"${jndi:ldap://x}",
        b"",
    ];
    for case in cases {
        let record = AccessRecord {
            domain: Some(case),
            uri: Some(case),
            origin_uri: Some(case),
            querystring: Some(case),
            referer: Some(case),
            useragent: Some(case),
            xff: Some(case),
            trace_id: Some(case),
            ..AccessRecord::default()
        };
        let (_, value) = line(&record);
        for name in ["domain", "uri", "origin-uri", "querystring", "referer", "useragent", "xff", "trace-id"] {
            assert_eq!(value[name], String::from_utf8_lossy(case).as_ref(), "{name}");
        }
    }
}

#[test]
fn a_long_field_is_cut() {
    let huge = vec![b'A'; 1 << 20];
    let (text, value) = line(&AccessRecord { useragent: Some(&huge), ..AccessRecord::default() });
    assert_eq!(value["useragent"].as_str().unwrap().len(), MAX_FIELD + 3);
    assert!(text.len() < 5000);

    let wide = "户".repeat(1 << 19);
    let (_, value) = line(&AccessRecord { useragent: Some(wide.as_bytes()), ..AccessRecord::default() });
    assert_eq!(value["useragent"], format!("{}...", "户".repeat(MAX_FIELD / 3)));

    let (_, value) = line(&AccessRecord { xff: Some(&huge[..MAX_FIELD]), ..AccessRecord::default() });
    assert_eq!(value["xff"].as_str().unwrap().len(), MAX_FIELD);
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..80)
}

proptest! {
    #[test]
    fn any_bytes_become_one_valid_line(fields in proptest::array::uniform8(bytes()), sent: u64, status: Option<u16>) {
        let [domain, uri, origin_uri, querystring, referer, useragent, xff, trace_id] =
            fields.each_ref().map(|field| Some(&**field));
        let record = AccessRecord {
            domain, uri, origin_uri, querystring, referer, useragent, xff, trace_id,
            bytes: sent,
            status,
            ..AccessRecord::default()
        };
        let (_, value) = line(&record);
        let names = ["domain", "uri", "origin-uri", "querystring", "referer", "useragent", "xff", "trace-id"];
        for (name, field) in names.iter().zip(&fields) {
            prop_assert_eq!(value[name].as_str().unwrap(), String::from_utf8_lossy(field));
        }
        prop_assert_eq!(value["bytes"].as_u64(), Some(sent));
    }
}

#[test]
fn off_takes_records_and_does_nothing() {
    let options =
        AccessOptions { lines: Lines::Requests, output: Output::Off, rotate_size: 0, rotate_keep: 0, queue: 1 };
    let log = AccessLog::open(&options).unwrap();
    assert!(!log.is_on());
    log.record(&AccessRecord::default());
    log.submit(b"x\n");
    assert!(log.flush(Duration::ZERO) && log.shutdown(Duration::ZERO));
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let output = Output::File("/proc/nothing/access.log".into());
    let error =
        AccessLog::open(&AccessOptions { lines: Lines::Requests, output, rotate_size: 0, rotate_keep: 0, queue: 1 })
            .err()
            .unwrap();
    assert_eq!(
        error.to_string(),
        "cannot open the log file /proc/nothing/access.log: No such file or directory (os error 2)"
    );
}

#[test]
fn a_line_of_an_admin_call_has_the_fields_it_had() {
    let record = AccessRecord { method: Some("POST"), uri: Some(b"/admin/login"), ..AccessRecord::default() };
    let mut out = Vec::new();
    record.write_at(&mut out, SystemTime::now(), Lines::AdminCalls);
    let value: Value = serde_json::from_slice(out.strip_suffix(b"\n").unwrap()).unwrap();
    let names: Vec<&String> = value.as_object().unwrap().keys().collect();
    let expected: Vec<_> =
        NAMES.into_iter().filter(|name| !["origin-uri", "trace-id", "service"].contains(name)).collect();
    assert_eq!(names, expected);
}
