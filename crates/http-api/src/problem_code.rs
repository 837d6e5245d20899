//! The codes of problems: one table, from which `docs/reference/problems.md` is generated.

use http::StatusCode;
use serde::{Serialize, Serializer};

/// Declares the codes. Each has a status, its text, its meaning, and what the client does.
macro_rules! problem_codes {
    ($($name:ident $status:ident $text:literal $meaning:literal $remedy:literal)*) => {
        /// Code of a problem: stable and machine-readable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ProblemCode {
            $(#[doc = $meaning] $name,)*
        }

        impl ProblemCode {
            /// All codes, by their status.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the code as it stands in a problem.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Returns the status of a problem with this code.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }

            /// Returns the meaning of the code, as a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }

            /// Returns what the client does, as a sentence.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => $remedy,)*
                }
            }
        }
    };
}

problem_codes! {
    InvalidRequest BAD_REQUEST "invalid_request"
        "Fields, parameters or headers break rules; `errors` lists each."
        "Correct what `errors` names."
    MalformedRequest BAD_REQUEST "malformed_request"
        "The request cannot be read: JSON, percent-encoding, or a header that stands twice."
        "Correct the client."
    MissingToken UNAUTHORIZED "missing_token"
        "The request has no bearer token."
        "Send `Authorization: Bearer <token>`."
    InvalidToken UNAUTHORIZED "invalid_token"
        "The token is not signed by a trusted issuer, or a claim is missing or wrong."
        "Get another token from the issuer."
    TokenExpired UNAUTHORIZED "token_expired"
        "The token's `exp` has passed."
        "Get a new token from the issuer, and send the request again."
    TokenNotYetValid UNAUTHORIZED "token_not_yet_valid"
        "The token's `nbf` or `iat` has not come."
        "Wait, or correct the issuer's clock."
    MissingScope FORBIDDEN "missing_scope"
        "The token lacks the scope that `WWW-Authenticate` names."
        "Get a token with the scope."
    NotPermitted FORBIDDEN "not_permitted"
        "The caller's role in the channel is too low."
        "Ask an owner of the channel for the role that `detail` names."
    NotAMember FORBIDDEN "not_a_member"
        "Only members of the channel may do this."
        "Join the channel."
    ChannelNotAllowed FORBIDDEN "channel_not_allowed"
        "The token is limited to other channels, and cannot create this one."
        "Get a token that names the channel, or has no limit."
    ChannelNotFound NOT_FOUND "channel_not_found"
        "The channel does not exist, or the caller may not know of it."
        "Remove the channel from the view."
    MessageNotFound NOT_FOUND "message_not_found"
        "The message does not exist or has expired; for edits and reactions, also if it is deleted."
        "Remove the message from the view."
    MemberNotFound NOT_FOUND "member_not_found"
        "The user is not a member of the channel and, for `DELETE`, not invited to it."
        "Read the list of members again."
    ConnectionNotFound NOT_FOUND "connection_not_found"
        "The connection is closed or expired, or belongs to another user."
        "Open another socket."
    ReplyNotFound NOT_FOUND "reply_not_found"
        "The agent is not writing a reply to this message; for `GET`, also none is stored."
        "Read the reply in the history."
    NoSuchRoute NOT_FOUND "no_such_route"
        "The API has no such path."
        "Correct the client's base address or path."
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed"
        "The path does not have the method."
        "Use a method that `Allow` lists."
    ChannelArchived CONFLICT "channel_archived"
        "The channel is archived and read-only."
        "Ask an owner to restore the channel."
    ChannelIdTaken CONFLICT "channel_id_taken"
        "Another channel has this id."
        "Choose another id, or leave it out."
    LastOwner CONFLICT "last_owner"
        "The channel would have no owner."
        "Make another member an owner first, or delete the channel."
    TooManyReactions CONFLICT "too_many_reactions"
        "The message has the maximum number of different emoji, or of users for this emoji."
        "Use an emoji that the message has."
    TooManyInvitations CONFLICT "too_many_invitations"
        "The user has the maximum number of open invitations."
        "Invite the user again after some are answered."
    TooManyChannels CONFLICT "too_many_channels"
        "The caller has created the maximum number of existing channels."
        "Delete a channel first."
    ChangesExpired GONE "changes_expired"
        "Changes after the number in `after` are no longer stored, or another channel had the id."
        "Read the messages again, and then the changes after their `rev`."
    VersionMismatch PRECONDITION_FAILED "version_mismatch"
        "The version is not the one that `If-Match` requires."
        "Read it again, and send its `ETag`."
    BodyTooLarge PAYLOAD_TOO_LARGE "body_too_large"
        "The body is larger than the API accepts."
        "Send less."
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type"
        "The body is declared as something other than JSON in UTF-8, or has a `Content-Encoding`."
        "Send JSON as `application/json`."
    IdempotencyKeyReused UNPROCESSABLE_ENTITY "idempotency_key_reused"
        "The `Idempotency-Key` was used for another request."
        "Use a new key."
    RateLimited TOO_MANY_REQUESTS "rate_limited"
        "The caller does this too often; `RateLimit` and `RateLimit-Policy` say how often it may."
        "Wait as long as `Retry-After` says, and send the same request again."
    Throttled TOO_MANY_REQUESTS "throttled"
        "The gateway has more requests than it passes on, from all callers or from one address."
        "Wait as long as `Retry-After` says, longer with each repetition, and send the same request again."
    InternalError INTERNAL_SERVER_ERROR "internal_error"
        "The service failed. The request may still have taken effect."
        "Send the same request again, with its `Idempotency-Key`; report `instance` if it persists."
    BadGateway BAD_GATEWAY "bad_gateway"
        "The function behind the gateway failed. The request may still have taken effect."
        "Send the same request again, with its `Idempotency-Key`."
    ChannelBusy SERVICE_UNAVAILABLE "channel_busy"
        "Too many requests change the same thing at once."
        "Wait as long as `Retry-After` says, and send the same request again."
    StoreUnavailable SERVICE_UNAVAILABLE "store_unavailable"
        "The database did not answer. The request may still have taken effect."
        "Wait as long as `Retry-After` says, and send the same request again, with its `Idempotency-Key`."
    KeysUnavailable SERVICE_UNAVAILABLE "keys_unavailable"
        "The issuer's keys cannot be read, so the token cannot be checked."
        "Wait as long as `Retry-After` says, and send the same request again."
    GatewayTimeout GATEWAY_TIMEOUT "gateway_timeout"
        "The function behind the gateway took too long. The request may still have taken effect."
        "Send the same request again, with its `Idempotency-Key`."
}

impl Serialize for ProblemCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_stands_once_in_snake_case_and_by_its_status() {
        let codes: BTreeSet<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), ProblemCode::ALL.len());
        assert!(codes.iter().all(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        assert!(ProblemCode::ALL.is_sorted_by_key(|code| code.status()));
        for code in ProblemCode::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(code.meaning().ends_with('.') && code.remedy().ends_with('.'), "{code:?}");
        }
    }
}
