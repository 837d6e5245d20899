//! Bench on which the laws run: the ports, a clock, and the builders of what a law needs.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{ChannelPorts, ConnectionPorts, Ports};
use crate::{
    model::{
        access::Authority,
        channel::{AgentSettings, Channel, ChannelHead, Member, MemberAdded, MemberRole, Visibility},
        connection::{Connection, ConnectionKey, Subscription},
        error::StoreError,
        id::{ChannelId, MessageId},
        incarnation::{ChannelKey, Incarnation},
        message::{ContentType, Message, Role, StoredMessage},
        message_ref::MessageRef,
        pending_end::{EndCause, PendingEnd},
        reaction::{Reactions, Toggle},
        rev::{ChangeNumber, Rev},
        seq::Seq,
        time::Timestamp,
    },
    ports::{
        channel_store::{ChannelCreated, MemberChanged},
        clock::Clock,
        deleted_channels::DeletedChannels,
        message_store::{
            Append, AppendResult, IdempotencyRecord, MessageStore, ReactionResult, RecordKey, UpdateResult,
        },
    },
};

/// Reason why a law stopped.
#[derive(Debug)]
pub(super) struct Stop(pub(super) String);

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self(format!("the store fails: {error}"))
    }
}

/// Result of a law, or of a step of one.
pub(super) type Outcome<T = ()> = Result<T, Stop>;

macro_rules! require {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::memory::conformance::bench::Stop(format!($($what)+)));
        }
    };
}

macro_rules! require_eq {
    ($found:expr, $wanted:expr, $($what:tt)+) => {
        match (&$found, &$wanted) {
            (found, wanted) => {
                if *found != *wanted {
                    let what = format_args!($($what)+);
                    let what = format!("{what}: found {found:?}, wanted {wanted:?}");
                    return Err($crate::memory::conformance::bench::Stop(what));
                }
            }
        }
    };
}

/// Ports with the time of the laws, and the builders of what a law needs.
pub(super) struct Bench<'a, Channels, Messages, Connections, Removal> {
    pub(super) ports: &'a Ports<'a, Channels, Messages, Connections, Removal>,
    pub(super) now: Timestamp,
    made: AtomicU64,
}

/// Clock that stands still. Its random numbers are all different.
impl<Channels: Sync, Messages: Sync, Connections: Sync, Removal: Sync> Clock
    for Bench<'_, Channels, Messages, Connections, Removal>
{
    fn now(&self) -> Timestamp {
        self.now
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _: Duration) {}

    fn random(&self) -> u128 {
        u128::from(self.made.fetch_add(1, Ordering::Relaxed))
    }
}

pub(super) fn id<T: std::str::FromStr>(text: &str) -> Outcome<T> {
    text.parse().map_err(|_| Stop(format!("{text} is no id")))
}

pub(super) fn request_key(user: &str) -> Outcome<RecordKey> {
    Ok(RecordKey::Request { sender_id: id(user)?, key: id("k")? })
}

/// Maximum number of a user's channels in laws that do not test it.
pub(super) const MANY: usize = 1_000_000;

pub(super) const LONG: Duration = Duration::from_hours(1);

impl<'a, Channels, Messages, Connections, Removal> Bench<'a, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) fn new(ports: &'a Ports<'a, Channels, Messages, Connections, Removal>, now: Timestamp) -> Self {
        Self { ports, now, made: AtomicU64::new(0) }
    }

    pub(super) fn later(&self, duration: Duration) -> Timestamp {
        self.now.plus(duration)
    }

    pub(super) fn new_channel(&self, name: &str, visibility: Visibility) -> Outcome<Channel> {
        Ok(Channel {
            channel_id: id(name)?,
            incarnation: Incarnation::generate(self.seed()),
            name: name.to_owned(),
            visibility,
            agent: AgentSettings::default(),
            read_receipts: false,
            last_seq: Seq::ZERO,
            last_message_at: None,
            created_by: id("olga")?,
            created_at: self.now,
            archived_at: None,
            retention_days: None,
            version: 1,
        })
    }

    pub(super) fn new_member(&self, channel: &Channel, user: &str, role: MemberRole) -> Outcome<Member> {
        Ok(Member {
            channel_id: channel.channel_id.clone(),
            user_id: id(user)?,
            incarnation: Incarnation::generate(self.seed()),
            role,
            joined_at: self.now,
            added_by: None,
        })
    }

    /// Creates a channel of olga, and returns it with her membership.
    pub(super) async fn channel(&self, name: &str, visibility: Visibility) -> Outcome<(Channel, Member)> {
        let channel = self.new_channel(name, visibility)?;
        let owner = self.new_member(&channel, "olga", MemberRole::Owner)?;
        require_eq!(
            self.ports.channels.create(&channel, &owner, None, MANY).await?,
            ChannelCreated::Done,
            "{name} is taken"
        );
        Ok((channel, owner))
    }

    /// Adds a member on behalf of olga.
    pub(super) async fn member(&self, by: &Authority<'_>, user: &str, role: MemberRole) -> Outcome<Member> {
        let member = self.new_member(by.channel, user, role)?;
        let added = self.ports.channels.add_member(by, &member, Seq::ZERO).await?;
        require_eq!(added, MemberAdded::Added, "adding {user}");
        Ok(member)
    }

    /// Returns the channel that an id leads to.
    pub(super) async fn current(&self, channel: &Channel) -> Outcome<Channel> {
        let found = self.ports.channels.channel(&channel.channel_id).await?;
        found.ok_or_else(|| Stop(format!("{} is not there", channel.channel_id)))
    }

    /// Changes the settings of a channel on behalf of olga, and returns the channel.
    pub(super) async fn changed(
        &self,
        channel: &Channel,
        owner: &Member,
        change: impl FnOnce(&mut Channel) + Send,
    ) -> Outcome<Channel> {
        let before = self.current(channel).await?;
        let mut changed = Channel { version: before.version + 1, ..before.clone() };
        change(&mut changed);
        let by = Authority { channel: &before, member: Some(owner) };
        require!(self.ports.channels.update(&by, &changed, None, self.now).await?, "the settings are not changed");
        Ok(changed)
    }

    pub(super) async fn delete(&self, channel: &Channel, owner: &Member) -> Outcome<PendingEnd> {
        let channel = self.current(channel).await?;
        let pending = PendingEnd::new(channel.key(), EndCause::ChannelDeleted, self.seed());
        let by = Authority { channel: &channel, member: Some(owner) };
        require!(self.ports.channels.delete(&by, &pending, self.now).await?, "the channel is not deleted");
        Ok(pending)
    }

    pub(super) async fn remove(&self, by: &Authority<'_>, member: &Member) -> Outcome<PendingEnd> {
        let cause = EndCause::MemberRemoved { user_id: member.user_id.clone() };
        let pending = PendingEnd::new(by.channel.key(), cause, self.seed());
        let removed = self.ports.channels.remove_member(by, member, &pending, self.now).await?;
        require_eq!(removed, MemberChanged::Done, "removing {}", member.user_id);
        Ok(pending)
    }

    pub(super) fn message(&self, head: &ChannelHead, user: &str) -> Outcome<StoredMessage> {
        let message = Message {
            channel_id: head.channel_id.clone(),
            seq: head.last_seq.next(),
            message_id: MessageId::generate(self.seed()),
            version: Message::FIRST_VERSION,
            sender_id: id(user)?,
            role: Role::User,
            content: format!("{} of {user}", head.last_seq.next()),
            content_type: ContentType::Plain,
            created_at: self.now,
            metadata: None,
            reply_to: None,
            agent: None,
            thread_seq: None,
            thread: None,
            edited_at: None,
            reactions: Reactions::new(),
            deleted_at: None,
        };
        Ok(StoredMessage { message, incarnation: head.incarnation, rev: Rev::ZERO, trace: None, expires_at: None })
    }

    pub(super) fn record(&self, key: RecordKey, message: &StoredMessage) -> IdempotencyRecord {
        let Message { message_id, seq, .. } = message.message;
        IdempotencyRecord { key, fingerprint: "f".to_owned(), message_id, seq, expires_at: self.later(LONG) }
    }

    pub(super) async fn append(
        &self,
        head: &ChannelHead,
        message: &StoredMessage,
        record: Option<&IdempotencyRecord>,
    ) -> Outcome<AppendResult> {
        let append = Append { head, message, for_agent: false, record, member: None, token: None, now: self.now };
        Ok(self.ports.messages.append(append).await?)
    }

    /// Appends a message of a user to the channel with the id.
    pub(super) async fn send(&self, channel: &Channel, user: &str) -> Outcome<StoredMessage> {
        let head = self.head(&channel.channel_id).await?;
        let message = self.message(&head, user)?;
        require_eq!(self.append(&head, &message, None).await?, AppendResult::Stored, "sending");
        Ok(message)
    }

    pub(super) async fn head(&self, channel: &ChannelId) -> Outcome<ChannelHead> {
        let found = self.ports.messages.head(channel).await?;
        found.map(|(head, _)| head).ok_or_else(|| Stop(format!("{channel} has no head")))
    }

    /// Returns the number of the last change of the channel with the id, which two ports read.
    pub(super) async fn last_change(&self, channel: &ChannelId) -> Outcome<Rev> {
        let of_head = self.ports.messages.head(channel).await?.map(|(_, rev)| rev);
        let of_channel = self.ports.channels.channel_with_rev(channel).await?.map(|(_, rev)| rev);
        require_eq!(of_channel, of_head, "the number of the last change, read with the channel and with its head");
        of_head.ok_or_else(|| Stop(format!("{channel} has no head")))
    }

    /// Returns the number of a change after `last`. Its record is stored for the same time as all others.
    pub(super) fn number(&self, last: Rev) -> ChangeNumber {
        ChangeNumber { last, expires_at: self.later(LONG) }
    }

    /// Makes the next change of a channel: an edit or a deletion of a message.
    pub(super) async fn revise(&self, by: &Authority<'_>, revised: &StoredMessage) -> Outcome<UpdateResult> {
        let number = self.number(self.last_change(&by.channel.channel_id).await?);
        Ok(self.ports.messages.update_message(by, revised, number).await?)
    }

    /// Makes the next change of a channel at a time: a change of a reaction.
    pub(super) async fn react(
        &self,
        by: &Authority<'_>,
        revision: &MessageRef,
        emoji: &str,
        toggle: Toggle,
        now: Timestamp,
    ) -> Outcome<ReactionResult> {
        let number = self.number(self.last_change(&by.channel.channel_id).await?);
        Ok(self.ports.messages.react(by, revision, &id(emoji)?, toggle, number, now).await?)
    }

    pub(super) fn connection(&self, name: &str, user: &str, channels: &[&Channel]) -> Outcome<Connection> {
        Ok(Connection {
            key: ConnectionKey { id: id(name)?, connected_at: self.now },
            user_id: id(user)?,
            channels: channels.iter().map(|channel| channel.key()).collect(),
            auto_subscribe: true,
            allowed_channels: None,
            left_out: 0,
            token_expires_at: self.later(LONG),
            expires_at: self.later(LONG),
        })
    }

    /// Opens a connection whose subscriptions rest on memberships.
    pub(super) async fn open(&self, name: &str, user: &str, channels: &[&Channel]) -> Outcome<Connection> {
        let connection = self.connection(name, user, channels)?;
        let connections = self.ports.connections;
        connections.register_pending(&connection).await?;
        connections.activate(&connection, &connection.channels.iter().cloned().collect()).await?;
        Ok(connection)
    }

    /// Returns the subscriptions of a channel at a time, in the order of their connections' ids.
    pub(super) async fn listeners(&self, channel: &ChannelKey, at: Timestamp) -> Outcome<Vec<Subscription>> {
        let mut audience = self.ports.connections.audience(channel, at).await?;
        audience.subscriptions.sort_unstable_by(|one, other| one.connection.id.cmp(&other.connection.id));
        Ok(audience.subscriptions)
    }
}
