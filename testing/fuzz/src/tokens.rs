//! Tokens of the local run's issuer, and their names in an input: a fuzzer cannot guess a signature.

use std::sync::LazyLock;

use auth::{Issuer, Secret, Verifier};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use local::token::{AUDIENCE, DEVELOPMENT_SECRET, ISSUER};
use serde_json::json;

/// Users that have tokens.
pub const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// 2100-01-01.
pub const LATER: i64 = 4_102_444_800;

/// Names such as `@alice` in an input, and the tokens that replace them. `@far` is a token of alice with an extremely
/// late expiry, as of issuers that write milliseconds.
static NAMED: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let mut named: Vec<(String, String)> =
        USERS.iter().map(|user| (format!("@{user}"), of_user(user, LATER))).collect();
    named.push(("@far".to_owned(), of_user("alice", LATER * 1_000)));
    named
});

/// Returns a verifier that trusts only this issuer.
pub fn verifier() -> Verifier {
    let issuer = Issuer {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        secret: Some(Secret::new(DEVELOPMENT_SECRET)),
        scope_claim: None,
        ..Issuer::default()
    };
    Verifier::new(vec![issuer]).expect("the issuer is complete")
}

/// Returns a token of a user.
pub fn of_user(user: &str, expires_at: i64) -> String {
    let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": user, "exp": expires_at });
    signed(br#"{"alg":"HS256","typ":"JWT"}"#, claims.to_string().as_bytes(), DEVELOPMENT_SECRET)
}

/// Signs bytes with HS256.
pub fn signed(header: &[u8], claims: &[u8], secret: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HMAC signs");
    format!("{message}.{signature}")
}

/// Returns the text with tokens in place of their names, and whether it contained a name.
pub fn named(text: &str) -> (String, bool) {
    let mut text = text.to_owned();
    let mut any = false;
    for (name, token) in NAMED.iter() {
        if text.contains(name.as_str()) {
            text = text.replace(name.as_str(), token);
            any = true;
        }
    }
    (text, any)
}
