//! Tokens that a local run accepts, signed with its secret ([`crate::secret`]).

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;
pub use crate::secret::{DEVELOPMENT_SECRET, ISSUER};

/// `aud` of every token, and the local run's `JwtAudience` parameter.
pub const AUDIENCE: &str = "switchboard-local";

/// Default lifetime of a token.
pub const DEFAULT_TTL: SignedDuration = SignedDuration::from_hours(1);

/// Time after its end during which the functions still accept a token, for clock differences.
const VERIFIER_LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// Maximum lifetime, positive or negative.
pub const MAX_TTL: SignedDuration = SignedDuration::from_hours(24 * 366);

/// Maximum number of characters of a user id, in which each escaped byte of the subject takes three.
pub const MAX_USER_ID_LENGTH: usize = 255;

/// Time between issue and end of a token that is signed as expired.
const EXPIRED_TOKEN_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// Claims of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// Time of issue, in seconds since the epoch.
    pub iat: i64,
    /// Time from which the token is valid, in seconds since the epoch.
    pub nbf: i64,
    /// Time at which the token expires, in seconds since the epoch.
    pub exp: i64,
}

/// Reason why a token cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The subject is empty, too long or a dot segment.
    #[error(
        "{0:?} is not a user: use a subject such as alice or alice@example.com, but not . or .. alone; its id has at most \
         {MAX_USER_ID_LENGTH} characters, of which each byte other than A-Z a-z 0-9 _ . : - takes 3"
    )]
    UserId(String),
    /// The subject is reserved. The functions reject tokens with it.
    #[error("{0:?} is a reserved name: use another, for example alice")]
    Reserved(String),
    /// The lifetime is not a valid duration.
    #[error(
        "{0:?} is not a lifetime: write a number with a unit, such as 90s, 15m, 1h, 2d, or -5m for an expired token"
    )]
    Ttl(String),
    /// The lifetime exceeds [`MAX_TTL`].
    #[error("a token lasts at most {} days", MAX_TTL.as_hours() / 24)]
    TtlTooLong,
    /// Signing failed.
    #[error("could not sign the token: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// Signs a token for `user` that ends `ttl` after `now`, with [`DEVELOPMENT_SECRET`].
pub fn mint(user: &str, ttl: SignedDuration, now: Timestamp) -> Result<String, TokenError> {
    sign(&Secret::development(), user, ttl, now)
}

/// Signs a token for `user` that ends `ttl` after `now`.
///
/// With a negative `ttl`, the token is expired and otherwise valid. Expiry is then the only reason to reject it.
pub fn sign(secret: &Secret, user: &str, ttl: SignedDuration, now: Timestamp) -> Result<String, TokenError> {
    check_user_id(user)?;
    let ends = end(ttl, now)?.as_second();
    let issued = if ttl.is_positive() { now.as_second() } else { ends - EXPIRED_TOKEN_LIFETIME.as_secs() };
    let claims = Claims {
        sub: user.to_owned(),
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        iat: issued,
        nbf: issued,
        exp: ends,
    };
    let key = EncodingKey::from_secret(secret.as_str().as_bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

/// Signs a token for the command line. A negative `ttl` counts from the end of the functions' leeway, so that `--ttl
/// -1s` gives a token that is rejected as expired.
pub fn for_command_line(
    secret: &Secret,
    user: &str,
    ttl: SignedDuration,
    now: Timestamp,
) -> Result<String, TokenError> {
    let ttl = if ttl.is_negative() { ttl.saturating_sub(VERIFIER_LEEWAY) } else { ttl };
    sign(secret, user, ttl, now)
}

/// Returns the end of a token with lifetime `ttl`, signed at `now`.
pub fn end(ttl: SignedDuration, now: Timestamp) -> Result<Timestamp, TokenError> {
    if is_too_long(ttl) {
        return Err(TokenError::TtlTooLong);
    }
    now.checked_add(ttl).map_err(|_| TokenError::TtlTooLong)
}

/// Parses a lifetime: `90s`, `15m`, `1h`, `1h30m`, `2d`, `1w`. A leading minus means the past. A day has 24 hours.
pub fn parse_ttl(text: &str) -> Result<SignedDuration, TokenError> {
    let unreadable = || TokenError::Ttl(text.to_owned());
    let span: Span = text.trim().parse().map_err(|_| unreadable())?;
    let ttl = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| unreadable())?;
    if is_too_long(ttl) {
        return Err(TokenError::TtlTooLong);
    }
    Ok(ttl)
}

/// `SignedDuration::abs` overflows at its minimum, so both ends are compared.
fn is_too_long(ttl: SignedDuration) -> bool {
    !(-MAX_TTL..=MAX_TTL).contains(&ttl)
}

/// Parses the subject of a user.
pub fn parse_user(text: &str) -> Result<String, TokenError> {
    check_user_id(text)?;
    Ok(text.to_owned())
}

/// User ids that the functions reject in tokens, in upper or lower case.
const RESERVED: [&str; 2] = ["agent", "system"];

/// Checks that the functions accept `user` as the subject of a token: its id is not too long, and it is neither a dot
/// segment nor a reserved name.
fn check_user_id(user: &str) -> Result<(), TokenError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    let id_length: usize = user.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
    if !(1..=MAX_USER_ID_LENGTH).contains(&id_length) || matches!(user, "." | "..") {
        return Err(TokenError::UserId(user.to_owned()));
    }
    if RESERVED.iter().any(|name| name.eq_ignore_ascii_case(user)) {
        return Err(TokenError::Reserved(user.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, TokenData, Validation, errors::ErrorKind};

    use super::*;

    fn verify(token: &str) -> Result<TokenData<Claims>, jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        jsonwebtoken::decode(token, &DecodingKey::from_secret(DEVELOPMENT_SECRET.as_bytes()), &validation)
    }

    #[test]
    fn a_minted_token_passes_strict_verification() {
        let now = Timestamp::now();
        let claims = verify(&mint("alice", DEFAULT_TTL, now).unwrap()).unwrap().claims;
        assert_eq!(claims.sub, "alice");
        assert_eq!(claims.exp - now.as_second(), 3600);
        assert_eq!(claims.nbf, now.as_second());
    }

    #[test]
    fn a_negative_lifetime_is_refused_for_its_age_and_nothing_else() {
        for ttl in ["-1s", "-5m", "-2d"] {
            let token = mint("alice", parse_ttl(ttl).unwrap(), Timestamp::now()).unwrap();
            assert_eq!(*verify(&token).unwrap_err().kind(), ErrorKind::ExpiredSignature, "{ttl}");

            let mut ageless = Validation::new(Algorithm::HS256);
            ageless.set_audience(&[AUDIENCE]);
            ageless.validate_exp = false;
            ageless.validate_nbf = true;
            let key = DecodingKey::from_secret(DEVELOPMENT_SECRET.as_bytes());
            let claims = jsonwebtoken::decode::<Claims>(&token, &key, &ageless).unwrap().claims;
            assert!(claims.iat <= claims.nbf && claims.nbf < claims.exp, "{claims:?}");
        }
    }

    #[test]
    fn a_zero_lifetime_is_over_at_once() {
        let token = mint("alice", SignedDuration::ZERO, Timestamp::now() - SignedDuration::from_secs(1)).unwrap();
        assert_eq!(*verify(&token).unwrap_err().kind(), ErrorKind::ExpiredSignature);
    }

    #[test]
    fn lifetimes_are_read_with_their_sign_and_unit() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("1h", 3600), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), ("-5m", -300)]
        {
            assert_eq!(parse_ttl(text).unwrap().as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_no_lifetime_is_refused_with_an_example() {
        for text in ["", "1", "h", "soon", "1 fortnight", "1mo", "1y"] {
            let error = parse_ttl(text).unwrap_err().to_string();
            assert!(error.contains("-5m"), "{text:?}: {error}");
        }
        assert!(matches!(parse_ttl("3000d"), Err(TokenError::TtlTooLong)));
        assert!(matches!(mint("alice", SignedDuration::MAX, Timestamp::now()), Err(TokenError::TtlTooLong)));
        assert!(matches!(mint("alice", SignedDuration::MIN, Timestamp::now()), Err(TokenError::TtlTooLong)));
    }

    #[test]
    fn user_ids_are_those_of_the_api() {
        let now = Timestamp::now();
        let longest = "x".repeat(MAX_USER_ID_LENGTH);
        let escaped = "@".repeat(MAX_USER_ID_LENGTH / 3);
        for user in ["a", "alice", "A.b_c:d-9", "...", "al ice", "alice@example.com", "zoë", "a/b", &longest, &escaped]
        {
            assert!(mint(user, DEFAULT_TTL, now).is_ok(), "{user:?}");
            assert!(chat::model::id::UserId::of_subject(None, user).is_ok(), "the functions accept {user:?}");
        }
        let too_long = "x".repeat(MAX_USER_ID_LENGTH + 1);
        let too_long_id = "@".repeat(MAX_USER_ID_LENGTH / 3 + 1);
        for user in ["", ".", "..", &too_long, &too_long_id] {
            let error = mint(user, DEFAULT_TTL, now).unwrap_err();
            assert!(error.to_string().contains("is not a user"), "{error}");
            assert!(chat::model::id::UserId::of_subject(None, user).is_err(), "the functions refuse {user:?}");
        }
        for user in ["agent", "system", "Agent"] {
            assert!(chat::model::id::ReservedNames::default().user(user).is_err(), "the functions refuse {user}");
            assert!(matches!(mint(user, DEFAULT_TTL, now), Err(TokenError::Reserved(_))), "{user}");
        }
    }
}
