//! Attacks and their valid twins, and the key set through rotation and outage.

mod attacks;
mod key_set;
mod names;
mod providers;
mod references;
mod subjects;

use jsonwebtoken::{EncodingKey, encode, jwk::Jwk};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use super::*;
use crate::jwks::Timing;

/// Seconds since the Unix epoch.
const EPOCH: i64 = 1_796_000_000;

const NOW: Timestamp = Timestamp::from_secs(EPOCH);

/// Long enough for every hash.
const SECRET: &str = "a shared secret for tests alone, of more than the sixty-four bytes that HS512 needs";

/// Returns a private key that was created for these tests only.
fn signing_key(name: &str) -> EncodingKey {
    match name {
        "rsa-a" => EncodingKey::from_rsa_pem(include_bytes!("keys/rsa-a.pem")),
        "rsa-b" => EncodingKey::from_rsa_pem(include_bytes!("keys/rsa-b.pem")),
        "p256-a" => EncodingKey::from_ec_pem(include_bytes!("keys/p256-a.pem")),
        "p256-b" => EncodingKey::from_ec_pem(include_bytes!("keys/p256-b.pem")),
        "p384" => EncodingKey::from_ec_pem(include_bytes!("keys/p384.pem")),
        "ed25519" => EncodingKey::from_ed_pem(include_bytes!("keys/ed25519.pem")),
        _ => Ok(EncodingKey::from_secret(SECRET.as_bytes())),
    }
    .unwrap()
}

/// Returns the public half of a key as in a key set, without an `alg`, with its own id.
fn public(name: &str, algorithm: Algorithm) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&signing_key(name), algorithm).unwrap()).unwrap();
    let fields = jwk.as_object_mut().unwrap();
    fields.remove("alg");
    fields.insert("kid".into(), json!(name));
    jwk
}

fn all_keys() -> Vec<Value> {
    vec![
        public("rsa-a", Algorithm::RS256),
        public("p256-a", Algorithm::ES256),
        public("p384", Algorithm::ES384),
        public("ed25519", Algorithm::EdDSA),
    ]
}

async fn serving(keys: Vec<Value>) -> MockServer {
    let server = MockServer::start().await;
    serve(&server, keys).await;
    server
}

async fn serve(server: &MockServer, keys: Vec<Value>) {
    server.reset().await;
    let answer = ResponseTemplate::new(200).set_body_json(json!({ "keys": keys }));
    Mock::given(method("GET")).respond_with(answer).mount(server).await;
}

fn claims() -> Value {
    json!({ "sub": "alice", "iss": "issuer", "aud": "audience", "exp": EPOCH + 600, "nbf": EPOCH - 5, "iat": EPOCH - 5 })
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn header(algorithm: Algorithm, kid: &str) -> Header {
    Header { kid: Some(kid.into()), ..Header::new(algorithm) }
}

fn signed(algorithm: Algorithm, key: &str, claims: &Value) -> String {
    encode(&header(algorithm, key), claims, &signing_key(key)).unwrap()
}

fn hs256(claims: &Value) -> String {
    signed(Algorithm::HS256, "secret", claims)
}

fn issuer() -> Issuer {
    Issuer {
        issuer: "issuer".into(),
        audience: "audience".into(),
        secret: Some(Secret::new(SECRET)),
        ..Issuer::default()
    }
}

/// Returns an issuer that accepts every algorithm, with the keys at `url` and the secret.
fn anything(url: String) -> Issuer {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    let algorithms = vec![HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];
    Issuer { algorithms, jwks_url: Some(url), ..issuer() }
}

fn wrong(claim: &str, problem: impl Into<ClaimProblem>) -> AuthError {
    AuthError::Claim { name: claim.into(), problem: problem.into() }
}

#[tokio::test]
async fn claims_decide() {
    let verifier = Verifier::new(vec![issuer()]).unwrap();
    let cases = [
        (claims(), Ok(())),
        (with("aud", json!(["other", "audience"])), Ok(())),
        (without("nbf"), Ok(())),
        (without("iat"), Ok(())),
        (with("exp", EPOCH - 59), Ok(())),
        (with("nbf", EPOCH + 60), Ok(())),
        (with("iat", EPOCH + 60), Ok(())),
        (with("exp", EPOCH - 60), Err(AuthError::Expired)),
        (with("nbf", EPOCH + 61), Err(AuthError::NotYetValid)),
        (with("iat", EPOCH + 61), Err(AuthError::NotYetValid)),
        (without("exp"), Err(wrong("exp", ClaimProblem::Missing))),
        (without("iss"), Err(wrong("iss", ClaimProblem::Missing))),
        (without("aud"), Err(wrong("aud", ClaimProblem::Missing))),
        (without("sub"), Err(wrong("sub", ClaimProblem::Missing))),
        (with("sub", 7), Err(wrong("sub", ClaimProblem::NotAString))),
        (with("sub", ""), Err(wrong("sub", IdError::Empty))),
        (with("sub", "@".repeat(86)), Err(wrong("sub", IdError::SubjectTooLong))),
        (with("sub", "x".repeat(256)), Err(wrong("sub", IdError::SubjectTooLong))),
        (with("sub", "x".repeat(255)), Ok(())),
        (with("sub", "a/b"), Ok(())),
        (with("iss", "another"), Err(wrong("iss", ClaimProblem::UnknownIssuer))),
        (with("iss", json!(["issuer"])), Err(wrong("iss", ClaimProblem::NotAString))),
        (with("aud", "another"), Err(wrong("aud", ClaimProblem::OtherAudience))),
        (with("aud", json!([])), Err(wrong("aud", ClaimProblem::OtherAudience))),
        (with("exp", "tomorrow"), Err(wrong("exp", ClaimProblem::NotATime))),
        (with("exp", 1e300), Err(wrong("exp", ClaimProblem::NotATime))),
        (with("exp", u64::MAX), Err(wrong("exp", ClaimProblem::NotATime))),
        (with("exp", 1e15), Err(wrong("exp", ClaimProblem::NotATime))),
        (with("exp", 999_999_999_999_999_i64), Ok(())),
        (with("exp", -1), Err(AuthError::Expired)),
        (with("exp", -1e300), Err(wrong("exp", ClaimProblem::NotATime))),
        (with("exp", json!(null)), Err(wrong("exp", ClaimProblem::NotATime))),
        (with("nbf", -999_999_999_999_999_i64), Ok(())),
        (with("nbf", u64::MAX), Err(wrong("nbf", ClaimProblem::NotATime))),
        (with("iat", -0.5), Ok(())),
        (with("nbf", "yesterday"), Err(wrong("nbf", ClaimProblem::NotATime))),
    ];
    for (claims, expected) in cases {
        let outcome = verifier.verify(&hs256(&claims), NOW).await;
        assert_eq!(outcome.map(|_| ()), expected, "{claims}");
    }
}

#[tokio::test]
async fn the_configured_claim_names_the_user() {
    let by_name = Issuer { user_claim: "preferred_username".into(), ..issuer() };
    let verifier = Verifier::new(vec![by_name]).unwrap();
    let identity = verifier.verify(&hs256(&with("preferred_username", "al")), NOW).await.unwrap();
    let expires_at = Timestamp::from_secs(EPOCH + 600);
    let user_id = "al".parse().unwrap();
    let caller = Caller { user_id, tenant: None, allowed_channels: None };
    assert_eq!(identity, Identity { caller, scopes: None, expires_at });
    let refused = verifier.verify(&hs256(&claims()), NOW).await;
    assert_eq!(refused, Err(wrong("preferred_username", ClaimProblem::Missing)));
}

#[tokio::test]
async fn claims_name_the_tenant_the_scopes_and_the_channels() {
    let configured = Issuer { tenant_claim: Some("org".into()), scope_claim: Some("scope".into()), ..issuer() };
    let verifier = Verifier::new(vec![configured]).unwrap();
    let mut claims = with("org", "acme");
    claims["scope"] = json!("openid chat:read");
    claims["channels"] = json!(["general", "team:1"]);
    let identity = verifier.verify(&hs256(&claims), NOW).await.unwrap();
    let caller = &identity.caller;
    assert_eq!(caller.tenant.as_ref().unwrap().as_str(), "acme");
    assert!(identity.has(Scope::Read) && !identity.has(Scope::Write) && !identity.has(Scope::Manage));
    assert!(caller.reaches(&"general".parse().unwrap()) && !caller.reaches(&"other".parse().unwrap()));
    claims["scope"] = json!(["chat:write", "chat:manage"]);
    claims["channels"] = json!([]);
    let identity = verifier.verify(&hs256(&claims), NOW).await.unwrap();
    assert!(!identity.has(Scope::Read) && identity.has(Scope::Write) && identity.has(Scope::Manage));
    assert!(!identity.caller.reaches(&"general".parse().unwrap()), "limited to nothing");
    claims.as_object_mut().unwrap().remove("scope");
    assert!(!verifier.verify(&hs256(&claims), NOW).await.unwrap().has(Scope::Read), "no claim, no scope");
    for (name, value, problem) in [
        ("org", json!(7), ClaimProblem::NotAString),
        ("org", json!("a/b"), IdError::Malformed.into()),
        ("scope", json!(1), ClaimProblem::NotAList),
        ("scope", json!([1]), ClaimProblem::NotAList),
        ("channels", json!({}), ClaimProblem::NotAList),
        ("channels", json!(["a#b"]), IdError::Malformed.into()),
        ("channels", json!(null), ClaimProblem::NotAList),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        assert_eq!(verifier.verify(&hs256(&claims), NOW).await, Err(wrong(name, problem)), "{claims}");
    }
    claims.as_object_mut().unwrap().remove("org");
    let refused = verifier.verify(&hs256(&claims), NOW).await;
    assert_eq!(refused, Err(wrong("org", ClaimProblem::Missing)), "a tenant is required");

    let fixed = Issuer { tenant: Some("globex".parse().unwrap()), ..issuer() };
    let verifier = Verifier::new(vec![fixed]).unwrap();
    let identity = verifier.verify(&hs256(&with("org", "acme")), NOW).await.unwrap();
    assert_eq!(identity.caller.tenant.unwrap().as_str(), "globex");
}

#[tokio::test]
async fn what_a_token_opens_ends_with_it_and_without_leeway() {
    let verifier = Verifier::new(vec![issuer()]).unwrap();
    let end = Timestamp::from_secs(EPOCH + 600);
    let identity = verifier.verify(&hs256(&claims()), NOW).await.unwrap();
    let before = Timestamp::from_millis(end.as_millis() - 1);
    assert_eq!(identity.open_until(before), Ok(end));
    assert_eq!(identity.open_until(end), Err(AuthError::Expired));
    // A request is still accepted then, because clocks differ.
    let late = verifier.verify(&hs256(&claims()), end.plus(Duration::from_secs(30))).await.unwrap();
    assert_eq!(late.open_until(end.plus(Duration::from_secs(30))), Err(AuthError::Expired));
    assert_eq!(verifier.verify(&hs256(&claims()), end.plus(LEEWAY)).await, Err(AuthError::Expired));
}

#[test]
fn settings_need_keys_worth_the_name() {
    let new = |issuer: Issuer| Verifier::new(vec![issuer]).unwrap_err();
    assert!(matches!(Verifier::new(Vec::new()), Err(SettingsError::NoIssuer)));
    assert!(matches!(Verifier::new(vec![issuer(), issuer()]), Err(SettingsError::Twice(_))));
    assert!(matches!(new(Issuer { secret: None, ..issuer() }), SettingsError::NoKey(_)));
    let short = |algorithm, bytes: usize| Issuer {
        algorithms: vec![algorithm],
        secret: Some(Secret::new("s".repeat(bytes))),
        ..issuer()
    };
    for (algorithm, bytes) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
        assert!(matches!(new(short(algorithm, bytes - 1)), SettingsError::ShortSecret { .. }));
        assert!(Verifier::new(vec![short(algorithm, bytes)]).is_ok());
    }
    let no_key = new(Issuer { algorithms: vec![Algorithm::RS256], ..issuer() });
    assert!(matches!(no_key, SettingsError::NoKeyFor { .. }));
    let plain = new(Issuer { jwks_url: Some("http://keys.example/jwks".into()), ..issuer() });
    assert!(matches!(plain, SettingsError::Jwks(JwksError::Insecure)));
    let credentials = new(Issuer { jwks_url: Some("https://user:pass@keys.example/jwks".into()), ..issuer() });
    assert!(matches!(credentials, SettingsError::Jwks(JwksError::Credentials)));
    let other = Issuer { issuer: "other".into(), ..issuer() };
    assert!(matches!(Verifier::new(vec![issuer(), other]), Err(SettingsError::SharedSecret(_))));
    let pem = new(Issuer { secret: Some(Secret::new(include_str!("keys/rsa-a.pub.pem"))), ..issuer() });
    assert!(matches!(pem, SettingsError::PemAsSecret(_)));
    let tenants = Issuer { tenant: Some("a".parse().unwrap()), tenant_claim: Some("org".into()), ..issuer() };
    assert!(matches!(new(tenants), SettingsError::TwoTenants(_)));
    let hidden = Issuer { jwks_url: Some("https://keys.example/jwks?key=hush".into()), ..issuer() };
    assert!(!format!("{:?} {:?}", hidden.clone(), Verifier::new(vec![hidden])).contains("hush"));
    assert!(!format!("{:?} {:?}", issuer(), Verifier::new(vec![issuer()])).contains(SECRET));
}

#[test]
fn the_environment_names_one_issuer_or_a_list() {
    let read = |variables: &[(&str, &str)]| {
        let variables: std::collections::HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Issuer::read(|name| variables.get(name).cloned())
    };
    let one = read(&[("JWT_ISSUER", "i"), ("JWT_AUDIENCE", "a"), ("JWT_HS256_SECRET", SECRET)]).unwrap();
    assert_eq!((one.len(), one[0].user_claim.as_str()), (1, "sub"));
    assert!(matches!(read(&[("JWT_ISSUER", "i")]), Err(SettingsError::Missing("JWT_AUDIENCE"))));
    let list = json!([
        { "issuer": "a", "audience": "x", "secret": SECRET, "algorithms": ["HS512"] },
        { "issuer": "b", "audience": "x", "jwks_url": "https://b.example/keys", "user_claim": "uid" },
    ]);
    let two = read(&[("JWT_ISSUERS", &list.to_string())]).unwrap();
    assert_eq!((two.len(), two[1].user_claim.as_str()), (2, "uid"));
    let beside = read(&[("JWT_ISSUERS", "[]"), ("JWT_JWKS_URL", "https://a.example")]);
    assert!(matches!(beside, Err(SettingsError::Beside("JWT_JWKS_URL"))));
    let by_reference = read(&[("JWT_ISSUER", "i"), ("JWT_AUDIENCE", "a"), ("JWT_HS256_SECRET_REF", "arn:x")]).unwrap();
    assert_eq!(by_reference[0].secret_ref.as_deref(), Some("arn:x"));
    for wrong in ["", "{}", "[{}]", &format!(r#"[{{"issuer":"a","audience":"x","secret":"{SECRET}","typo":1}}]"#)] {
        let error = read(&[("JWT_ISSUERS", wrong)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    }
}
