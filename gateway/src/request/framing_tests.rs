//! Header blocks that servers disagree on.

use http::HeaderName;

use super::*;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let parse = |&(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    fields.iter().map(parse).fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.append(name, value);
        headers
    })
}

type Case<'a> = (Version, Option<&'a str>, &'a [(&'a str, &'a str)], Result<(), FramingError>);

#[test]
fn only_what_can_be_read_in_one_way_passes() {
    use FramingError::*;
    const V10: Version = Version::HTTP_10;
    const V11: Version = Version::HTTP_11;
    const V2: Version = Version::HTTP_2;
    let cases: &[Case<'_>] = &[
        (V11, None, &[("host", "a.com")], Ok(())),
        (V11, None, &[("host", "a.com:8080")], Ok(())),
        (V11, None, &[("host", "a.com:")], Ok(())),
        (V11, None, &[("host", "[::1]:80")], Ok(())),
        (V11, None, &[("host", "my_service-1")], Ok(())),
        (V10, None, &[], Ok(())),
        (V11, None, &[], Err(MissingHost)),
        (V11, Some("a.com"), &[], Err(MissingHost)),
        (V2, Some("a.com"), &[], Ok(())),
        (V2, None, &[("host", "a.com")], Ok(())),
        (V2, None, &[], Err(MissingHost)),
        (V11, None, &[("host", "a.com"), ("host", "a.com")], Err(RepeatedHost)),
        (V10, None, &[("host", "a.com"), ("host", "b.com")], Err(RepeatedHost)),
        (V11, None, &[("host", "")], Err(InvalidHost)),
        (V11, None, &[("host", ":80")], Err(InvalidHost)),
        (V11, None, &[("host", "a.com, b.com")], Err(InvalidHost)),
        (V11, None, &[("host", "a.com/x")], Err(InvalidHost)),
        (V11, None, &[("host", "a.com@b.com")], Err(InvalidHost)),
        (V11, None, &[("host", "a.com?x")], Err(InvalidHost)),
        (V11, None, &[("host", "a%2ecom")], Err(InvalidHost)),
        (V11, None, &[("host", "a.com:80:80")], Err(InvalidHost)),
        (V11, None, &[("host", "a.com:8x")], Err(InvalidHost)),
        (V11, None, &[("host", "a.com:123456")], Err(InvalidHost)),
        (V11, None, &[("host", "[::1")], Err(InvalidHost)),
        (V11, None, &[("host", "[::1]x")], Err(InvalidHost)),
        (V11, None, &[("host", "[x]")], Err(InvalidHost)),
        (V11, None, &[("host", "::1")], Err(InvalidHost)),
        (V11, None, &[("host", "[1.2.3.4]")], Err(InvalidHost)),
        (V11, None, &[("host", "é.com")], Err(InvalidHost)),
        (V10, None, &[("host", "a b")], Err(InvalidHost)),
        (V11, Some("A.com"), &[("host", "a.COM:80")], Ok(())),
        (V11, Some("a.com:80"), &[("host", "a.com:80")], Ok(())),
        (V11, Some("a.com:81"), &[("host", "a.com:80")], Err(OtherHost)),
        (V11, Some("b.com"), &[("host", "a.com")], Err(OtherHost)),
        (V2, Some("b.com"), &[("host", "a.com")], Err(OtherHost)),
        (V11, Some("u@a.com"), &[("host", "a.com")], Err(InvalidHost)),
        (V11, None, &[("host", "a"), ("content-length", "0")], Ok(())),
        (V11, None, &[("host", "a"), ("content-length", "12345678")], Ok(())),
        (V11, None, &[("host", "a"), ("content-length", "5"), ("content-length", "5")], Err(RepeatedContentLength)),
        (V2, Some("a"), &[("content-length", "5"), ("content-length", "6")], Err(RepeatedContentLength)),
        (V11, None, &[("host", "a"), ("content-length", "5, 5")], Err(RepeatedContentLength)),
        (V11, None, &[("host", "a"), ("content-length", "+5")], Err(InvalidContentLength)),
        (V11, None, &[("host", "a"), ("content-length", "-5")], Err(InvalidContentLength)),
        (V11, None, &[("host", "a"), ("content-length", "0x5")], Err(InvalidContentLength)),
        (V11, None, &[("host", "a"), ("content-length", "5 ")], Err(InvalidContentLength)),
        (V11, None, &[("host", "a"), ("content-length", "")], Err(InvalidContentLength)),
        (V11, None, &[("host", "a"), ("content-length", "18446744073709551617")], Err(InvalidContentLength)),
        (V11, None, &[("host", "a"), ("transfer-encoding", "chunked")], Ok(())),
        (V11, None, &[("host", "a"), ("transfer-encoding", "Chunked")], Ok(())),
        (V11, None, &[("host", "a"), ("transfer-encoding", "xchunked")], Err(TransferEncoding)),
        (V11, None, &[("host", "a"), ("transfer-encoding", "chunked, identity")], Err(TransferEncoding)),
        (V11, None, &[("host", "a"), ("transfer-encoding", "gzip, chunked")], Err(TransferEncoding)),
        (V11, None, &[("host", "a"), ("transfer-encoding", "chunked ")], Err(TransferEncoding)),
        (V11, None, &[("host", "a"), ("transfer-encoding", "")], Err(TransferEncoding)),
        (
            V11,
            None,
            &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            Err(TransferEncoding),
        ),
        (V10, None, &[("transfer-encoding", "chunked")], Err(TransferEncoding)),
        (V2, Some("a"), &[("transfer-encoding", "chunked")], Err(TransferEncoding)),
        (
            V11,
            None,
            &[("host", "a"), ("content-length", "5"), ("transfer-encoding", "chunked")],
            Err(ContentLengthAndTransferEncoding),
        ),
        (V11, None, &[("host", "a"), ("x_custom", "1"), ("_", "1"), ("x-a_b", "1")], Ok(())),
        (V11, None, &[("host", "a"), ("x_forwarded_for", "1")], Err(ImitatedHeader)),
        (V11, None, &[("host", "a"), ("X-Forwarded_Proto", "1")], Err(ImitatedHeader)),
        (V11, None, &[("host", "a"), ("x_real_ip", "1")], Err(ImitatedHeader)),
        (V11, None, &[("host", "a"), ("content_length", "1")], Err(ImitatedHeader)),
        (V11, None, &[("host", "a"), ("transfer_encoding", "1")], Err(ImitatedHeader)),
        (V11, None, &[("host", "a"), ("proxy_authorization", "1")], Err(ImitatedHeader)),
        (V11, None, &[("host", "a"), ("x_consumer_username", "1")], Err(ImitatedHeader)),
        (V11, None, &[("host", "a"), ("x-consumer_id", "1")], Err(ImitatedHeader)),
        (V11, None, &[("host", "a"), ("x_userinfo", "1")], Err(ImitatedHeader)),
        (V11, None, &[("host", "a"), ("x_credential_identifier", "1")], Err(ImitatedHeader)),
    ];
    for (i, (version, target, fields, expected)) in cases.iter().enumerate() {
        let checked = check(*version, &headers(fields), *target, Underscores::Allow);
        assert_eq!(checked.map(|_| ()), *expected, "case {i}: {fields:?}");
    }
}

#[test]
fn names_with_underscores_are_found_and_those_that_imitate_refused() {
    let check = |name: &str, underscores| {
        check(Version::HTTP_11, &headers(&[("host", "a"), ("x-b", "1"), (name, "1")]), None, underscores)
    };
    for (setting, checked) in [
        (Underscores::Drop, Ok(true)),
        (Underscores::Allow, Ok(false)),
        (Underscores::Reject, Err(FramingError::Underscore)),
    ] {
        assert_eq!(check("my_name", setting), checked);
        assert_eq!(check("my-name", setting), Ok(false));
        assert_eq!(check("x_real_ip", setting), Err(FramingError::ImitatedHeader));
    }
    assert_eq!(underscored(&headers(&[("a_b", "1"), ("a-b", "2"), ("_", "3"), ("a_b", "4")])), ["a_b", "_"]);
}

#[test]
fn control_characters_are_found_anywhere() {
    for byte in (0..0x20u8).chain([0x7f]) {
        for at in [0, 7, 40] {
            let mut value = vec![b'a'; 41];
            value[at] = byte;
            assert_eq!(has_control_character(&value), byte != b'\t', "{byte:#x}");
        }
    }
    assert!(!has_control_character("ü~ ".as_bytes()));
}
