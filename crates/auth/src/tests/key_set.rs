//! The key set: fetched once, rotated within a limit, kept during an outage, and fetched at a limited rate.

use std::{pin::pin, time::Duration};

use futures::future::join_all;

use super::*;
use crate::{jwks::SET_KEYS, refusal::KID_BYTES};

const TIMING: Timing = Timing {
    fresh_for: Duration::from_mins(10),
    interval: Duration::from_secs(10),
    retry_after: Duration::from_secs(1),
};

const MILLISECOND: Duration = Duration::from_millis(1);

fn verifier(url: String) -> Verifier {
    let issuer = Issuer { secret: None, jwks_url: Some(url), ..issuer() };
    Verifier::with_timing(vec![issuer], TIMING).unwrap()
}

/// Returns a token that is valid for longer than every test.
fn token(key: &str) -> String {
    let algorithm = if key.starts_with("rsa") { Algorithm::RS256 } else { Algorithm::ES256 };
    signed(algorithm, key, &with("exp", EPOCH + 100_000))
}

/// Returns a token whose `kid` is in no set, with the signature of another key.
fn made_up(kid: &str) -> String {
    encode(&header(Algorithm::RS256, kid), &with("exp", EPOCH + 100_000), &signing_key("rsa-b")).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

async fn fetches(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

async fn answering(server: &MockServer, answer: ResponseTemplate) {
    server.reset().await;
    Mock::given(method("GET")).respond_with(answer).mount(server).await;
}

/// Returns a response that is later than every test.
fn never() -> ResponseTemplate {
    ResponseTemplate::new(200).set_delay(Duration::from_mins(10))
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_callers_share_one_fetch_and_a_rotation_costs_one_more() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri());
    let all = async |key: &str, now: Timestamp| {
        let token = token(key);
        // Callers arrive in another order than that of their clocks.
        let callers = (0..16_u32).map(|caller| verifier.verify(&token, now.plus(MILLISECOND * (16 - caller))));
        for verified in join_all(callers).await {
            assert_eq!(verified.unwrap().caller.user_id.as_str(), "alice");
        }
    };
    all("rsa-a", NOW).await;
    all("rsa-a", NOW).await;
    assert_eq!(fetches(&server).await, 1);
    // The old key still signs while the new one is introduced.
    serve(&server, vec![public("rsa-a", Algorithm::RS256), public("rsa-b", Algorithm::RS256)]).await;
    futures::future::join(all("rsa-a", at(20)), all("rsa-b", at(20))).await;
    assert_eq!(fetches(&server).await, 1);
    serve(&server, vec![public("p256-b", Algorithm::ES256)]).await;
    all("p256-b", at(40)).await;
    assert_eq!(fetches(&server).await, 1);
    assert_eq!(verifier.verify(&token("rsa-a"), at(40)).await, Err(AuthError::Invalid), "a withdrawn key is refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_kids_are_refused_without_asking_but_once_an_interval() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri());
    let valid = token("rsa-a");
    let tokens: Vec<String> = (0..400).map(|number| made_up(&format!("made-up-{number}"))).collect();
    let burst = async |now: Timestamp| {
        let refused = join_all(tokens.iter().map(|token| verifier.verify(token, now))).await;
        assert!(refused.iter().all(|outcome| *outcome == Err(AuthError::Invalid)));
        assert!(verifier.verify(&valid, now).await.is_ok());
    };
    for (now, expected) in [(0, 1), (0, 1), (9, 1), (10, 2), (19, 2), (20, 3), (21, 3), (599, 4)] {
        burst(at(now)).await;
        assert_eq!(fetches(&server).await, expected, "after {now} s");
    }
}

#[tokio::test]
async fn a_new_key_is_accepted_when_the_interval_is_over() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri());
    assert_eq!(verifier.verify(&made_up("made-up"), NOW).await, Err(AuthError::Invalid));
    serve(&server, vec![public("rsa-a", Algorithm::RS256), public("rsa-b", Algorithm::RS256)]).await;
    let bound = NOW.plus(TIMING.interval);
    let before = Timestamp::from_millis(bound.as_millis() - 1);
    assert_eq!(verifier.verify(&token("rsa-b"), before).await, Err(AuthError::Invalid));
    assert_eq!(fetches(&server).await, 0, "refused without a fetch");
    assert!(verifier.verify(&token("rsa-b"), bound).await.is_ok());
    assert_eq!(fetches(&server).await, 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_found_before_its_key_is_asked_for() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let jwks = Issuer { secret: None, jwks_url: Some(server.uri()), ..issuer() };
    let verifier = Verifier::new(vec![Issuer { tenant_claim: Some("org".into()), ..jwks }]).unwrap();
    let claims = with("org", "acme");
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        encode(&header(Algorithm::RS256, "made-up"), &claims, &signing_key("rsa-b")).unwrap()
    };
    let of_kid = |kid: &str| encode(&header(Algorithm::RS256, kid), &claims, &signing_key("rsa-b")).unwrap();
    let unsigned = of_kid("made-up").rsplit_once('.').unwrap().0.to_owned();
    let cheap = [
        ("expired", with("exp", json!(EPOCH - 60))),
        ("not yet valid", with("nbf", json!(EPOCH + 61))),
        ("no number of an exp", with("exp", json!("soon"))),
        ("another issuer", with("iss", json!("another"))),
        ("another audience", with("aud", json!("another"))),
        ("a dot segment for a user", with("sub", json!(".."))),
        ("a name of the system", with("sub", json!("agent"))),
        ("a dot segment for a tenant", with("org", json!("."))),
        ("no channels", with("channels", json!(7))),
        ("a long kid", of_kid(&"k".repeat(KID_BYTES + 1))),
        ("an algorithm that is not configured", signed(Algorithm::ES384, "p384", &claims)),
        ("no signature", format!("{unsigned}.")),
        ("a short signature", format!("{unsigned}.AAAA")),
        ("a signature that is no base64url", format!("{unsigned}.+++")),
    ];
    for (what, token) in cheap {
        assert!(verifier.verify(&token, NOW).await.is_err(), "{what}");
        assert_eq!(fetches(&server).await, 0, "{what}");
    }
    // The twins, which only a key look-up can distinguish from valid tokens.
    for (token, expected) in [(of_kid("made-up"), 1), (of_kid(&"k".repeat(KID_BYTES)), 1)] {
        assert_eq!(verifier.verify(&token, NOW).await, Err(AuthError::Invalid));
        assert_eq!(fetches(&server).await, expected);
    }
    assert!(verifier.verify(&signed(Algorithm::RS256, "rsa-a", &claims), NOW).await.is_ok());
}

#[tokio::test]
async fn a_server_that_fails_is_asked_less_and_less_often() {
    let server = MockServer::start().await;
    answering(&server, ResponseTemplate::new(500)).await;
    let verifier = verifier(server.uri());
    let mut asked_at = Vec::new();
    for second in 0..60 {
        let before = fetches(&server).await;
        // Two callers per second. Neither learns that the token is invalid.
        for _ in 0..2 {
            let unknown = verifier.verify(&token("rsa-a"), at(second)).await;
            assert_eq!(unknown, Err(AuthError::KeysUnavailable));
        }
        if fetches(&server).await > before {
            asked_at.push(second);
        }
    }
    assert_eq!(asked_at, [0, 1, 3, 7, 15, 25, 35, 45, 55]);
    assert_eq!(fetches(&server).await, asked_at.len());
    // After the outage, the pause is the short one again.
    serve(&server, vec![public("rsa-a", Algorithm::RS256)]).await;
    assert!(verifier.verify(&token("rsa-a"), at(65)).await.is_ok());
    answering(&server, ResponseTemplate::new(500)).await;
    for (second, expected) in [(75, 1), (76, 2), (77, 2), (78, 3)] {
        assert_eq!(verifier.verify(&made_up("x"), at(second)).await, Err(AuthError::KeysUnavailable));
        assert_eq!(fetches(&server).await, expected, "at {second}");
    }
}

#[tokio::test]
async fn a_dead_server_stops_nobody_whose_key_is_known() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri());
    assert!(verifier.verify(&token("rsa-a"), NOW).await.is_ok());
    answering(&server, ResponseTemplate::new(500)).await;
    for hour in 1..20 {
        assert!(verifier.verify(&token("rsa-a"), at(hour * 3600)).await.is_ok());
    }
    assert_eq!(fetches(&server).await, 19);
    // That key cannot be verified.
    assert_eq!(verifier.verify(&token("rsa-b"), at(80_000)).await, Err(AuthError::KeysUnavailable));
}

#[tokio::test]
async fn an_outage_during_a_rotation_is_over_when_the_server_is_back() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri());
    assert!(verifier.verify(&token("rsa-a"), NOW).await.is_ok());
    answering(&server, ResponseTemplate::new(503)).await;
    assert_eq!(verifier.verify(&token("rsa-b"), at(10)).await, Err(AuthError::KeysUnavailable));
    serve(&server, vec![public("rsa-b", Algorithm::RS256)]).await;
    assert!(
        verifier.verify(&token("rsa-b"), at(11)).await.is_ok(),
        "a failed look-up refuses no token whose key is known"
    );
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_key_out() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri());
    assert!(verifier.verify(&token("rsa-a"), at(50_000)).await.is_ok());
    serve(&server, vec![public("rsa-b", Algorithm::RS256)]).await;
    assert!(verifier.verify(&token("rsa-b"), NOW).await.is_ok());
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_end_the_fetch_of_the_others() {
    let server = MockServer::start().await;
    let keys = json!({ "keys": [public("rsa-a", Algorithm::RS256)] });
    let slow = ResponseTemplate::new(200).set_body_json(keys).set_delay(Duration::from_millis(300));
    answering(&server, slow).await;
    let verifier = verifier(server.uri());
    let token = token("rsa-a");
    {
        let mut gone = pin!(verifier.verify(&token, NOW));
        while fetches(&server).await == 0 {
            assert!(futures::poll!(&mut gone).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert!(verifier.verify(&token, NOW).await.is_ok());
    assert_eq!(fetches(&server).await, 1);
}

#[tokio::test]
async fn a_server_that_hangs_holds_no_caller_whose_key_is_known() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri());
    let (known, unknown) = (token("rsa-a"), made_up("made-up"));
    assert!(verifier.verify(&known, NOW).await.is_ok());
    answering(&server, never()).await;
    let mut held = pin!(verifier.verify(&unknown, at(20)));
    while fetches(&server).await == 0 {
        assert!(futures::poll!(&mut held).is_pending());
        tokio::task::yield_now().await;
    }
    // Also with an old set, whose renewal is the fetch that hangs.
    for now in [20, 700] {
        for _ in 0..100 {
            tokio::select! {
                biased;
                _ = &mut held => panic!("the fetch ended before a caller that does not need it"),
                verified = verifier.verify(&known, at(now)) => assert!(verified.is_ok()),
            }
        }
    }
    assert_eq!(held.await, Err(AuthError::KeysUnavailable));
    assert_eq!(fetches(&server).await, 1);
}

#[tokio::test]
async fn a_slow_renewal_holds_a_known_key_up_for_a_moment_only() {
    let server = serving(vec![public("rsa-a", Algorithm::RS256)]).await;
    let verifier = verifier(server.uri());
    let token = token("rsa-a");
    assert!(verifier.verify(&token, NOW).await.is_ok());
    answering(&server, never()).await;
    // The renewal continues after the response, and another caller waits for it.
    assert!(verifier.verify(&token, at(700)).await.is_ok());
    let unknown = made_up("made-up");
    let mut waiting = pin!(verifier.verify(&unknown, at(700)));
    for _ in 0..100 {
        assert!(futures::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting.await, Err(AuthError::KeysUnavailable));
    assert_eq!(fetches(&server).await, 1);
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
        ResponseTemplate::new(200)
            .set_body_json(json!({ "keys": vec![public("rsa-a", Algorithm::RS256); SET_KEYS + 1] })),
        ResponseTemplate::new(200).set_body_string(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
    ];
    for answer in answers {
        answering(&server, answer).await;
        let verifier = verifier(server.uri());
        assert_eq!(verifier.verify(&token("rsa-a"), NOW).await, Err(AuthError::KeysUnavailable));
        assert_eq!(fetches(&server).await, 1, "a redirect is not followed");
        // When the keys are available, the same verifier continues.
        serve(&server, vec![public("rsa-a", Algorithm::RS256)]).await;
        assert!(verifier.verify(&token("rsa-a"), at(1)).await.is_ok());
    }
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
        let refused = verifier(server.uri()).verify(&token("rsa-a"), NOW).await;
        assert_eq!(refused, Err(AuthError::Invalid), "{what}");
    }
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_passed_over() {
    let unknown = json!({ "kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "x" });
    let mut long = public("rsa-a", Algorithm::RS256);
    long["kid"] = json!("k".repeat(KID_BYTES + 1));
    let server = serving(vec![unknown, json!({}), json!(7), long, public("p256-a", Algorithm::ES256)]).await;
    assert!(verifier(server.uri()).verify(&token("p256-a"), NOW).await.is_ok());
    let mut full = vec![json!({}); SET_KEYS - 1];
    full.push(public("p256-a", Algorithm::ES256));
    let server = serving(full).await;
    assert!(verifier(server.uri()).verify(&token("p256-a"), NOW).await.is_ok());
}

#[tokio::test]
async fn a_key_of_an_extreme_size_is_passed_over() {
    let large = |bytes: usize| {
        let mut key = public("rsa-a", Algorithm::RS256);
        key["n"] = json!(URL_SAFE_NO_PAD.encode(vec![0xff; bytes]));
        key
    };
    for bytes in [1_025, 100_000] {
        let server = serving(vec![large(bytes), public("p256-a", Algorithm::ES256)]).await;
        let verifier = verifier(server.uri());
        assert_eq!(verifier.verify(&token("rsa-a"), NOW).await, Err(AuthError::Invalid), "{bytes} bytes");
        assert!(verifier.verify(&token("p256-a"), NOW).await.is_ok());
    }
}
