//! The key set: fetched once, rotated without a restart, kept through an outage.

use std::time::Duration;

use super::*;

/// Short enough that no test waits.
const QUICK: Timing = Timing {
    fresh_for: Duration::from_mins(10),
    interval: Duration::from_millis(1),
    retry_after: Duration::ZERO,
    unknown_for: Duration::from_mins(10),
};

fn verifier(url: String, timing: Timing) -> Verifier {
    let issuer = Issuer { secret: None, jwks_url: Some(url), ..issuer() };
    Verifier::with_timing(vec![issuer], timing).unwrap()
}

fn token(key: &str) -> String {
    signed(if key.starts_with("rsa") { Algorithm::RS256 } else { Algorithm::ES256 }, key, &claims())
}

async fn fetches(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_callers_share_one_fetch_and_a_rotation_costs_one_more() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri(), QUICK);
    let all = async |key: &str| {
        let token = token(key);
        let callers = (0..16).map(|_| verifier.verify(&token, NOW));
        for verified in futures::future::join_all(callers).await {
            assert_eq!(verified.unwrap().user_id.as_str(), "alice");
        }
    };
    all("rsa-a").await;
    all("rsa-a").await;
    assert_eq!(fetches(&server).await, 1);
    // The old key is still signing while the new one begins to.
    serve(&server, vec![public("rsa-a", Algorithm::RS256), public("rsa-b", Algorithm::RS256)]).await;
    futures::future::join(all("rsa-a"), all("rsa-b")).await;
    assert_eq!(fetches(&server).await, 1);
    serve(&server, vec![public("p256-b", Algorithm::ES256)]).await;
    all("p256-b").await;
    assert_eq!(fetches(&server).await, 1);
    assert_eq!(verifier.verify(&token("rsa-a"), NOW).await, Err(AuthError::Invalid), "withdrawn");
}

#[tokio::test]
async fn a_dead_server_stops_nobody_whose_key_is_known() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let always_stale = Timing { fresh_for: Duration::ZERO, ..QUICK };
    let verifier = verifier(server.uri(), always_stale);
    assert!(verifier.verify(&token("rsa-a"), NOW).await.is_ok());
    server.reset().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(500)).mount(&server).await;
    for _ in 0..20 {
        assert!(verifier.verify(&token("rsa-a"), NOW).await.is_ok());
    }
    // Nobody can say whether that key is good.
    assert_eq!(verifier.verify(&token("rsa-b"), NOW).await, Err(AuthError::KeysUnavailable));
}

#[tokio::test]
async fn an_outage_during_a_rotation_is_over_when_the_server_is_back() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri(), QUICK);
    assert!(verifier.verify(&token("rsa-a"), NOW).await.is_ok());
    server.reset().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(503)).mount(&server).await;
    assert_eq!(verifier.verify(&token("rsa-b"), NOW).await, Err(AuthError::KeysUnavailable));
    serve(&server, vec![public("rsa-b", Algorithm::RS256)]).await;
    tokio::time::sleep(QUICK.interval).await;
    assert!(verifier.verify(&token("rsa-b"), NOW).await.is_ok(), "a failed fetch has condemned nobody");
}

#[tokio::test]
async fn a_caller_that_gave_up_leaves_nothing_behind() {
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(2));
    Mock::given(method("GET")).respond_with(slow).mount(&server).await;
    let verifier = verifier(server.uri(), QUICK);
    let token = token("rsa-a");
    let given_up = tokio::time::timeout(Duration::from_millis(50), verifier.verify(&token, NOW)).await;
    assert!(given_up.is_err());
    serve(&server, vec![public("rsa-a", Algorithm::RS256)]).await;
    assert!(verifier.verify(&token, NOW).await.is_ok());
}

#[tokio::test]
async fn a_slow_renewal_holds_a_known_key_up_for_a_moment_only() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri(), Timing { fresh_for: Duration::ZERO, ..QUICK });
    assert!(verifier.verify(&token("rsa-a"), NOW).await.is_ok());
    server.reset().await;
    let slow = ResponseTemplate::new(200).set_delay(Duration::from_mins(1));
    Mock::given(method("GET")).respond_with(slow).mount(&server).await;
    let verified = tokio::time::timeout(Duration::from_secs(2), verifier.verify(&token("rsa-a"), NOW)).await;
    assert!(verified.expect("well before the renewal gives up").is_ok());
}

#[tokio::test]
async fn made_up_kids_in_turn_are_asked_for_once_each() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri(), QUICK);
    let claims = claims();
    for _ in 0..10 {
        for kid in ["one", "two", "three"] {
            let token = encode(&header(Algorithm::RS256, kid), &claims, &signing_key("rsa-a")).unwrap();
            assert_eq!(verifier.verify(&token, NOW).await, Err(AuthError::Invalid));
        }
    }
    assert_eq!(fetches(&server).await, 3);
}

#[tokio::test]
async fn a_published_private_key_and_a_short_one_verify_nothing() {
    let with = |name: &str, value: &str| {
        let mut key = public("rsa-a", Algorithm::RS256);
        key[name] = json!(value);
        key
    };
    let modulus = public("rsa-a", Algorithm::RS256)["n"].as_str().unwrap().to_owned();
    let bytes = URL_SAFE_NO_PAD.decode(&modulus).unwrap();
    assert!(bytes[0] >= 0x80, "a modulus of 2,048 bits has its first bit set");
    let mut short = bytes.clone();
    short[0] &= 0x7f;
    for (what, key) in [("d", with("d", "AQAB")), ("2,047 bits", with("n", &URL_SAFE_NO_PAD.encode(short)))] {
        let server = serving(vec![key]).await;
        let refused = verifier(server.uri(), QUICK).verify(&token("rsa-a"), NOW).await;
        assert_eq!(refused, Err(AuthError::Invalid), "{what}");
    }
}

#[tokio::test]
async fn without_any_keys_yet_it_is_not_the_token_that_is_wrong() {
    let server = MockServer::start().await;
    let large = "x".repeat(300_000);
    let answers = [
        ResponseTemplate::new(500),
        ResponseTemplate::new(302).insert_header("location", "/elsewhere"),
        ResponseTemplate::new(200).set_body_string("no key set"),
        ResponseTemplate::new(200).set_body_json(json!({ "keys": [{ "kid": large }] })),
    ];
    for answer in answers {
        server.reset().await;
        Mock::given(method("GET")).respond_with(answer).mount(&server).await;
        let verifier = verifier(server.uri(), QUICK);
        assert_eq!(verifier.verify(&token("rsa-a"), NOW).await, Err(AuthError::KeysUnavailable));
        assert_eq!(fetches(&server).await, 1, "and a redirect is not followed");
        // Once they can be had, the same verifier goes on.
        serve(&server, vec![public("rsa-a", Algorithm::RS256)]).await;
        assert!(verifier.verify(&token("rsa-a"), NOW).await.is_ok());
    }
}

#[tokio::test]
async fn a_made_up_kid_is_asked_for_once() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri(), QUICK);
    for _ in 0..10 {
        assert_eq!(verifier.verify(&token("rsa-b"), NOW).await, Err(AuthError::Invalid));
    }
    assert_eq!(fetches(&server).await, 1);
    assert!(verifier.verify(&token("rsa-a"), NOW).await.is_ok());
    assert_eq!(fetches(&server).await, 1);
}

#[tokio::test]
async fn keys_of_unknown_kinds_are_passed_over() {
    let unknown = json!({ "kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "x" });
    let server = serving(vec![unknown, json!({}), json!(7), public("p256-a", Algorithm::ES256)]).await;
    assert!(verifier(server.uri(), QUICK).verify(&token("p256-a"), NOW).await.is_ok());
}
