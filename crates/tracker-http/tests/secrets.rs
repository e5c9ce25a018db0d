//! A server echoes a request in every form that servers, proxies and error pages use: no secret is
//! shown in any form.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::error::Error;

use proptest::prelude::*;
use serde_json::json;
use tracker_core::{Receipt, SendError, SendOptions, Transport};
use tracker_http::testing::{Answer, Echo, FaultServer, Reply};
use tracker_http::{HttpTracker, HttpTransport, TokenError};

const TOKEN: &str = r#"tK9/"<&>\%41-s3cr3t+token=="#;
const HEADER: &str = "Basic aGVhZGVyOnMzY3IzdA==";
const QUERY: &str = "qu3ry%2Fs3cr3t-value";
const KEY: &str = "k3y of \"the\" service";

/// The secrets. No eight consecutive characters of one of them are shown, in any form.
const PARTS: [&str; 6] = [
    TOKEN,
    "aGVhZGVyOnMzY3IzdA==",
    QUERY,
    "qu3ry/s3cr3t-value",
    KEY,
    HEADER,
];

async fn send(transport: &HttpTransport) -> Result<Receipt, SendError> {
    transport
        .send(&[json!({"eventId": "1"})], SendOptions::default())
        .await
}

fn transport(server: &FaultServer) -> HttpTransport {
    let builder =
        HttpTransport::builder(format!("{}?api_key={QUERY}&v=1", server.url())).token(TOKEN);
    let builder = builder
        .header("X-Auth", HEADER)
        .public_header("X-Tenant", "acme-corporation")
        .service_key(KEY);
    assert_shows_none(&format!("{builder:?}"), Echo::Plain);
    builder.build().unwrap()
}

fn assert_shows_none(shown: &str, form: Echo) {
    for part in PARTS {
        let encoded = form.encode(part).to_lowercase();
        for form in [encoded, part.to_lowercase()] {
            let chars: Vec<char> = form.chars().collect();
            // Eight plain characters may have twelve times as many characters in some forms, and
            // never fewer.
            for window in chars.windows(if form == part.to_lowercase() { 8 } else { 100 }) {
                let window = String::from_iter(window);
                assert!(
                    !shown.to_lowercase().contains(&window),
                    "{window} is shown: {shown}"
                );
            }
        }
    }
}

/// Returns the texts of an error and its sources.
fn shown(error: &SendError) -> String {
    let mut shown = format!("{error:?} {error}");
    let mut source = error.source();
    while let Some(error) = source {
        shown += &format!(" {error:?} {error}");
        source = error.source();
    }
    shown
}

#[tokio::test]
async fn no_form_of_an_echo_shows_a_secret() {
    let server = FaultServer::start().await.unwrap();
    let transport = transport(&server);
    assert_shows_none(&format!("{transport:?}"), Echo::Plain);
    for form in Echo::ALL {
        server.then(Answer::Echo(401, form));
        let refused = send(&transport).await.unwrap_err();
        assert!(matches!(refused, SendError::Answer { status: 401, .. }));
        assert_shows_none(&shown(&refused), form);
    }
}

#[tokio::test]
async fn a_reason_a_verdict_and_an_answer_that_cannot_be_read_show_no_secret() {
    let server = FaultServer::start().await.unwrap();
    let transport = transport(&server);
    for form in Echo::ALL {
        let echo = form.encode(&format!("{TOKEN} {HEADER}"));
        let verdicts = json!({"rejected": [{"index": 0, "reason": echo}]}).to_string();
        server.then(Answer::Take(vec![0], Reply::new(200).body(verdicts)));
        let receipt = send(&transport).await.unwrap();
        assert_shows_none(receipt.rejected[0].1.as_str(), form);

        server.then(Answer::Take(
            vec![0],
            Reply::new(200).body(json!({ "rejected": echo }).to_string()),
        ));
        let unreadable = send(&transport).await.unwrap_err();
        assert!(matches!(unreadable, SendError::Unreadable { .. }));
        assert_shows_none(&shown(&unreadable), form);
    }
}

#[tokio::test]
async fn what_is_no_secret_is_shown() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::RefuseAll(
        403,
        format!("the tenant acme-corporation may not use {TOKEN} here"),
    ));
    let refused = send(&transport(&server)).await.unwrap_err();
    let reason = refused.reason().unwrap().as_str();
    assert_eq!(
        reason,
        "the tenant acme-corporation may not use [token] here"
    );
}

#[tokio::test]
async fn a_token_is_replaced_without_building_anything_again() {
    let server = FaultServer::start().await.unwrap();
    server.always(Answer::Echo(401, Echo::Json));
    let tracker = HttpTracker::builder(server.url())
        .token("first-token-1111")
        .scoped()
        .unwrap();
    tracker.emit(json!({"eventId": "1"})).unwrap();
    assert!(tracker.flush().await.ok().is_err());

    tracker.set_token("second-token-2222").unwrap();
    assert_eq!(
        tracker.set_token("two words").unwrap_err(),
        TokenError::Character { at: 3 }
    );
    assert_eq!(tracker.set_token("").unwrap_err(), TokenError::Empty);
    server.always(Answer::Accept);
    assert!(tracker.flush().await.ok().is_ok(), "the event was kept");
    let requests = server.requests();
    let tokens: Vec<_> = requests
        .iter()
        .map(|request| request.header("authorization").unwrap())
        .collect();
    assert_eq!(
        tokens,
        ["Bearer first-token-1111", "Bearer second-token-2222"]
    );
}

#[tokio::test]
async fn clones_share_the_token_and_the_one_before_stays_hidden() {
    let server = FaultServer::start().await.unwrap();
    let transport = HttpTransport::builder(server.url()).build().unwrap();
    let clone = transport.clone();
    send(&clone).await.unwrap();
    for number in 0..9 {
        transport
            .set_token(format!("{number}{number}{number}-token"))
            .unwrap();
    }
    server.then(Answer::RefuseAll(
        401,
        "not 000-token, and not 888-token".into(),
    ));
    let refused = send(&clone).await.unwrap_err();
    assert_eq!(
        refused.reason().unwrap().as_str(),
        "not [token], and not [token]"
    );
    let requests = server.requests();
    let tokens: Vec<_> = requests
        .iter()
        .map(|request| request.header("authorization"))
        .collect();
    assert_eq!(tokens, [None, Some("Bearer 888-token")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The token and the form of the echo are arbitrary.
    #[test]
    fn no_token_is_shown_in_any_form(token in "[!-~]{12,40}", form in proptest::sample::select(&Echo::ALL[..])) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reason = runtime.block_on(async {
            let server = FaultServer::start().await.unwrap();
            let transport = HttpTransport::builder(server.url()).token(&token).build().unwrap();
            server.then(Answer::RefuseAll(401, format!("no: {} is unknown", form.encode(&token))));
            send(&transport).await.unwrap_err().reason().unwrap().as_str().to_owned()
        });
        // The text before and after the token is kept, and almost nothing of the token.
        prop_assert!(reason.starts_with("no: ") || form != Echo::Plain, "{}", reason);
        let chars: Vec<char> = token.to_lowercase().chars().collect();
        for window in chars.windows(8) {
            let window = String::from_iter(window);
            for shown in [form.encode(&window), window.clone()] {
                prop_assert!(!reason.to_lowercase().contains(&shown.to_lowercase()), "{}: {}", shown, reason);
            }
        }
    }
}
