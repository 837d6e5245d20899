//! Changes of the state: decided by rules that only read, and made by [`State::apply`].

use super::{MessageItem, State};
use crate::{
    model::{
        channel::{Channel, Member, MemberRole},
        draft::DraftStatus,
        id::UserId,
        incarnation::ChannelKey,
        invitation::Invitation,
        pending_end::PendingEnd,
        rev::ChangeNumber,
        seq::Seq,
        time::Timestamp,
    },
    ports::{
        channel_store::Creation,
        message_store::IdempotencyRecord,
        reply_leases::{DraftPiece, LeaseOwner, LeaseRenewal, MessageKey},
    },
};

/// Change of the state that is decided and about to be made.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an effect exists once, for the length of one call")]
pub enum Effect {
    /// A channel is created.
    ChannelCreated {
        /// The channel.
        channel: Channel,
        /// Owner.
        owner: Member,
        /// Request that created the channel.
        creation: Option<Creation>,
    },
    /// The settings of a channel change.
    ChannelUpdated {
        /// Channel before the change.
        before: Channel,
        /// Channel after the change.
        changed: Channel,
        /// Pending end that the change causes.
        pending: Option<PendingEnd>,
        /// Time of the change.
        now: Timestamp,
    },
    /// A channel is deleted.
    ChannelDeleted {
        /// The channel.
        channel: Channel,
        /// Pending end that the change causes.
        pending: PendingEnd,
        /// Time of the change.
        now: Timestamp,
    },
    /// A member is added.
    MemberAdded {
        /// The channel.
        channel: ChannelKey,
        /// The membership.
        member: Member,
        /// The read mark.
        read_seq: Seq,
    },
    /// A user is invited.
    Invited {
        /// The invitation.
        invitation: Invitation,
    },
    /// An invitation is declined or withdrawn.
    InvitationWithdrawn {
        /// The invitation.
        invitation: Invitation,
    },
    /// The role of a member changes.
    RoleChanged {
        /// The channel.
        channel: ChannelKey,
        /// Membership as it was read.
        member: Member,
        /// New role.
        role: MemberRole,
    },
    /// A member is removed.
    MemberRemoved {
        /// The channel.
        channel: ChannelKey,
        /// The membership.
        member: Member,
        /// Pending end that the change causes.
        pending: PendingEnd,
        /// Time of the change.
        now: Timestamp,
    },
    /// A read mark moves.
    ReadMarked {
        /// The channel.
        channel: ChannelKey,
        /// User of the mark.
        user: UserId,
        /// New `seq`.
        seq: Seq,
    },
    /// A message is appended.
    MessageAppended {
        /// The message.
        item: MessageItem,
        /// Idempotency record.
        record: Option<IdempotencyRecord>,
        /// Time when the sender's bucket is full.
        full_at: Option<Timestamp>,
    },
    /// A message is edited or deleted.
    MessageRevised {
        /// Message before the change.
        before: MessageItem,
        /// Message after the change.
        after: MessageItem,
        /// Number of the change.
        number: ChangeNumber,
    },
    /// A reaction is added or removed.
    ReactionChanged {
        /// User that reacts.
        user: UserId,
        /// Message after the change.
        after: MessageItem,
        /// Number of the change.
        number: ChangeNumber,
    },
    /// A reply lease is acquired.
    LeaseAcquired {
        /// The question.
        question: MessageKey,
        /// Holder.
        owner: LeaseOwner,
        /// Time when the lease expires.
        until: Timestamp,
    },
    /// A reply lease is renewed.
    LeaseRenewed {
        /// The question.
        question: MessageKey,
        /// Time when the lease expires.
        until: Timestamp,
        /// Kind of the renewal.
        renewal: LeaseRenewal,
    },
    /// A piece of a draft is stored, and the reply lease renewed.
    PieceStored {
        /// The question.
        question: MessageKey,
        /// Time when the lease expires.
        until: Timestamp,
        /// The piece.
        piece: DraftPiece,
        /// Time from which the piece counts as absent.
        expires_at: Timestamp,
    },
    /// A draft ends without a message, and the reply lease is released.
    DraftEnded {
        /// The question.
        question: MessageKey,
        /// Status of the draft.
        status: DraftStatus,
    },
    /// A reply is cancelled.
    ReplyCancelled {
        /// The question.
        question: MessageKey,
    },
}

impl State {
    /// Makes a decided change.
    pub(crate) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::ChannelCreated { channel, owner, creation } => self.channel_created(channel, owner, creation),
            Effect::ChannelUpdated { before, changed, pending, now } => {
                self.channel_updated(&before, changed, pending, now);
            }
            Effect::ChannelDeleted { channel, pending, now } => self.channel_deleted(&channel, pending, now),
            Effect::Invited { invitation } => self.invited(invitation),
            Effect::InvitationWithdrawn { invitation } => {
                self.end_invitation(&invitation.channel(), &invitation.user_id);
            }
            Effect::MemberAdded { channel, member, read_seq } => self.member_added(&channel, member, read_seq),
            Effect::RoleChanged { channel, member, role } => self.role_changed(&channel, &member, role),
            Effect::MemberRemoved { channel, member, pending, now } => {
                self.member_removed(channel, &member, pending, now);
            }
            Effect::ReadMarked { channel, user, seq } => {
                self.listed.entry(user).or_default().insert(channel, seq);
            }
            Effect::MessageAppended { item, record, full_at } => self.message_appended(item, record, full_at),
            Effect::MessageRevised { after, number, .. } | Effect::ReactionChanged { after, number, .. } => {
                self.message_changed(after, number);
            }
            Effect::LeaseAcquired { question, owner, until } => self.lease_acquired(question, owner, until),
            Effect::LeaseRenewed { question, until, renewal } => self.lease_renewed(question, until, renewal),
            Effect::PieceStored { question, until, piece, expires_at } => {
                self.piece_stored(question, until, piece, expires_at);
            }
            Effect::DraftEnded { question, status } => self.draft_ended(question, status),
            Effect::ReplyCancelled { question } => self.reply_cancelled(question),
        }
    }
}
