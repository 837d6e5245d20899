//! Reasons for refused tokens: complete for the operator, partial for the caller.

use chat::model::id::IdError;

use crate::{AuthError, TOKEN_BYTES};

/// Maximum length of a key id, in bytes. Issuers use SHA-256 thumbprints (RFC 7638), numbers, and ARNs of keys.
pub(crate) const KID_BYTES: usize = 256;

/// The problem of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimProblem {
    /// The token does not contain the claim.
    #[error("is missing")]
    Missing,
    /// The claim is not a string.
    #[error("must be a string")]
    NotAString,
    /// The claim is not a list.
    #[error("must be an array of strings, or a string with spaces between them")]
    NotAList,
    /// The claim is not a time.
    #[error("must be a number of seconds since 1970-01-01")]
    NotATime,
    /// `iss` is none of the configured issuers.
    #[error("is not an issuer that this service trusts")]
    UnknownIssuer,
    /// `aud` does not contain the configured audience.
    #[error("does not name the audience of this service")]
    OtherAudience,
    /// The claim is not an id, or contains an invalid id.
    #[error("{0}")]
    Id(#[from] IdError),
}

impl ClaimProblem {
    /// Returns the kind of the problem in logs.
    const fn fault(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotAString | Self::NotAList | Self::NotATime => "malformed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::OtherAudience => "other_audience",
            Self::Id(error) => error.code(),
        }
    }
}

/// The reason for a refused token. Contains names from the configuration, and no content of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no token")]
    Missing,
    #[error("it is longer than {TOKEN_BYTES} bytes")]
    TooLong,
    #[error("it is not three parts in base64url")]
    NotThreeParts,
    #[error("its header is no JSON object of a JWT, or has a name twice")]
    Header,
    #[error("its payload is no JSON object, or has a name twice")]
    Payload,
    #[error("its header names a critical extension, or another type than JWT or at+jwt")]
    Extension,
    #[error("its alg is none that the issuer is configured for")]
    Algorithm,
    #[error("its kid is missing, or longer than {KID_BYTES} bytes")]
    NoKid,
    #[error("its signature does not have the length that its alg gives")]
    SignatureLength,
    #[error("its exp has passed")]
    Expired,
    #[error("its {claim} has not come")]
    NotYetValid {
        /// `nbf` or `iat`.
        claim: &'static str,
    },
    #[error("its claim {name} {problem}")]
    Claim {
        /// The configured name of the claim.
        name: String,
        problem: ClaimProblem,
    },
    #[error("its kid is in no key of the issuer's set")]
    UnknownKey,
    #[error("the key of its kid is for other algorithms")]
    OtherAlgorithm,
    #[error("its signature does not verify")]
    Signature,
    #[error("the issuer's key set is not available")]
    KeysUnavailable,
}

impl Refusal {
    pub(crate) fn claim(name: &str, problem: impl Into<ClaimProblem>) -> Self {
        Self::Claim { name: name.to_owned(), problem: problem.into() }
    }

    /// Returns the name of the claim that is wrong, if it is a claim.
    pub(crate) fn claim_name(&self) -> Option<&str> {
        match self {
            Self::Claim { name, .. } => Some(name),
            Self::Expired => Some("exp"),
            Self::NotYetValid { claim } => Some(claim),
            _ => None,
        }
    }

    /// Returns the kind of the refusal in logs.
    pub(crate) const fn fault(&self) -> &'static str {
        match self {
            Self::Claim { problem, .. } => problem.fault(),
            Self::Expired => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Missing | Self::TooLong | Self::NotThreeParts | Self::Header | Self::Payload | Self::Extension => {
                "malformed_token"
            }
            Self::Algorithm
            | Self::NoKid
            | Self::SignatureLength
            | Self::UnknownKey
            | Self::OtherAlgorithm
            | Self::Signature => "signature",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

impl From<Refusal> for AuthError {
    /// Returns the part that the caller receives. The names of claims are not secret, since every user's token contains
    /// them. All faults of keys and signatures are one, so that no caller learns which key ids exist.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self::Missing,
            Refusal::Expired => Self::Expired,
            Refusal::NotYetValid { .. } => Self::NotYetValid,
            Refusal::KeysUnavailable => Self::KeysUnavailable,
            Refusal::Claim { name, problem } => Self::Claim { name, problem },
            Refusal::TooLong
            | Refusal::NotThreeParts
            | Refusal::Header
            | Refusal::Payload
            | Refusal::Extension
            | Refusal::Algorithm
            | Refusal::NoKid
            | Refusal::SignatureLength
            | Refusal::UnknownKey
            | Refusal::OtherAlgorithm
            | Refusal::Signature => Self::Invalid,
        }
    }
}
