//! Bugs that are planted in the reference client.

use conformance::Rule;

macro_rules! bugs {
    ($($name:ident: $($rule:ident)|+, $description:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Bug {
            $(#[doc = $description] $name,)*
        }

        impl Bug {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the rules of which the bug may break any.
            pub(crate) fn rules(self) -> &'static [Rule] {
                match self {
                    $(Self::$name => &[$(Rule::$rule,)+],)*
                }
            }
        }
    };
}

bugs! {
    GapIgnored: CompleteMessages, "A gap of messages is ignored.";
    NoCatchUp: CompleteMessages | CompleteChanges | NoStorm, "A new socket does not lead to a read.";
    DuplicatesShown: NoDuplicates, "A frame that comes twice is shown twice.";
    ShownByArrival: Order, "Messages are shown as they arrive.";
    ChangeGapIgnored: CompleteChanges, "A gap of changes is ignored.";
    OlderVersionTaken: CompleteChanges, "A message is replaced by an older version.";
    ReactionUnchecked: CompleteChanges, "A reaction is applied to any earlier version.";
    DraftAppends: DraftText, "Each piece of a draft is appended.";
    TokenPerNeed: OneFetchInFlight, "A request for a token does not wait for the one in flight.";
    TokenPerRequest: TokenRate | OneFetchInFlight, "Each request takes another token.";
    NeverRenews: Renewal, "A socket is not renewed.";
    DeviceClock: Renewal | TokenRate, "The end of a token is compared with the clock of the device.";
    NoBackoff: Backoff, "The wait after a failed handshake is always 500 ms.";
    NoJitter: Backoff, "The wait after a failed handshake is not random.";
    RetryAfterIgnored: RetryAfter, "A request is repeated at once after 429.";
    RefusalRepeated: NoRetryAfterRefusal, "A refused send is repeated.";
    RefusedReadRepeated: NoRetryAfterRefusal, "A refused read is repeated.";
    TokenKept: Live | CompleteMessages | CompleteChanges, "A refused handshake does not lead to another token.";
    ReconnectsAfterRefusal: NoRetryAfterRefusal, "A `closing` frame that excludes another connection is ignored.";
    GapAsksAtOnce: NoStorm, "A gap leads to a request at once.";
    KeyPerAttempt: IdempotencyKey, "Each repetition of a send has a key of its own.";
    SendsAtOnce: SendOrder, "Sends of one channel do not wait for each other.";
    SendForgotten: SendKept, "A send without a response is dropped.";
    OneSocket: Live, "Only the first 100 channels are received.";
    NeverReconnects: Live, "A closed socket is not replaced.";
}
