//! Limits of the domain.

use std::time::Duration;

use crate::model::token_bucket::Bucket;

/// Maximum length of an id of a channel, tenant or connection, in characters of `[A-Za-z0-9_.:-]`.
pub const ID_CHARS: usize = 128;

/// Maximum length of the id of a user, in characters. OIDC Core, section 2, allows 255 ASCII characters in a
/// subject. An escaped byte takes three characters.
pub const USER_ID_CHARS: usize = 255;

/// Maximum length of an `Idempotency-Key`, in visible ASCII characters.
pub const IDEMPOTENCY_KEY_CHARS: usize = 255;

/// Maximum `seq`: the largest integer that JavaScript represents exactly (2^53 - 1).
pub const LARGEST_SEQ: u64 = 9_007_199_254_740_991;

/// Maximum content of a message, in bytes of UTF-8.
pub const CONTENT_BYTES: usize = 32_768;

/// Maximum metadata of a message, in bytes of compact JSON.
pub const METADATA_BYTES: usize = 4_096;

/// Maximum nesting of metadata, in levels. A store limits the nesting of a whole message.
pub const METADATA_DEPTH: usize = 16;

/// Maximum display name of a channel, in characters.
pub const CHANNEL_NAME_CHARS: usize = 100;

/// Maximum length of a search key, in bytes. A folded name may be eighteen times as long as the name (U+FDFA). A store
/// must be able to order keys of this length.
pub const SEARCH_KEY_BYTES: usize = 800;

/// Maximum instructions for a channel's agent, in bytes of UTF-8.
pub const AGENT_INSTRUCTIONS_BYTES: usize = 4_096;

/// Maximum name of an agent's model, in characters.
pub const AGENT_MODEL_CHARS: usize = 100;

/// Maximum retention of messages, in days.
pub const RETENTION_DAYS: u32 = 3_650;

/// Maximum attempts at one change of a channel's settings or members, or of a connection's token, when other writers
/// change them too.
pub const CHANGE_ATTEMPTS: u32 = 8;

/// Default time for which the record of a change of a message is stored. A deployment may set another. A client that
/// was away for longer reads the messages again.
pub const CHANGE_DURATION: Duration = Duration::from_hours(24 * 30);

/// Maximum age of a cached number of a channel's last change. An older one is read again with the channel head.
pub const CACHED_REV_DURATION: Duration = Duration::from_mins(10);

/// Maximum number of tokens that an environment takes at once for the messages of a sender.
pub const HANDFUL_TOKENS: u32 = 10;

/// Part of a sender's tokens that one environment takes at most: one of so many. A sender with fewer than twice as many
/// tokens takes one at a time.
pub const HANDFUL_SHARE: u32 = 4;

/// Intervals between the polls of a request that waits. The last one repeats.
pub const WAIT_POLL_INTERVALS: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];

/// Rate of a user's requests that wait.
pub const WAIT_BUCKET: Bucket = Bucket { every: Duration::from_secs(2), burst: 5 };

/// Maximum wait of a removal for a socket that is being opened, so that it can be closed.
pub const OPENING_SOCKET_DURATION: Duration = Duration::from_secs(2);

/// Maximum age of a [`Gate`](crate::model::connection::Gate) that a delivery uses.
pub const AUTHORITY_DURATION: Duration = Duration::from_secs(1);

/// Maximum duration of reading a gate with the subscriptions beside it, after which a delivery reads the gate again.
pub const GATE_READ_DURATION: Duration = Duration::from_millis(50);

/// Maximum duration of one push, from the check of the gate.
pub const PUSH_DURATION: Duration = Duration::from_secs(3);

/// Time after which every push that was admitted before a change of a gate has ended.
pub const SHUT_OUT_DURATION: Duration = AUTHORITY_DURATION.saturating_add(PUSH_DURATION);

/// Duration of the lease on a pending end, unless it is extended. After that another function may acquire it.
pub const PENDING_LEASE_DURATION: Duration = Duration::from_secs(20);

/// Number of subscriptions that are ended per page.
pub const ENDING_PAGE: u16 = 100;

/// Duration for which a gate refuses ended subscriptions: longer than any connection lasts.
pub const GATE_DURATION: Duration = Duration::from_hours(3);

/// Maximum number of items on a page of a list or of the history.
pub const PAGE_ITEMS: u16 = 100;

/// Maximum JSON of a page of messages, in bytes, unless it has only one message. A response may hold the page as a JSON
/// string, in which each quote and backslash takes two bytes.
pub const PAGE_BYTES: usize = 2_500_000;

/// Maximum number of questions of a page whose reply leases are read.
pub const REPLIES_IN_PROGRESS: usize = 10;

/// Time after which no reply to a question is being written: the maximum age of a stream record for the agent's worker,
/// and the duration of its last invocations.
pub const QUESTION_DURATION: Duration = Duration::from_hours(2);

/// Default number of items on a page.
pub const DEFAULT_PAGE_ITEMS: u16 = 50;

/// Maximum content of a message's preview, in characters (Unicode code points).
pub const PREVIEW_CHARS: usize = 200;

/// Number of a channel's newest messages among which the unread ones are counted. This count means this number or more.
pub const UNREAD_COUNTED: u16 = 100;

/// Maximum number of channels in the list of a user's channels. The list reads all of them for each page.
pub const CHANNELS_LISTED: usize = 1_000;

/// Maximum number of concurrent reads for a page of channels.
pub const LIST_CONCURRENCY: usize = 16;

/// Maximum number of channels that one connection subscribes to.
pub const CHANNELS_PER_CONNECTION: usize = 100;

/// Time in which an invitation can be accepted.
pub const INVITATION_DURATION: Duration = Duration::from_hours(24 * 30);

/// Maximum number of pending invitations of one user.
pub const INVITATIONS_PER_USER: usize = 100;

/// Default maximum number of connections of one user. A deployment may set another.
pub const CONNECTIONS_PER_USER: usize = 20;

/// Lifetime of a ticket for a handshake.
pub const TICKET_DURATION: Duration = Duration::from_mins(1);

/// Maximum number of different reactions to one message.
pub const REACTIONS_PER_MESSAGE: usize = 20;

/// Maximum number of users per reaction to one message.
pub const USERS_PER_REACTION: usize = 100;

/// Maximum number of users that a reaction names to clients. The rest are only counted.
pub const USERS_LISTED_PER_REACTION: usize = 10;

/// Default maximum number of subscriptions of a channel with presence events, typing events or read receipts. A
/// deployment may set another. In a larger channel each arrival and each mark would cost a push to every socket.
pub const PRESENCE_SUBSCRIPTIONS: usize = 200;

/// Maximum number of sockets that one listing of presence asks the gateway about. Only sockets that are older than
/// [`SILENCE_DURATION`](crate::ports::socket_gateway::SILENCE_DURATION) are asked about.
pub const PRESENCE_PROBES: usize = 5;

/// Maximum number of pushes for the users that come to one channel at once. Further users are not announced, and so
/// not withdrawn. A fifth of
/// [`REQUESTS_PER_SECOND`](crate::ports::socket_gateway::REQUESTS_PER_SECOND), for a batch of each second.
pub const ARRIVAL_PUSHES: usize = 2_000;

/// Rate of a user's typing events in one channel.
pub const TYPING_BUCKET: Bucket = Bucket { every: Duration::from_secs(2), burst: 3 };

/// Maximum number of sockets to which the function that receives an ephemeral event pushes it itself.
pub const EPHEMERAL_PUSHES: usize = 50;

/// Maximum number of pending ends that one run of maintenance works on.
pub const MAX_PENDING_ENDS_PER_RUN: usize = 100;

/// Rate of a client's frames that are answered, per socket. A client pings at most every few minutes.
pub const FRAME_BUCKET: Bucket = Bucket { every: Duration::from_secs(2), burst: 20 };

/// Rate of a client's frames that are accepted, per socket. The socket of a client that sends more is closed.
pub const FRAME_FLOOD_BUCKET: Bucket = Bucket { every: Duration::from_secs(1), burst: 100 };

/// Maximum number of sockets whose budgets one execution environment keeps, about 2 MB.
pub const SOCKETS_WITH_BUDGETS: usize = 10_000;

/// Time in which a request can be repeated with its idempotency key.
pub const IDEMPOTENCY_DURATION: Duration = Duration::from_hours(24);

/// Maximum attempts at one append or one change of a message, after which it fails as contended.
pub const APPEND_ATTEMPTS: u32 = 200;

/// Maximum time for all attempts at one append or one change of a message. Well below the timeout of a request.
pub const APPEND_DURATION: Duration = Duration::from_secs(7);

/// `Retry-After` of a contended append or change.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Duration of a reply lease, unless it is renewed. The next worker waits this long for an abandoned lease.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// Interval between two renewals of a reply lease. A cancelled reply ends within this time.
pub const LEASE_RENEWAL_INTERVAL: Duration = Duration::from_secs(1);

/// Intervals between the first pieces of a draft that are stored in one call of the model. Later pieces are stored every
/// [`LEASE_RENEWAL_INTERVAL`]. Each one renews the lease, so that a draft takes no further writes.
pub const DRAFT_STORE_INTERVALS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];

/// Time for which the pieces of a draft are stored.
pub const DRAFT_DURATION: Duration = Duration::from_hours(1);

/// Maximum silence of a model before and within a reply, after which the call fails. Any byte ends a silence, also of
/// reasoning or of a keep-alive. A server on the developer's own machine may have to load its model first.
pub const MODEL_IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Maximum time of a model that is not silent until the first text of its reply, after which the reply fails. An
/// invocation of 5 minutes that begins with the call has time left to post the notice.
pub const MODEL_FIRST_TEXT_TIMEOUT: Duration = Duration::from_mins(4);

/// Minimum remaining time of an invocation for starting a model call.
pub const MIN_TIME_FOR_MODEL_CALL: Duration = Duration::from_secs(15);

/// Minimum duration of a generation for storing a partial reply. If the invocation ends mid-reply, a longer generation
/// is stored truncated. A shorter one is discarded and generated again.
pub const MIN_PARTIAL_REPLY_DURATION: Duration = Duration::from_mins(2);

/// Maximum consecutive failures of a model in one invocation, after which the reply fails.
pub const MODEL_FAILURES: u32 = 3;

/// Maximum model calls per message over all workers. Lower than the number of deliveries of a message to the workers,
/// so that the last delivery can still post the failure notice.
pub const MODEL_CALLS: u32 = 5;

/// Maximum wait that a busy model may ask for. If it asks for more, the reply fails at once.
pub const MAX_MODEL_RETRY_AFTER: Duration = Duration::from_mins(2);

/// Maximum number of messages before the question in a prompt.
pub const CONTEXT_MESSAGES: u16 = 50;

/// Interval at which the agent looks for text of a draft to store and to show, and wait before the first frame.
pub const DELTA_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum number of pushes per second of one draft's frames: a twentieth of
/// [`REQUESTS_PER_SECOND`](crate::ports::socket_gateway::REQUESTS_PER_SECOND).
pub const DRAFT_PUSHES_PER_SECOND: u32 = 500;

/// Maximum number of sockets that receive the frames of a draft. A larger audience receives the finished message only.
pub const DRAFT_LISTENERS: usize = 2_000;

/// Timeout of a push of a draft's frame, and of the last frames of a socket.
pub const EPHEMERAL_PUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Maximum attempts at one push to one socket, after which it is requeued.
pub const PUSH_ATTEMPTS: u32 = 4;

/// Duration from which a push is logged as slow, with its connection.
pub const SLOW_PUSH: Duration = Duration::from_secs(1);

/// Default rate at which one channel is delivered to a crowd, in pushes a second. A deployment may set another. An
/// account has 10,000 requests a second for all its APIs and `@connections` together ("API Gateway quotas"). A fifth
/// remains for requests, handshakes and other channels. So 100,000 sockets are reached in 12.5 s.
pub const DELIVERY_RATE: u32 = 8_000;

/// Maximum number of concurrent dispatches of one delivery. Each holds the frames of one shard in memory.
pub const DISPATCH_CONCURRENCY: usize = 8;

/// Maximum attempts at one dispatch. After that the whole delivery fails, and the stream repeats it.
pub const DISPATCH_ATTEMPTS: u32 = 4;

/// Maximum number of concurrent pushes, over all sockets of a delivery.
pub const PUSH_CONCURRENCY: usize = 64;

/// Maximum number of channels of one batch that are processed concurrently.
pub const CHANNEL_CONCURRENCY: usize = 16;

/// Maximum number of times that a socket's frames are requeued. After that they are dropped.
pub const MAX_FAN_OUT_ATTEMPTS: u32 = 3;

/// Time kept back at the end of an invocation to requeue undelivered frames.
pub const DEADLINE_MARGIN: Duration = Duration::from_secs(2);
