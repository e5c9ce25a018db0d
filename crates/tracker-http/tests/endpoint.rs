//! An endpoint is refused when it is parsed, unless every reader of URLs understands it in the same
//! way.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracker_core::{SendOptions, Transport};
use tracker_http::testing::FaultServer;
use tracker_http::{Endpoint, EndpointError, HttpTransport};

fn parse(url: &str) -> Result<Endpoint, EndpointError> {
    Endpoint::allow_plain_http(url)
}

#[test]
fn what_is_not_a_url_is_refused_by_name() {
    for url in [
        "",
        "/v1/events",
        "127.0.0.1:80",
        "http:",
        "http:/127.0.0.1/",
        "http://",
        "not a url",
        "http:///path",
        "http://:80",
        "http://?query",
        "://127.0.0.1/",
        " http://127.0.0.1/",
        "1http://127.0.0.1/",
        "http:\\\\127.0.0.1\\",
        "http://127.0.0.1/#fragment",
        "http://127.0.0.1#fragment",
        "http://127.0.0.1/a\\b",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\n",
        "http://127.0.0.1/\u{85}",
        "http://127.0.0.1/\u{a0}",
        "http://127.0.0.1/\u{7f}",
        "http://127.0.0.1/%",
        "http://127.0.0.1/%4",
        "http://127.0.0.1/%zz",
        "http://127.0.0.1/%é",
        "http://127.0.0.1/?%G0",
        "http://127.0.0.1/{tenant}",
        "http://127.0.0.1/?\"",
        "http://127.0.0.1/<>",
        "http://127.0.0.1/a|b",
    ] {
        assert!(
            matches!(parse(url), Err(EndpointError::NotAUrl { .. })),
            "{url:?}: {:?}",
            parse(url)
        );
    }
    assert_eq!(
        parse("ftp://127.0.0.1/"),
        Err(EndpointError::Scheme {
            scheme: "ftp".into()
        })
    );
    for url in [
        "http://user:secret@127.0.0.1/",
        "http://@127.0.0.1",
        "http://127.0.0.1:80@8.8.8.8/",
        "http://a b@c/",
    ] {
        assert_eq!(parse(url), Err(EndpointError::Credentials), "{url}");
    }
}

#[test]
fn a_port_that_is_no_port_is_refused_and_not_replaced() {
    for port in [
        "87330",
        "65536",
        "99999999999999999999",
        "abc",
        "0",
        "00",
        "",
        "+80",
        "-1",
        " 80",
        "80 ",
        "8_0",
        "0x50",
        "٨٠",
        "80:80",
    ] {
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            for path in ["", "/", "/v1/events", "?a=b"] {
                let url = format!("http://{host}:{port}{path}");
                assert_eq!(parse(&url), Err(EndpointError::Port), "{url}");
            }
        }
    }
    for (port, means) in [("1", 1), ("80", 80), ("0443", 443), ("65535", 65535)] {
        assert_eq!(
            parse(&format!("http://127.0.0.1:{port}/"))
                .unwrap()
                .to_string(),
            format!("http://127.0.0.1:{means}/")
        );
    }
    // A password with a slash is in the place of a port.
    assert!(
        !parse("http://user:s3c/ret@host/")
            .unwrap_err()
            .to_string()
            .contains("s3c")
    );
}

#[test]
fn a_host_that_means_another_one_is_refused() {
    let long = format!("{}.de", "a".repeat(251));
    let label = "a".repeat(64);
    for host in [
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "1.2.3.4.5",
        "127.0.0.1.",
        "127.0.0.01",
        "256.0.0.1",
        "0x",
        "1.2.3.0xff",
        "example.0X1F",
        "example.1",
        "example.1.",
        "0",
        "0.0.0.0",
        "[::]",
        "[::ffff:0.0.0.0]",
        "[::1",
        "[]",
        "[::1]x",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[127.0.0.1]",
        "[v1.a]",
        "x[::1]",
        "%6cocalhost",
        "127%2e0.0.1",
        "bücher.example",
        "localhost。",
        "１２７.0.0.1",
        "a..b",
        ".",
        "..",
        ".a",
        "a..",
        "a\\b",
        "a b",
        "a\tb",
        "a\u{0}b",
        "a*b",
        "a,b",
        &long,
        &label,
    ] {
        for port in ["", ":80"] {
            let refused = parse(&format!("https://{host}{port}/v1"));
            assert!(
                matches!(refused, Err(EndpointError::Host { .. })),
                "{host:?}: {refused:?}"
            );
        }
    }
    let punycode = parse("https://bücher.example/").unwrap_err().to_string();
    assert!(punycode.contains("punycode"), "{punycode}");
    for host in [
        "xn--bcher-kva.example",
        "a-b_c.example",
        "localhost.",
        "a1.2b",
        "1.2.3.4",
        "[2001:db8::1]",
        "0x7g",
        "x0x1",
    ] {
        assert!(parse(&format!("https://{host}/")).is_ok(), "{host}");
    }
}

#[test]
fn plain_http_is_for_local_and_private_hosts() {
    for host in [
        "127.0.0.1:1",
        "[::1]:1",
        "10.1.2.3",
        "192.168.0.9",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "LocalHost.:8080",
        "api.localhost.",
        "collector",
        "a.b.svc.cluster.local",
        "a.internal.",
        "169.254.1.1",
        "[fd00::1]",
        "[fe80::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
    ] {
        assert!(
            format!("http://{host}/").parse::<Endpoint>().is_ok(),
            "{host}"
        );
    }
    // A single label with a dot at its end is a top-level domain.
    for host in [
        "8.8.8.8",
        "example.com",
        "local.example.com",
        "[2001:db8::1]",
        "notlocal.io",
        "notlocalhost.io",
        "ai.",
        "localhost.example.com.",
        "[::ffff:8.8.8.8]",
        "172.32.0.1",
        "11.0.0.1",
    ] {
        let refused = format!("http://{host}/").parse::<Endpoint>();
        assert!(
            matches!(refused, Err(EndpointError::PlainHttp { .. })),
            "{host}"
        );
        assert!(parse(&format!("http://{host}/")).is_ok());
    }
}

#[test]
fn letters_beyond_ascii_are_encoded_and_everything_else_is_sent_as_it_stands() {
    for (written, sent) in [
        (
            "http://localhost/für?ö=€",
            "http://localhost/f%C3%BCr?%C3%B6=%E2%82%AC",
        ),
        ("http://localhost/😀", "http://localhost/%F0%9F%98%80"),
        ("HTTP://LocalHost:080", "http://localhost:80/"),
        ("http://localhost?key=a", "http://localhost/?key=a"),
        (
            "http://localhost/%C3%BC/%2F?a=%20&b='(x)*'",
            "http://localhost/%C3%BC/%2F?a=%20&b='(x)*'",
        ),
        (
            "http://[0:0::FFFF:127.0.0.1]:1/",
            "http://[::ffff:127.0.0.1]:1/",
        ),
    ] {
        assert_eq!(parse(written).unwrap().to_string(), sent);
        assert_eq!(
            parse(sent).unwrap().to_string(),
            sent,
            "what was read is read again as itself"
        );
    }
}

#[test]
fn debug_omits_the_query() {
    let endpoint = parse("http://localhost:1/v1?key=SECRET").unwrap();
    assert_eq!(format!("{endpoint:?}"), "http://localhost:1/v1");
}

/// Generates URLs from the parts that readers of URLs disagree about.
fn any_url() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just(String::new()),
        Just("0".into()),
        Just("1".into()),
        Just("65535".into()),
        Just("65536".into()),
        any::<u32>().prop_map(|n| n.to_string()),
        any::<u16>().prop_map(|n| format!("0{n:o}")),
        any::<u16>().prop_map(|n| format!("0x{n:x}")),
        "[0-9a-fx+. -]{0,6}",
    ];
    let label = prop_oneof![number.clone(), "[a-zA-Z0-9_-]{1,4}", "[ -~äß。]{0,3}"];
    let name = (
        prop::collection::vec(label, 1..5),
        prop_oneof![Just(""), Just(".")],
    );
    let host = prop_oneof![
        name.prop_map(|(labels, dot)| labels.join(".") + dot),
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).to_string()),
        any::<u128>().prop_map(|bits| format!("[{}]", Ipv6Addr::from(bits))),
        any::<u32>().prop_map(|bits| format!("[::ffff:{}]", Ipv4Addr::from(bits))),
        "\\[[0-9a-f:.%]{0,8}\\]?",
    ];
    let port = prop_oneof![
        Just(String::new()),
        number.prop_map(|port| format!(":{port}"))
    ];
    let path = prop_oneof![
        Just(String::new()),
        "[/?]?[ -~]{0,8}",
        "/[a-zäß€%?=&/ -]{0,8}"
    ];
    let scheme = prop_oneof![Just("http"), Just("https"), Just("HTTPS")];
    (scheme, host, port, path)
        .prop_map(|(scheme, host, port, path)| format!("{scheme}://{host}{port}{path}"))
}

/// Parses these URLs with an independent reader (WHATWG's, in node).
fn read_by_node(urls: &[String]) -> Vec<Value> {
    const READ: &str = "const urls = JSON.parse(require('fs').readFileSync(0));
        const read = text => { try {
            const url = new URL(text);
            return [url.protocol, url.hostname, url.port, url.pathname + url.search, url.username + url.hash];
        } catch { return null } };
        console.log(JSON.stringify(urls.map(read)));";
    let mut node = Command::new("node")
        .args(["-e", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin
        .take()
        .unwrap()
        .write_all(json!(urls).to_string().as_bytes())
        .unwrap();
    serde_json::from_slice(&node.wait_with_output().unwrap().stdout).unwrap()
}

/// Node understands every accepted endpoint in the same way.
#[test]
fn an_accepted_endpoint_means_the_same_to_another_reader() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let strategy = any_url();
    let urls: Vec<String> = (0..4000)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect();
    let accepted: Vec<(String, String)> = urls
        .iter()
        .filter_map(|url| Some((url.clone(), parse(url).ok()?.to_string())))
        .collect();
    assert!(
        accepted.len() > 200,
        "only {} of the URLs are accepted",
        accepted.len()
    );

    let written: Vec<String> = accepted
        .iter()
        .map(|(written, _)| written.clone())
        .collect();
    let sent: Vec<String> = accepted.iter().map(|(_, sent)| sent.clone()).collect();
    let written = read_by_node(&written);
    let sent = read_by_node(&sent);
    for (index, (url, ours)) in accepted.iter().enumerate() {
        assert_eq!(written[index], sent[index], "{url} became {ours}");
        let [protocol, host, port, ..] =
            [0, 1, 2].map(|part| written[index][part].as_str().unwrap_or_default());
        let authority = if port.is_empty() {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let default = if protocol == "https:" {
            ":443/"
        } else {
            ":80/"
        };
        let ours = ours.replacen(default, "/", 1);
        assert!(
            ours.starts_with(&format!("{protocol}//{authority}/")) || host.starts_with('['),
            "{url} became {ours}"
        );
    }
}

proptest! {
    /// The reference is arithmetic on the digits, and does not use the parser of numbers.
    #[test]
    fn a_port_is_what_its_digits_say(text in "[0-9]{0,7}|[0-9+-]{1,3}|[ -~]{1,2}", host in "127\\.0\\.0\\.1|\\[::1\\]|a\\.lan") {
        prop_assume!(!text.contains(['/', '?', '#', '@']));
        let value = text.bytes().try_fold(0u32, |value, byte| match byte {
            b'0'..=b'9' => Some(value.saturating_mul(10).saturating_add(u32::from(byte - b'0'))),
            _ => None,
        });
        let url = format!("http://{host}:{text}/v1");
        match value {
            Some(port @ 1..=65535) if !text.is_empty() => {
                let expected = parse(&format!("http://{host}:{port}/v1")).unwrap();
                prop_assert_eq!(parse(&url).unwrap().to_string(), expected.to_string());
            }
            _ => prop_assert!(parse(&url).is_err()),
        }
    }

    /// No text makes the parser panic, and an accepted text parses to the same endpoint again.
    #[test]
    fn any_text_is_refused_or_stable(text in any_url().boxed().prop_union("\\PC{0,20}".boxed())) {
        if let Ok(endpoint) = parse(&text) {
            prop_assert_eq!(parse(&endpoint.to_string()), Ok(endpoint));
        }
    }
}

/// An invalid port must not become port 80, nor the port that remains without its high bits.
#[tokio::test]
async fn events_reach_the_port_that_is_written_and_no_other() {
    let server = FaultServer::start().await.unwrap();
    let port: u32 = server
        .address()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    // Not every user may listen on port 80; the user of CI may.
    let eighty = TcpListener::bind("127.0.0.1:80").await;
    for written in [
        format!("{}", port + 65536),
        format!("{port}0"),
        "87330".into(),
        "abc".into(),
        String::new(),
    ] {
        let built = HttpTransport::builder(format!("http://127.0.0.1:{written}/"))
            .token("s3cret")
            .build();
        if let Ok(transport) = built {
            let sent = [json!({})];
            let _ = timeout(
                Duration::from_millis(200),
                transport.send(&sent, SendOptions::default()),
            )
            .await;
        }
    }
    if let Ok(eighty) = eighty {
        assert!(
            timeout(Duration::from_millis(50), eighty.accept())
                .await
                .is_err(),
            "somebody came to port 80"
        );
    }
    assert_eq!(server.connections(), 0);

    for host in [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "[::ffff:127.0.0.1]",
        "a.b.localhost",
    ] {
        let transport = HttpTransport::builder(format!("http://{host}:0{port}/v1/events"))
            .build()
            .unwrap();
        transport
            .send(&[json!({"eventId": host})], SendOptions::default())
            .await
            .unwrap();
    }
    assert_eq!(server.received(), 6);
}
