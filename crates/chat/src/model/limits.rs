//! Every limit of the domain, in one place.

use std::time::Duration;

use crate::model::token_bucket::Bucket;

/// Longest id of a channel, user, connection: characters of `[A-Za-z0-9_.:-]`.
pub const ID_CHARS: usize = 128;

/// Longest `Idempotency-Key`: visible ASCII characters.
pub const IDEMPOTENCY_KEY_CHARS: usize = 255;

/// Largest number of a message: what a client in JavaScript can count to (2^53 - 1).
pub const LARGEST_SEQ: u64 = 9_007_199_254_740_991;

/// Longest content of a message: bytes of UTF-8.
pub const CONTENT_BYTES: usize = 32_768;

/// Largest metadata of a message: bytes of its compact JSON.
pub const METADATA_BYTES: usize = 4_096;

/// Deepest nesting of metadata. `DynamoDB` allows 32 levels for the whole item ("Constraints in Amazon DynamoDB").
pub const METADATA_DEPTH: usize = 16;

/// Longest display name of a channel: characters.
pub const CHANNEL_NAME_CHARS: usize = 100;

/// Longest instructions for a channel's agent: bytes of UTF-8.
pub const AGENT_INSTRUCTIONS_BYTES: usize = 4_096;

/// Longest name of an agent's model: characters.
pub const AGENT_MODEL_CHARS: usize = 100;

/// Longest retention of messages: days.
pub const RETENTION_DAYS: u32 = 3_650;

/// Attempts at one change of a channel's settings or members when others change them at the same time.
pub const CHANGE_ATTEMPTS: u32 = 8;

/// How long a handshake may take from the moment that its connection is stored: the time of an integration
/// ("Quotas for configuring and running a `WebSocket` API").
pub const HANDSHAKE_DURATION: Duration = Duration::from_secs(29);

/// How long a removal waits for a socket that is still being opened, so that it can be closed.
pub const OPENING_SOCKET_DURATION: Duration = Duration::from_secs(2);

/// How long a delivery may decide by a [`Gate`](crate::model::connection::Gate) that it has read.
pub const AUTHORITY_DURATION: Duration = Duration::from_secs(1);

/// Longest time that one push may take, from the decision to make it.
pub const PUSH_DURATION: Duration = Duration::from_secs(3);

/// After so long, every push that was decided before a change of a gate has ended.
pub const SHUT_OUT_DURATION: Duration = AUTHORITY_DURATION.saturating_add(PUSH_DURATION);

/// How long one function works on a pending end before another may take it over, unless the lease is extended.
pub const PENDING_LEASE_DURATION: Duration = Duration::from_secs(20);

/// Subscriptions that are ended at a time.
pub const ENDING_PAGE: u16 = 100;

/// How long a gate refuses what a change has ended: longer than any connection lasts.
pub const GATE_DURATION: Duration = Duration::from_hours(3);

/// Largest page of a list or of the history.
pub const PAGE_ITEMS: u16 = 100;

/// Most JSON of a page of messages, in bytes, unless it has but one message. A function's answer may have 6 MB ("Lambda
/// quotas") and holds the page as a JSON string, in which each quote and backslash takes two bytes.
pub const PAGE_BYTES: usize = 2_500_000;

/// Page size when none is asked for.
pub const DEFAULT_PAGE_ITEMS: u16 = 50;

/// Most channels that one connection may subscribe to.
pub const CHANNELS_PER_CONNECTION: usize = 100;

/// How long an invitation may be accepted.
pub const INVITATION_DURATION: Duration = Duration::from_hours(24 * 30);

/// Invitations of one user that wait for an answer.
pub const INVITATIONS_PER_USER: usize = 100;

/// Connections that one user may have at once, unless the deployment says otherwise.
pub const CONNECTIONS_PER_USER: usize = 20;

/// How long a ticket for a handshake lives.
pub const TICKET_DURATION: Duration = Duration::from_mins(1);

/// Kinds of reactions to one message.
pub const REACTIONS_PER_MESSAGE: usize = 20;

/// Users who react to one message in one way.
pub const USERS_PER_REACTION: usize = 100;

/// Users of a reaction that are named to clients; the rest is counted.
pub const USERS_LISTED_PER_REACTION: usize = 10;

/// Subscriptions of a channel up to which its members are told who comes and goes, unless the deployment says
/// otherwise: in a crowd nobody watches, and each arrival would be a push to everybody.
pub const PRESENCE_SUBSCRIPTIONS: usize = 200;

/// Sockets that one look at a channel's presence asks after.
pub const PRESENCE_PROBES: usize = 100;

/// How often a user may say to be typing in a channel.
pub const TYPING_BUCKET: Bucket = Bucket { every: Duration::from_secs(2), burst: 3 };

/// Sockets up to which an ephemeral event is pushed by the function that took it.
pub const TYPING_PUSHES: usize = 50;

/// How far back the maintenance looks for sockets whose token has ended; longer than it may be out of order, shorter than
/// API Gateway's own limits.
pub const ENDED_SOCKETS_MINUTES: i64 = 15;

/// Pending ends that one run of the maintenance function works on.
pub const MAX_PENDING_ENDS_PER_RUN: usize = 100;

/// Frames of a client on one socket that are answered. A client pings at most every few minutes.
pub const FRAME_BUCKET: Bucket = Bucket { every: Duration::from_secs(2), burst: 20 };

/// Frames of a client on one socket that are taken. The socket of a client that sends more is closed.
pub const FRAME_FLOOD_BUCKET: Bucket = Bucket { every: Duration::from_secs(1), burst: 100 };

/// Sockets whose budgets one execution environment keeps, about 2 MB.
pub const SOCKETS_WITH_BUDGETS: usize = 10_000;

/// Largest frame: API Gateway's `WebSocket` payload limit ("Quotas for configuring and running a WebSocket API").
pub const FRAME_BYTES: usize = 128 * 1024;

/// How long a connection may last: API Gateway ends it after 2 hours (same page).
pub const CONNECTION_DURATION: Duration = Duration::from_hours(2);

/// How long a request may be repeated under its idempotency key.
pub const IDEMPOTENCY_DURATION: Duration = Duration::from_hours(24);

/// Attempts at one append before it is given up as contended.
pub const APPEND_ATTEMPTS: u32 = 200;

/// Time for all attempts at one append. Well below API Gateway's 29 s and the function's own time-out.
pub const APPEND_DURATION: Duration = Duration::from_secs(7);

/// What a client is told to wait after a contended append.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a claim on a message lasts unless it is renewed: how long an abandoned one holds the next worker up.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// Between two renewals of a claim; also how long a reply goes on after a user has stopped it.
pub const LEASE_RENEWAL_INTERVAL: Duration = Duration::from_secs(1);

/// Longest silence of a model before and within a reply, after which it counts as gone. A server on one's own machine may
/// have to load its model first.
pub const MODEL_IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Time that must be left of an invocation for a call of a model to begin.
pub const MIN_TIME_FOR_MODEL_CALL: Duration = Duration::from_secs(15);

/// How long a reply may be written that is kept as it is when the invocation ends, in place of being written anew.
pub const MIN_PARTIAL_REPLY_DURATION: Duration = Duration::from_mins(2);

/// Failures of a model, in one go, after which a message is given up.
pub const MODEL_FAILURES: u32 = 3;

/// Calls of a model for one message, over all workers that had it: one whose workers vanish again and again is given up.
/// Fewer than the deliveries of its record (`MaximumRetryAttempts` of the mapping, and the first), so that somebody is left
/// to say so.
pub const MODEL_CALLS: u32 = 5;

/// Longest wait that a busy model may ask for; of one that asks for more, the message is given up at once.
pub const MAX_MODEL_RETRY_AFTER: Duration = Duration::from_mins(2);

/// Messages before the question that a model gets to read at most.
pub const CONTEXT_MESSAGES: u16 = 50;

/// Between two pieces of a draft that are shown.
pub const DELTA_INTERVAL: Duration = Duration::from_millis(100);

/// How long a push may take of what is worth nothing later.
pub const EPHEMERAL_PUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Words of a draft that are shown at once: bytes of UTF-8.
pub const DELTA_BYTES: usize = 256;

/// Attempts at one post to one socket before it is handed over.
pub const PUSH_ATTEMPTS: u32 = 4;

/// A push that takes as long is noted, with its connection.
pub const SLOW_PUSH: Duration = Duration::from_secs(1);

/// Posts under way at once, over all sockets of a delivery.
pub const PUSH_CONCURRENCY: usize = 64;

/// Channels of one batch that are worked on at once.
pub const CHANNEL_CONCURRENCY: usize = 16;

/// Sockets that one invocation of `SendMessageFunction` takes.
pub const SHARD_CONNECTIONS: usize = 500;

/// Bytes of frames in one asynchronous invocation of `SendMessageFunction`. Lambda takes 1 MB ("Lambda quotas");
/// this leaves room for a shard of targets.
pub const SHARD_BYTES: usize = 600_000;

/// Hand-overs of a socket's frames from one `SendMessageFunction` to the next before they are given up.
pub const MAX_FAN_OUT_ATTEMPTS: u32 = 3;

/// Kept back from the time that an invocation has left, to hand over what could not be pushed.
pub const DEADLINE_MARGIN: Duration = Duration::from_secs(2);
