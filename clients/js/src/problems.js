// A class for each problem of the API.

import { problemClass } from "./errors.js";

/** Fields, parameters or headers break rules; `errors` lists each. (`400`) */
export const InvalidRequestError = /* @__PURE__ */ problemClass("invalid_request");
/** The request cannot be read: JSON, percent-encoding, or a header that stands twice. (`400`) */
export const MalformedRequestError = /* @__PURE__ */ problemClass("malformed_request");
/** The request has no bearer token. (`401`) */
export const MissingTokenError = /* @__PURE__ */ problemClass("missing_token");
/** The token is not signed by a trusted issuer, or a claim is missing or wrong. (`401`) */
export const InvalidTokenError = /* @__PURE__ */ problemClass("invalid_token");
/** The token's `exp` has passed. (`401`) */
export const TokenExpiredError = /* @__PURE__ */ problemClass("token_expired");
/** The token's `nbf` or `iat` has not come. (`401`) */
export const TokenNotYetValidError = /* @__PURE__ */ problemClass("token_not_yet_valid");
/** The token lacks the scope that `WWW-Authenticate` names. (`403`) */
export const MissingScopeError = /* @__PURE__ */ problemClass("missing_scope");
/** The caller's role in the channel is too low. (`403`) */
export const NotPermittedError = /* @__PURE__ */ problemClass("not_permitted");
/** Only members of the channel may do this. (`403`) */
export const NotAMemberError = /* @__PURE__ */ problemClass("not_a_member");
/** The token is limited to other channels, and cannot create this one. (`403`) */
export const ChannelNotAllowedError = /* @__PURE__ */ problemClass("channel_not_allowed");
/** The channel does not exist, or the caller may not know of it. (`404`) */
export const ChannelNotFoundError = /* @__PURE__ */ problemClass("channel_not_found");
/** The message does not exist or has expired; for edits and reactions, also if it is deleted. (`404`) */
export const MessageNotFoundError = /* @__PURE__ */ problemClass("message_not_found");
/** The user is not a member of the channel and, for `DELETE`, not invited to it. (`404`) */
export const MemberNotFoundError = /* @__PURE__ */ problemClass("member_not_found");
/** The connection is closed or expired, or belongs to another user. (`404`) */
export const ConnectionNotFoundError = /* @__PURE__ */ problemClass("connection_not_found");
/** The agent is not writing a reply to this message; for `GET`, also none is stored. (`404`) */
export const ReplyNotFoundError = /* @__PURE__ */ problemClass("reply_not_found");
/** The API has no such path. (`404`) */
export const NoSuchRouteError = /* @__PURE__ */ problemClass("no_such_route");
/** The path does not have the method. (`405`) */
export const MethodNotAllowedError = /* @__PURE__ */ problemClass("method_not_allowed");
/** The channel is archived and read-only. (`409`) */
export const ChannelArchivedError = /* @__PURE__ */ problemClass("channel_archived");
/** Another channel has this id. (`409`) */
export const ChannelIdTakenError = /* @__PURE__ */ problemClass("channel_id_taken");
/** The channel would have no owner. (`409`) */
export const LastOwnerError = /* @__PURE__ */ problemClass("last_owner");
/** The message has the maximum number of different emoji, or of users for this emoji. (`409`) */
export const TooManyReactionsError = /* @__PURE__ */ problemClass("too_many_reactions");
/** The user has the maximum number of open invitations. (`409`) */
export const TooManyInvitationsError = /* @__PURE__ */ problemClass("too_many_invitations");
/** The caller has created the maximum number of existing channels. (`409`) */
export const TooManyChannelsError = /* @__PURE__ */ problemClass("too_many_channels");
/** Changes after the number in `after` are no longer stored, or another channel had the id. (`410`) */
export const ChangesExpiredError = /* @__PURE__ */ problemClass("changes_expired");
/** The version is not the one that `If-Match` requires. (`412`) */
export const VersionMismatchError = /* @__PURE__ */ problemClass("version_mismatch");
/** The body is larger than the API accepts. (`413`) */
export const BodyTooLargeError = /* @__PURE__ */ problemClass("body_too_large");
/** The body is declared as something other than JSON in UTF-8, or has a `Content-Encoding`. (`415`) */
export const UnsupportedMediaTypeError = /* @__PURE__ */ problemClass("unsupported_media_type");
/** The `Idempotency-Key` was used for another request. (`422`) */
export const IdempotencyKeyReusedError = /* @__PURE__ */ problemClass("idempotency_key_reused");
/** The caller does this too often; `RateLimit` and `RateLimit-Policy` say how often it may. (`429`) */
export const RateLimitedError = /* @__PURE__ */ problemClass("rate_limited");
/** The gateway has more requests than it passes on, from all callers or from one address. (`429`) */
export const ThrottledError = /* @__PURE__ */ problemClass("throttled");
/** The service failed. The request may still have taken effect. (`500`) */
export const InternalErrorError = /* @__PURE__ */ problemClass("internal_error");
/** The function behind the gateway failed. The request may still have taken effect. (`502`) */
export const BadGatewayError = /* @__PURE__ */ problemClass("bad_gateway");
/** Too many requests change the same thing at once. (`503`) */
export const ChannelBusyError = /* @__PURE__ */ problemClass("channel_busy");
/** The database did not answer. The request may still have taken effect. (`503`) */
export const StoreUnavailableError = /* @__PURE__ */ problemClass("store_unavailable");
/** The issuer's keys cannot be read, so the token cannot be checked. (`503`) */
export const KeysUnavailableError = /* @__PURE__ */ problemClass("keys_unavailable");
/** The function behind the gateway took too long. The request may still have taken effect. (`504`) */
export const GatewayTimeoutError = /* @__PURE__ */ problemClass("gateway_timeout");
