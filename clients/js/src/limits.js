// Times and limits of the client. Bundlers put them in place of their names.

/** Interval of pings: API Gateway closes a connection after 10 idle minutes. */
export const PING_EVERY_MS = 4 * 60_000;
export const PONG_WITHIN_MS = 10_000;
/** Timeout of a handshake: API Gateway allows 29 s for `$connect`. */
export const OPEN_WITHIN_MS = 30_000;
/** Time within which a socket ends after the server has announced it. */
export const CLOSE_WITHIN_MS = 5_000;
/** Duration after which a connection counts as stable: the next failure starts with the shortest wait. */
export const STABLE_AFTER_MS = 10_000;
/** Age at which a socket is replaced: API Gateway closes it after 2 hours. */
export const MAX_AGE_MS = 2 * 3_600_000 - 120_000;
/** Time before a token's end at which it is renewed, also that of a socket. A short-lived token is renewed at 80 % of its life. */
export const RENEW_BEFORE_MS = 60_000;
/** Shortest time between two new tokens of a socket. */
export const RENEW_EVERY_MS = 15_000;
/** Length of names of channels above which a ticket names them: API Gateway limits the size of a handshake. */
export const MAX_NAMES = 2_000;
/** Shortest time between two fetches of a token. */
export const FETCH_EVERY_MS = 60_000;
/** Timeout of a request; API Gateway's own timeout is 29 s. */
export const REQUEST_TIMEOUT_MS = 30_000;
/** Maximum number of entries in a page of a list. */
export const PAGE = 100;
/** Longest delay of a timer, in ms: more than 2^31 would make it fire at once. */
export const LONGEST_MS = 2e9;
export const BACKOFF_BASE_MS = 1_000;
export const BACKOFF_CAP_MS = 30_000;
/** Maximum number of attempts of a quiet request. */
export const ATTEMPTS = 3;
/** Time in which a user is shown as typing after a frame. */
export const TYPING_MS = 5_000;
/** Shortest time between two requests that say that the user types. */
export const TYPE_EVERY_MS = 3_000;
/** Maximum number of channels of one socket. */
export const MAX_CHANNELS = 100;
export const HISTORY_PAGE = 50;
/** Shortest wait for the frame that a later one has overtaken; up to twice as much more is random. */
export const GAP_MS = 250;
/** Maximum number of attempts of a send while the connection is live, all with its key, before it is shown as failed. */
export const SEND_ATTEMPTS = 4;
/** Time in which the server knows the key of a send. A later repetition could store the message twice. */
export const KEY_MS = 24 * 3_600_000;
/** Maximum number of users that a reaction names, the first by id. */
export const NAMED_REACTORS = 10;
/** The states of a draft that is shown, in their order. A late frame does not undo a state. */
export const STATES = "thinking writing done cancelled";
