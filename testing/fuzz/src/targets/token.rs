//! Tokens: an altered token is refused. Of a signed token, only claims that it contains exactly once are accepted.

use std::sync::LazyLock;

use auth::{AuthError, Identity, TOKEN_BYTES, Verifier};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chat::model::time::Timestamp;
use local::token::{AUDIENCE, DEVELOPMENT_SECRET, ISSUER};
use serde_json::Value;

use crate::{
    functions::block_on,
    tokens::{LATER, of_user, signed, verifier},
};

const NOW: i64 = 1_796_000_000;
const HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(verifier);
static VALID: LazyLock<String> = LazyLock::new(|| of_user("alice", LATER));

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => altered(rest),
        1 => claims(HEADER, rest),
        2 => {
            // Header and claims, separated by a line feed.
            let (header, claims_) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(0));
            claims(header, claims_.get(1..).unwrap_or_default());
        }
        _ => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            assert!(verify(text).is_err() || text == VALID.as_str());
        }
    }
}

fn verify(token: &str) -> Result<Identity, AuthError> {
    block_on(VERIFIER.verify(token, Timestamp::from_secs(NOW)))
}

/// Inserts, replaces or removes bytes of a valid token: three bytes give the operation and position.
fn altered(edits: &[u8]) {
    let valid = VALID.as_bytes();
    let mut token = valid.to_vec();
    for edit in edits.chunks_exact(3) {
        let at = (usize::from(edit[0]) * 256 + usize::from(edit[1])) % (token.len() + 1);
        match edit[2] {
            byte if at == token.len() => token.push(byte),
            0 => drop(token.remove(at)),
            byte @ 128.. => token.insert(at, byte & 0x7f),
            byte => token[at] = byte,
        }
    }
    let Ok(token) = String::from_utf8(token) else { return };
    if token.as_bytes() == valid {
        assert!(verify(&token).is_ok());
    } else {
        assert!(verify(&token).is_err(), "{token} was accepted in place of {}", VALID.as_str());
    }
}

/// Signs arbitrary claims with the right key, with another key, and not at all.
fn claims(header: &[u8], claims: &[u8]) {
    let token = signed(header, claims, DEVELOPMENT_SECRET);
    let forged = signed(header, claims, "not the secret, but as long as it has to be for this");
    assert!(verify(&forged).is_err());
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    assert!(verify(&unsigned).is_err());
    let Ok(identity) = verify(&token) else { return };
    assert!(token.len() <= TOKEN_BYTES);
    let header: Value = serde_json::from_slice(header).expect("a header is JSON");
    let claims: Value = serde_json::from_slice(claims).expect("claims are JSON");
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none());
    assert_eq!(claims["iss"], ISSUER);
    let audience = &claims["aud"];
    assert!(audience == AUDIENCE || audience.as_array().is_some_and(|all| all.contains(&AUDIENCE.into())));
    assert_eq!(claims["sub"].as_str(), identity.caller.user_id.subject().as_deref());
    assert!(claims["exp"].as_f64().is_some_and(|at| at > (NOW - 61) as f64));
    for name in ["nbf", "iat"] {
        assert!(claims.get(name).is_none_or(|from| from.as_f64().is_some_and(|from| from <= (NOW + 61) as f64)));
    }
    assert_eq!(identity.caller.allowed_channels.is_some(), claims.get("channels").is_some());
    assert!(!identity.caller.user_id.is_reserved() && !matches!(identity.caller.user_id.as_str(), "." | ".."));
    // It is stored and returned; a token within the leeway opens no socket.
    let end = identity.open_until(Timestamp::from_secs(NOW));
    assert_eq!(end.is_ok(), claims["exp"].as_f64().is_some_and(|at| at.floor() > NOW as f64));
    let _ = end.map(|end| end.to_string());
}
