//! Names that no token may contain: dot segments, and names of the system.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use tracing::instrument::WithSubscriber;

use super::*;

/// Returns a verifier of a deployment whose agent is `agent`.
fn verifier(agent: Option<&str>, issuer: Issuer) -> Verifier {
    let reserved = agent.map(ReservedNames::with_agent).unwrap_or_default();
    Verifier { reserved, ..Verifier::new(vec![issuer]).unwrap() }
}

#[tokio::test]
async fn no_token_names_the_system() {
    let verifier = verifier(Some("Jarvis"), issuer());
    for name in ["agent", "system", "Agent", "SYSTEM", "jarvis", "JARVIS"] {
        let refused = verifier.verify(&hs256(&with("sub", name)), NOW).await;
        assert_eq!(refused, Err(wrong("sub", IdError::Reserved)), "{name}");
        assert_eq!(verifier.user(name), Err(IdError::Reserved), "{name} as a member");
    }
    for name in ["agents", "the-system", "jarvis2", "alice"] {
        assert!(verifier.verify(&hs256(&with("sub", name)), NOW).await.is_ok(), "{name}");
    }
    // For every claim that can contain the user.
    let by_name = Verifier::new(vec![Issuer { user_claim: "preferred_username".into(), ..issuer() }]).unwrap();
    let refused = by_name.verify(&hs256(&with("preferred_username", "agent")), NOW).await;
    assert_eq!(refused, Err(wrong("preferred_username", IdError::Reserved)));
    let mut claims = with("preferred_username", "alice");
    claims["sub"] = json!("agent");
    assert!(by_name.verify(&hs256(&claims), NOW).await.is_ok(), "this claim is not the user's");
}

#[tokio::test]
async fn no_token_names_a_dot_segment() {
    let verifier = verifier(None, Issuer { tenant_claim: Some("org".into()), ..issuer() });
    let token = |claim: &str, value: Value| {
        let mut claims = with("org", "acme");
        claims[claim] = value;
        hs256(&claims)
    };
    for dots in [".", ".."] {
        for (claim, value) in
            [("sub", json!(dots)), ("org", json!(dots)), ("channels", json!([dots])), ("channels", json!(dots))]
        {
            let refused = verifier.verify(&token(claim, value), NOW).await;
            assert_eq!(refused, Err(wrong(claim, IdError::DotSegment)), "{claim} {dots}");
        }
    }
    for kept in ["...", ".a", "a..", "..a"] {
        for claim in ["sub", "org", "channels"] {
            assert!(verifier.verify(&token(claim, json!(kept)), NOW).await.is_ok(), "{claim} {kept}");
        }
    }
}

/// A log that tests can read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_which_claim_of_which_issuer_and_nothing_that_the_token_says() {
    let verifier = verifier(None, Issuer { tenant_claim: Some("https://acme.example/org".into()), ..issuer() });
    let refused = [
        (with("https://acme.example/org", ".."), "its claim https://acme.example/org must not be '.' or '..'"),
        (with("sub", "system"), "its claim https://acme.example/org is missing"),
        (with("iss", "elsewhere"), "fault=\"unknown_issuer\""),
        (with("aud", "elsewhere"), "its claim aud does not name the audience of this service"),
    ];
    for (claims, reason) in refused {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let token = hs256(&claims);
        assert!(verifier.verify(&token, NOW).with_subscriber(subscriber).await.is_err());
        let text = log.text();
        assert!(text.contains("WARN") && text.contains("token refused") && text.contains("claim="), "{text}");
        assert_eq!(text.contains("issuer=\"issuer\""), claims["iss"] == "issuer", "{text}");
        assert!(text.contains(reason), "{text}");
        for part in token.split('.') {
            assert!(!text.contains(part), "{text}");
        }
        assert!(!text.contains("elsewhere"), "{text}");
    }
}
