use jsonwebtoken::{EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use super::*;

const NOW: i64 = 1_796_000_000;
const SECRET: &str = "a secret of more than thirty-two bytes";

fn claims() -> Value {
    json!({ "sub": "alice", "iss": "issuer", "aud": "audience", "exp": NOW + 600, "nbf": NOW - 5 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn hs256(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn settings() -> Settings {
    Settings {
        issuer: "issuer".into(),
        audience: "audience".into(),
        hs256_secret: Some(Secret::new(SECRET)),
        jwks_url: None,
    }
}

#[tokio::test]
async fn claims_decide() {
    let verifier = Verifier::new(settings()).unwrap();
    let cases = [
        (claims(), Ok(())),
        (with("aud", json!(["other", "audience"])), Ok(())),
        (without("nbf"), Ok(())),
        (with("exp", json!(NOW - 59)), Ok(())),
        (with("nbf", json!(NOW + 59)), Ok(())),
        (with("exp", json!(NOW - 60)), Err(AuthError::Expired)),
        (with("nbf", json!(NOW + 61)), Err(AuthError::NotYetValid)),
        (without("exp"), Err(AuthError::Invalid)),
        (without("iss"), Err(AuthError::Invalid)),
        (without("aud"), Err(AuthError::Invalid)),
        (without("sub"), Err(AuthError::Invalid)),
        (with("iss", json!("another")), Err(AuthError::Invalid)),
        (with("aud", json!("another")), Err(AuthError::Invalid)),
        (with("exp", json!("tomorrow")), Err(AuthError::Invalid)),
        (with("exp", json!(1e300)), Err(AuthError::Invalid)),
    ];
    for (claims, expected) in cases {
        let outcome = verifier.verify(&hs256(&claims), NOW).await;
        assert_eq!(outcome.map(|_| ()), expected, "{claims}");
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let verifier = Verifier::new(settings()).unwrap();
    let good = hs256(&claims());
    let (body, _) = good.rsplit_once('.').unwrap();
    let unsigned = {
        let payload = body.split_once('.').unwrap().1;
        // {"alg":"none"}
        format!("eyJhbGciOiJub25lIn0.{payload}.")
    };
    let other_secret =
        encode(&Header::default(), &claims(), &EncodingKey::from_secret(b"another secret, of enough bytes too"))
            .unwrap();
    for token in [body, &good[..good.len() - 3], "a.b.c", "…", &"a".repeat(100_000), &unsigned, &other_secret] {
        assert_eq!(verifier.verify(token, NOW).await, Err(AuthError::Invalid));
    }
    assert_eq!(verifier.verify("", NOW).await, Err(AuthError::Missing));
}

#[test]
fn settings_need_a_key_worth_the_name() {
    let none = Settings { hs256_secret: None, ..settings() };
    assert!(matches!(Verifier::new(none), Err(SettingsError::NoKey)));
    let short = Settings { hs256_secret: Some(Secret::new("short")), ..settings() };
    assert!(matches!(Verifier::new(short), Err(SettingsError::ShortSecret)));
    let plain = Settings { jwks_url: Some("http://keys.example/jwks".into()), ..settings() };
    assert!(matches!(Verifier::new(plain), Err(SettingsError::Jwks(JwksError::Insecure))));
    assert!(!format!("{:?}", settings()).contains(SECRET));
}

/// A P-256 key for these tests alone.
const ES256_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgdUdbmYi5cJhntOTy
8yiLoatV5vGt4e0jg/zAU047CM6hRANCAASC9BiiKAOivh86oSTZktBx9lvw4GCZ
sQk9ZROchP7mVhUKHsL2zGRG9SRRcLIZ35WUp78mKReOfyFUb5A3SGOX
-----END PRIVATE KEY-----
";

fn es256(kid: &str) -> String {
    let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::ES256) };
    encode(&header, &claims(), &EncodingKey::from_ec_pem(ES256_KEY.as_bytes()).unwrap()).unwrap()
}

fn key_set(kid: &str) -> Value {
    let key = EncodingKey::from_ec_pem(ES256_KEY.as_bytes()).unwrap();
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    json!({ "keys": [{ "kty": "unknown", "kid": "x" }, jwk] })
}

#[tokio::test]
async fn keys_of_the_set_are_found_by_their_id_and_kept_through_an_outage() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_json(key_set("one"));
    Mock::given(method("GET")).respond_with(answer).up_to_n_times(1).mount(&server).await;
    let verifier = Verifier::new(Settings { jwks_url: Some(server.uri()), ..settings() }).unwrap();

    assert_eq!(verifier.verify(&es256("one"), NOW).await.unwrap().subject, "alice");
    assert_eq!(verifier.verify(&es256("../two' OR 1=1"), NOW).await, Err(AuthError::Invalid));
    assert_eq!(verifier.verify(&es256("one"), NOW).await.unwrap().subject, "alice");
    assert_eq!(server.received_requests().await.unwrap().len(), 1, "fetched once, whatever kid is asked for");
}

#[tokio::test]
async fn a_secret_is_no_public_key_and_a_public_key_is_no_secret() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_json(key_set("one")))
        .mount(&server)
        .await;
    let only_keys = Settings { hs256_secret: None, jwks_url: Some(server.uri()), ..settings() };
    let verifier = Verifier::new(only_keys).unwrap();
    assert_eq!(verifier.verify(&hs256(&claims()), NOW).await, Err(AuthError::Invalid));
    let verifier = Verifier::new(settings()).unwrap();
    assert_eq!(verifier.verify(&es256("one"), NOW).await, Err(AuthError::Invalid));
}
