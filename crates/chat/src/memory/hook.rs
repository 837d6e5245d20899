//! Hooks: control and observation of a store's calls by a test.

use std::future::Future;

use super::{Effect, State};
use crate::model::{error::StoreError, incarnation::ChannelKey};

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident $text:literal $repeats:literal,)*) => {
        /// Request to the store that takes effect at one instant, or not at all. A port's function makes one or more.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Call {
            $(
                #[doc = concat!("`", $text, "`")]
                $name,
            )*
        }

        impl Call {
            /// Returns the name, for logs and errors.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Returns whether a request that is repeated after a lost response takes effect again. Transactions other
            /// than an append carry a `ClientRequestToken`: they take effect only once.
            #[must_use]
            pub fn repeats(self) -> bool {
                match self { $(Self::$name => $repeats,)* }
            }
        }
    };
}

calls! {
    Create "create" false,
    Creation "creation" true,
    Channel "channel" true,
    Instructions "with_instructions" true,
    CurrentChannels "current_channels" true,
    Update "update" false,
    Delete "delete" false,
    PublicChannels "public_channels" true,
    MarkRead "mark_read" true,
    Member "member" true,
    MembersAmong "members_among" true,
    MembershipsAmong "memberships_among" true,
    ReadMarks "read_marks" true,
    Members "members" true,
    Memberships "memberships" true,
    AddMember "add_member" false,
    Invitation "invitation" true,
    Invitations "invitations_of" true,
    Invite "invite" false,
    Accept "accept" false,
    WithdrawInvitation "withdraw_invitation" false,
    ChangeRole "change_role" false,
    RemoveMember "remove_member" false,
    DueEnds "due" true,
    Lease "lease" true,
    Advance "advance" true,
    Finish "finish" true,
    RemoveSome "remove_some" true,
    Head "head" true,
    Append "append" true,
    Record "idempotency_record" true,
    Message "message" true,
    Revise "revise" false,
    React "react" false,
    Messages "messages" true,
    Changes "changes" true,
    MessagesAmong "messages_among" true,
    Listed "listed" true,
    Previews "previews" true,
    Outlines "outlines" true,
    Announce "announce" true,
    Withdraw "withdraw" true,
    Open "open" true,
    ListEnd "list_end" true,
    RenewConnection "renew" true,
    Connection "connection" true,
    ConnectionsOf "connections_of" true,
    Close "close" true,
    EndedMinutes "ended_minutes" true,
    WorkedOff "worked_off" true,
    ExpiredInMinute "expired_in_minute" true,
    RemoveExpiryEntry "remove_expiry_entry" true,
    Gate "gate" true,
    Subscriptions "subscriptions" true,
    Divide "divide" true,
    Subscribe "subscribe" false,
    NoteLeftOut "note_left_out" true,
    IsSubscribed "is_subscribed" true,
    ConfirmMember "confirm_member" true,
    Unsubscribe "unsubscribe" false,
    Announced "announced" true,
    SetListeners "set_listeners" true,
    MarkOnline "mark_online" true,
    MarkOffline "mark_offline" true,
    KeepTicket "keep" true,
    RedeemTicket "redeem" true,
    AcquireLease "acquire_lease" true,
    RenewClaim "renew_lease" true,
    StorePiece "store_piece" false,
    EndDraft "end_draft" true,
    Draft "draft" true,
    DraftPieces "draft_pieces" true,
    HeldLeases "held" true,
    Cancel "cancel" false,
    Spent "spent" true,
    Spend "spend" true,
    TakeToken "take" true,
    AllChannels "all_channels" true,
    ImportMembers "import_members" true,
    ImportMessages "import_messages" true,
    Publish "publish" false,
    ScanUser "scan" true,
    DeleteItem "delete_item" true,
    RenameUser "rename_user" true,
}

impl Call {
    /// Returns the error of a call without a response.
    #[must_use]
    pub fn failed(self) -> StoreError {
        StoreError { operation: self.name(), retryable: true, source: "the store is out of order".into() }
    }
}

/// Outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFault {
    /// The call takes effect.
    Arrives,
    /// The call fails before it takes effect.
    Fails,
    /// The call takes effect, its response is lost, and the client library repeats it: see [`Call::repeats`].
    Repeated,
    /// Another transaction is writing its items.
    Conflicts,
}

/// Protected data that a call reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Messages.
    Messages,
    /// Members.
    Members,
    /// Subscriptions.
    Audience,
}

/// Hook that decides the outcome of calls and observes them. A scheduler lets other tasks run in its async functions.
pub trait Hook: Send + Sync {
    /// Runs before a call takes effect, and decides its outcome.
    fn before(&self, call: Call) -> impl Future<Output = CallFault> + Send;

    /// Runs between the effect of a call and its response. Returns `false` if the response is lost.
    fn after(&self, call: Call) -> impl Future<Output = bool> + Send;

    /// Observes a change at the instant at which it is made. `state` is the state before it.
    fn commits(&self, state: &State, effect: &Effect) {
        let _ = (state, effect);
    }

    /// Observes a read of a channel at the instant at which it happens.
    fn reads(&self, state: &State, channel: &ChannelKey, what: Reading) {
        let _ = (state, channel, what);
    }
}

/// Hook that lets every call take effect and get its response.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reliable;

impl Hook for Reliable {
    async fn before(&self, _: Call) -> CallFault {
        CallFault::Arrives
    }

    async fn after(&self, _: Call) -> bool {
        true
    }
}
