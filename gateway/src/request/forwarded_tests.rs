//! Who may say what about the client.

use super::*;

#[test]
fn more_proxies_than_any_way_has_are_a_circle() {
    let list = |count: usize| vec!["10.0.0.1"; count].join(", ").into_bytes();
    for (values, circles) in [
        (vec![], false),
        (vec![b"".to_vec()], false),
        (vec![list(32)], false),
        (vec![list(33)], true),
        (vec![list(16), list(16)], false),
        (vec![list(16), list(17)], true),
        (vec![b"1.1.1.1".to_vec(); 33], true),
    ] {
        assert_eq!(goes_in_circles(values.iter().map(Vec::as_slice)), circles, "{values:?}");
    }
}

fn trusted() -> TrustedProxies {
    let networks = ["10.0.0.0/8", "192.168.1.5/32", "10.1.0.0/16", "2001:db8::/32", "::ffff:172.16.0.0/108"];
    TrustedProxies::new(networks.iter().map(|net| net.parse().unwrap()).collect())
}

fn client(peer: &str, fields: &[&str], trusted: &TrustedProxies) -> String {
    client_ip(peer.parse().unwrap(), fields.iter().map(|field| field.as_bytes()), trusted).to_string()
}

#[test]
fn an_untrusted_peer_is_the_client_whatever_it_says() {
    let lies: &[&[&str]] = &[
        &["127.0.0.1"],
        &["10.0.0.1"],
        &["1.1.1.1, 10.0.0.1"],
        &["10.0.0.1", "10.0.0.2"],
        &["::1"],
        &["[::1]"],
        &["[::1]:80"],
        &["::ffff:127.0.0.1"],
        &["::ffff:7f00:1"],
        &["127.0.0.1:8080"],
        &["unknown"],
        &["_hidden"],
        &[""],
        &[","],
        &[" "],
        &["203.0.113.9, 127.0.0.1"],
        &["\"127.0.0.1\""],
        &["for=127.0.0.1"],
        &["0.0.0.0"],
        &["localhost"],
    ];
    for lie in lies {
        for peer in ["203.0.113.9", "::ffff:203.0.113.9"] {
            assert_eq!(client(peer, lie, &trusted()), "203.0.113.9", "{lie:?}");
            assert_eq!(client(peer, lie, &TrustedProxies::default()), "203.0.113.9", "{lie:?}");
        }
        assert_eq!(client("10.0.0.1", lie, &TrustedProxies::default()), "10.0.0.1", "nobody is trusted: {lie:?}");
    }
}

#[test]
fn behind_trusted_proxies_the_rightmost_untrusted_address_counts() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "10.0.0.1"),
        (&["203.0.113.9"], "203.0.113.9"),
        (&["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (&["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
        (&["127.0.0.1,203.0.113.9,10.9.9.9"], "203.0.113.9"),
        (&["127.0.0.1, 203.0.113.9", "10.9.9.9 , 192.168.1.5"], "203.0.113.9"),
        (&["203.0.113.9, 192.168.1.6"], "192.168.1.6"),
        (&["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        (&["203.0.113.9:1234"], "203.0.113.9"),
        (&["203.0.113.9:"], "10.0.0.1"),
        (&["203.0.113.9:99999"], "10.0.0.1"),
        (&["203.0.113.9:+80"], "10.0.0.1"),
        (&["[2001:db9::9]:1234"], "2001:db9::9"),
        (&["[2001:db9::9]"], "2001:db9::9"),
        (&["2001:db9::9"], "2001:db9::9"),
        (&["2001:db9::9, 2001:db8::1"], "2001:db9::9"),
        (&["[2001:db9::9]x"], "10.0.0.1"),
        (&["[2001:db9::9"], "10.0.0.1"),
        (&["[203.0.113.9]"], "10.0.0.1"),
        (&["fe80::1%eth0"], "10.0.0.1"),
        (&["::ffff:203.0.113.9"], "203.0.113.9"),
        (&["[::ffff:203.0.113.9]:80"], "203.0.113.9"),
        (&["203.0.113.9, ::ffff:10.0.0.7"], "203.0.113.9"),
        (&["203.0.113.9, 172.17.0.1"], "203.0.113.9"),
        (&["203.0.113.9, 172.32.0.1"], "172.32.0.1"),
        (&["203.0.113.9, unknown, 10.2.2.2"], "10.2.2.2"),
        (&["203.0.113.9, , 10.2.2.2"], "10.2.2.2"),
        (&["203.0.113.9,"], "10.0.0.1"),
        (&["", "203.0.113.9"], "203.0.113.9"),
        (&["203.0.113.9", ""], "10.0.0.1"),
        (&["\t203.0.113.9\t"], "203.0.113.9"),
        (&["203.0.113.09"], "10.0.0.1"),
        (&["0xcb.0.113.9"], "10.0.0.1"),
        (&["3405803785"], "10.0.0.1"),
        (&["203.0.113.9 10.0.0.1"], "10.0.0.1"),
        (&["203.0.113.9;10.0.0.1"], "10.0.0.1"),
        (&["é"], "10.0.0.1"),
    ];
    for (fields, expected) in cases {
        for peer in ["10.0.0.1", "::ffff:10.0.0.1"] {
            assert_eq!(client(peer, fields, &trusted()), *expected, "{fields:?}");
        }
    }
}

#[test]
fn networks_are_merged_and_mapped_ones_are_ipv4() {
    let everything = TrustedProxies::new(vec!["::/0".parse().unwrap()]);
    assert!(everything.contains("2001:db8::1".parse().unwrap()));
    assert!(!everything.contains("::ffff:10.0.0.1".parse().unwrap()));
    for (address, expected) in [
        ("9.255.255.255", false),
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("172.31.255.255", true),
        ("172.32.0.0", false),
        ("2001:db8:ffff::", true),
        ("2001:db9::", false),
    ] {
        assert_eq!(trusted().contains(address.parse().unwrap()), expected, "{address}");
    }
    assert!(TrustedProxies::default().is_empty() && !trusted().is_empty());
}
