//! Conformance suite: laws that every implementation of the ports must obey.
//!
//! ```ignore
//! let ports = Ports { channels: &channels, messages: &messages, connections: &connections, removal: &removal };
//! conformance::check(&ports, now).await.unwrap();
//! ```
//!
//! Each law creates its own channels and users, so that all laws can run on the same tables.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::future::BoxFuture;

use crate::{
    model::{
        access::Authority,
        channel::{AgentSettings, Channel, ChannelHead, Member, MemberAdded, MemberRole, Visibility},
        connection::{Connection, Subscription, UserConnection},
        error::StoreError,
        id::{ChannelId, ConnectionId, MessageId, UserId},
        incarnation::{ChannelKey, Incarnation},
        invitation::Invitation,
        limits::CHANNELS_PER_CONNECTION,
        message::{ContentType, Message, Role, StoredMessage},
        message_ref::MessageRef,
        pending_end::{EndCause, PendingEnd},
        reaction::Reactions,
        time::Timestamp,
        token_bucket::Bucket,
    },
    ports::{
        channel_store::{ChannelCreated, ChannelStore, Creation, MemberChanged},
        clock::Clock,
        connection_store::ConnectionStore,
        deleted_channels::DeletedChannels,
        invitation_store::{InvitationStore, Invited},
        message_store::{
            Append, AppendResult, IdempotencyRecord, MessageStore, Range, ReactionResult, RecordKey, Token,
            UpdateResult,
        },
        pending_ends::PendingEnds,
        presence_store::PresenceStore,
        rate_limiter::{LimitedAction, RateLimiter},
        reply_leases::{Acquire, MessageKey, ReplyLeases},
        ticket_store::{Ticket, TicketStore},
    },
};

/// Ports under test. They share their state.
#[derive(Debug)]
pub struct Ports<'a, Channels, Messages, Connections, Removal> {
    /// Channels, members, pending ends, reply leases and buckets.
    pub channels: &'a Channels,
    /// Messages.
    pub messages: &'a Messages,
    /// Connections, presence, tickets.
    pub connections: &'a Connections,
    /// Removal of deleted channels.
    pub removal: &'a Removal,
}

/// Law that does not hold, or a store that fails.
#[derive(Debug, thiserror::Error)]
#[error("{law}: {what}")]
pub struct Violation {
    /// Law.
    pub law: &'static str,
    /// Finding.
    pub what: String,
}

/// Reason why a law stopped.
#[derive(Debug)]
struct Stop(String);

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self(format!("the store fails: {error}"))
    }
}

type Outcome<T = ()> = Result<T, Stop>;

macro_rules! require {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(Stop(format!($($what)+)));
        }
    };
}

macro_rules! require_eq {
    ($found:expr, $wanted:expr, $($what:tt)+) => {
        match (&$found, &$wanted) {
            (found, wanted) => {
                if *found != *wanted {
                    return Err(Stop(format!("{}: found {found:?}, wanted {wanted:?}", format_args!($($what)+))));
                }
            }
        }
    };
}

/// Runs all laws at the time `now`.
///
/// # Errors
/// The first law that does not hold.
pub async fn check<Channels, Messages, Connections, Removal>(
    ports: &Ports<'_, Channels, Messages, Connections, Removal>,
    now: Timestamp,
) -> Result<(), Violation>
where
    Channels: ChannelStore + InvitationStore + PendingEnds + ReplyLeases + RateLimiter,
    Messages: MessageStore,
    Connections: ConnectionStore + PresenceStore + TicketStore,
    Removal: DeletedChannels,
{
    let bench = Bench { ports, now, made: AtomicU64::new(0) };
    let laws: Vec<(&'static str, BoxFuture<'_, Outcome>)> = vec![
        ("an id leads to one channel at a time", Box::pin(bench.ids())),
        ("a channel that reuses an id has nothing of the one before", Box::pin(bench.names_taken_anew())),
        ("an append has its conditions", Box::pin(bench.appends())),
        ("an append of a cached head meets no other incarnation", Box::pin(bench.cached_heads())),
        ("no change is made by an authority that does not hold", Box::pin(bench.stale_authorities())),
        ("a membership that begins again is another", Box::pin(bench.memberships_begun_anew())),
        ("a channel keeps an owner", Box::pin(bench.last_owners())),
        ("a change that ends subscriptions records it and changes the gate", Box::pin(bench.ends())),
        ("a pending end is leased to one function at a time", Box::pin(bench.leases())),
        ("removal goes page by page, and spares other incarnations", Box::pin(bench.removal())),
        ("lists of channels are complete and in order", Box::pin(bench.lists())),
        ("a list of public channels follows the settings", Box::pin(bench.public_list())),
        ("a read mark needs a membership and never goes back", Box::pin(bench.read_marks())),
        ("a message is read as it was written, until it expires", Box::pin(bench.history())),
        ("a change of a message changes only that message", Box::pin(bench.revisions())),
        ("reactions are counted by user", Box::pin(bench.reactions())),
        ("a connection is identified by its id and its time of connecting", Box::pin(bench.connections())),
        ("a renewal applies to later subscriptions", Box::pin(bench.renewals())),
        ("a subscription needs an open connection with room", Box::pin(bench.subscriptions())),
        ("an audience is read with its gate, in pages", Box::pin(bench.audiences())),
        ("a ticket is redeemed once", Box::pin(bench.tickets())),
        ("a change of presence is reported once", Box::pin(bench.presence())),
        ("a reply lease has one owner at a time", Box::pin(bench.claims())),
        ("an invitation is accepted once, by its user, and ends with the membership", Box::pin(bench.invitations())),
        ("channels of a creator are counted", Box::pin(bench.created_channels())),
        ("channels that a user chose come first", Box::pin(bench.chosen_channels())),
        ("buckets belong to users, or to a channel", Box::pin(bench.buckets())),
    ];
    for (law, outcome) in laws {
        outcome.await.map_err(|Stop(what)| Violation { law, what })?;
    }
    Ok(())
}

struct Bench<'a, Channels, Messages, Connections, Removal> {
    ports: &'a Ports<'a, Channels, Messages, Connections, Removal>,
    now: Timestamp,
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

fn id<T: std::str::FromStr>(text: &str) -> Outcome<T> {
    text.parse().map_err(|_| Stop(format!("{text} is no id")))
}

fn request_key(user: &str) -> Outcome<RecordKey> {
    Ok(RecordKey::Request { sender_id: id(user)?, key: id("k")? })
}

/// Maximum number of a user's channels in laws that do not test it.
const MANY: usize = 1_000_000;

const LONG: Duration = Duration::from_hours(1);

/// Event that makes an authority stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// No event.
    Nothing,
    /// The visibility of the channel changed.
    Shown,
    /// The channel was archived.
    Archived,
    /// The channel was deleted.
    Deleted,
    /// The channel was deleted and created again, with the same members.
    MadeAnew,
    /// The caller's role was changed.
    Demoted,
    /// The caller was removed.
    Removed,
    /// The caller was removed, and was added again with the same role.
    AddedAgain,
}

/// Change that an authority allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Update,
    Delete,
    Add,
    Promote,
    Remove,
    Revise,
    React,
    Cancel,
}

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelStore + InvitationStore + PendingEnds + ReplyLeases + RateLimiter,
    Messages: MessageStore,
    Connections: ConnectionStore + PresenceStore + TicketStore,
    Removal: DeletedChannels,
{
    fn later(&self, duration: Duration) -> Timestamp {
        self.now.plus(duration)
    }

    fn new_channel(&self, name: &str, visibility: Visibility) -> Outcome<Channel> {
        Ok(Channel {
            channel_id: id(name)?,
            incarnation: Incarnation::generate(self.seed()),
            name: name.to_owned(),
            visibility,
            agent: AgentSettings::default(),
            last_seq: 0,
            last_message_at: None,
            created_by: id("olga")?,
            created_at: self.now,
            archived_at: None,
            retention_days: None,
            version: 1,
        })
    }

    fn new_member(&self, channel: &Channel, user: &str, role: MemberRole) -> Outcome<Member> {
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
    async fn channel(&self, name: &str, visibility: Visibility) -> Outcome<(Channel, Member)> {
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
    async fn member(&self, by: &Authority<'_>, user: &str, role: MemberRole) -> Outcome<Member> {
        let member = self.new_member(by.channel, user, role)?;
        let added = self.ports.channels.add_member(by, &member, 0).await?;
        require_eq!(added, MemberAdded::Added, "adding {user}");
        Ok(member)
    }

    /// Returns the channel that an id leads to.
    async fn current(&self, channel: &Channel) -> Outcome<Channel> {
        let found = self.ports.channels.channel(&channel.channel_id).await?;
        found.ok_or_else(|| Stop(format!("{} is not there", channel.channel_id)))
    }

    /// Changes the settings of a channel on behalf of olga, and returns the channel.
    async fn changed(
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

    async fn delete(&self, channel: &Channel, owner: &Member) -> Outcome<PendingEnd> {
        let channel = self.current(channel).await?;
        let pending = PendingEnd::new(channel.key(), EndCause::ChannelDeleted, self.seed());
        let by = Authority { channel: &channel, member: Some(owner) };
        require!(self.ports.channels.delete(&by, &pending, self.now).await?, "the channel is not deleted");
        Ok(pending)
    }

    async fn remove(&self, by: &Authority<'_>, member: &Member) -> Outcome<PendingEnd> {
        let cause = EndCause::MemberRemoved { user_id: member.user_id.clone() };
        let pending = PendingEnd::new(by.channel.key(), cause, self.seed());
        let removed = self.ports.channels.remove_member(by, member, &pending, self.now).await?;
        require_eq!(removed, MemberChanged::Done, "removing {}", member.user_id);
        Ok(pending)
    }

    fn message(&self, head: &ChannelHead, user: &str) -> Outcome<StoredMessage> {
        let message = Message {
            channel_id: head.channel_id.clone(),
            seq: head.last_seq + 1,
            message_id: MessageId::generate(self.seed()),
            sender_id: id(user)?,
            role: Role::User,
            content: format!("{} of {user}", head.last_seq + 1),
            content_type: ContentType::Plain,
            created_at: self.now,
            metadata: None,
            reply_to: None,
            edited_at: None,
            reactions: Reactions::new(),
            deleted_at: None,
        };
        Ok(StoredMessage { message, incarnation: head.incarnation, trace: None, expires_at: None })
    }

    fn record(&self, key: RecordKey, message: &StoredMessage) -> IdempotencyRecord {
        let Message { message_id, seq, .. } = message.message;
        IdempotencyRecord { key, fingerprint: "f".to_owned(), message_id, seq, expires_at: self.later(LONG) }
    }

    async fn append(
        &self,
        head: &ChannelHead,
        message: &StoredMessage,
        record: Option<&IdempotencyRecord>,
    ) -> Outcome<AppendResult> {
        let append = Append { head, message, for_agent: false, record, member: None, token: None, now: self.now };
        Ok(self.ports.messages.append(append).await?)
    }

    /// Appends a message of a user to the channel with the id.
    async fn send(&self, channel: &Channel, user: &str) -> Outcome<StoredMessage> {
        let head = self.head(&channel.channel_id).await?;
        let message = self.message(&head, user)?;
        require_eq!(self.append(&head, &message, None).await?, AppendResult::Stored, "sending");
        Ok(message)
    }

    async fn head(&self, channel: &ChannelId) -> Outcome<ChannelHead> {
        self.ports.messages.head(channel).await?.ok_or_else(|| Stop(format!("{channel} has no head")))
    }

    fn connection(&self, name: &str, user: &str, channels: &[&Channel]) -> Outcome<Connection> {
        Ok(Connection {
            connection_id: id(name)?,
            user_id: id(user)?,
            channels: channels.iter().map(|channel| channel.key()).collect(),
            auto_subscribe: true,
            allowed_channels: None,
            left_out: 0,
            connected_at: self.now,
            token_expires_at: self.later(LONG),
            expires_at: self.later(LONG),
        })
    }

    /// Opens a connection whose subscriptions rest on memberships.
    async fn open(&self, name: &str, user: &str, channels: &[&Channel]) -> Outcome<Connection> {
        let connection = self.connection(name, user, channels)?;
        let connections = self.ports.connections;
        connections.register_pending(&connection.user_id, &UserConnection::from(&connection)).await?;
        connections.activate(&connection, &connection.channels.iter().cloned().collect()).await?;
        Ok(connection)
    }

    /// Returns the subscriptions of a channel at a time, in the order of their connections' ids.
    async fn listeners(&self, channel: &ChannelKey, at: Timestamp) -> Outcome<Vec<Subscription>> {
        let mut audience = self.ports.connections.audience(channel, at).await?;
        audience.subscriptions.sort_unstable_by(|one, other| one.connection_id.cmp(&other.connection_id));
        Ok(audience.subscriptions)
    }

    async fn ids(&self) -> Outcome {
        let store = self.ports.channels;
        let (first, owner) = self.channel("ids", Visibility::Public).await?;
        require_eq!(store.channel(&first.channel_id).await?, Some(first.clone()), "the channel");
        require_eq!(store.member(&first.key(), &owner.user_id).await?, Some(owner.clone()), "its owner");
        let second = self.new_channel("ids", Visibility::Private)?;
        let other = self.new_member(&second, "oscar", MemberRole::Owner)?;
        let creation = Creation { key: id("c")?, fingerprint: "f".to_owned() };
        require_eq!(
            store.create(&second, &other, Some(&creation), MANY).await?,
            ChannelCreated::Taken,
            "an id that is taken"
        );
        require_eq!(store.member(&second.key(), &other.user_id).await?, None, "a member of what was not created");
        require_eq!(store.creation(&second.key(), &other.user_id, &creation.key).await?, None, "what was not created");
        self.delete(&first, &owner).await?;
        require_eq!(store.channel(&first.channel_id).await?, None, "a deleted channel");
        require_eq!(self.ports.messages.head(&first.channel_id).await?, None, "the head of a deleted channel");
        require_eq!(
            store.create(&second, &other, Some(&creation), MANY).await?,
            ChannelCreated::Done,
            "an id that became free"
        );
        require_eq!(store.channel(&first.channel_id).await?, Some(second.clone()), "the second channel");
        let found = store.creation(&second.key(), &other.user_id, &creation.key).await?;
        require_eq!(found, Some(creation), "what it was created with");
        Ok(())
    }

    async fn names_taken_anew(&self) -> Outcome {
        let Ports { channels: store, messages, connections, .. } = *self.ports;
        let (old, owner) = self.channel("anew", Visibility::Private).await?;
        let by = Authority { channel: &old, member: Some(&owner) };
        self.member(&by, "anna", MemberRole::Member).await?;
        let creation = Creation { key: id("c")?, fingerprint: "f".to_owned() };
        let head = self.head(&old.channel_id).await?;
        let message = self.message(&head, "anna")?;
        let records = [request_key("anna")?, RecordKey::Reply { seq: 1 }];
        let record = self.record(records[0].clone(), &message);
        require_eq!(self.append(&head, &message, Some(&record)).await?, AppendResult::Stored, "a message");
        let question = MessageKey { channel: old.key(), seq: 1 };
        require!(
            matches!(store.acquire(&question, "w", self.later(LONG), self.now).await?, Acquire::Acquired(_)),
            "a claim"
        );
        let (anna, anew): (UserId, ChannelId) = (id("anna")?, id("anew")?);
        connections.mark_online(&old.key(), &anna, self.now).await?;
        self.open("anew1=", "anna", &[&old]).await?;
        self.delete(&old, &owner).await?;

        let new = self.new_channel("anew", Visibility::Private)?;
        let owner = self.new_member(&new, "olga", MemberRole::Owner)?;
        require_eq!(store.create(&new, &owner, None, MANY).await?, ChannelCreated::Done, "the id is not free");
        let key = new.key();
        require_eq!(store.member(&key, &anna).await?, None, "a member of the channel before");
        require_eq!(messages.is_member(&key, &anna).await?, false, "a member of the channel before");
        require_eq!(store.members(&key, None, 10).await?.members, vec![owner.clone()], "the members");
        require_eq!(store.mark_read(&key, &anna, 0).await?, None, "the read mark of a user who is no member");
        require_eq!(store.creation(&key, &owner.user_id, &creation.key).await?, None, "what it was created with");
        require_eq!(messages.messages(&key, Range::After(0), 10, self.now).await?, vec![], "the history");
        require_eq!(messages.message(&key, 1, self.now).await?, None, "a message");
        for record in &records {
            require_eq!(messages.idempotency_record(&key, record).await?, None, "a record");
        }
        let question = MessageKey { channel: key.clone(), seq: 1 };
        let claimed = store.acquire(&question, "w2", self.later(LONG), self.now).await?;
        require!(
            matches!(claimed, Acquire::Acquired(claim) if claim.calls == 0),
            "a claim of the channel before holds"
        );
        let audience = connections.audience(&key, self.now).await?;
        require_eq!(audience.subscriptions, vec![], "the subscriptions");
        require!(!audience.gate.closed, "the gate of the channel before is closed, not this one's");
        require!(connections.gate(&old.key(), self.now).await?.closed, "the gate of a deleted channel is open");
        require!(connections.mark_online(&key, &anna, self.now).await?, "the presence of the channel before is known");
        require_eq!(self.head(&anew).await?, ChannelHead::from(&new), "the head");
        // The same `seq` and the same idempotency key are free in the new channel.
        let head = ChannelHead::from(&new);
        let message = self.message(&head, "anna")?;
        let record = self.record(records[0].clone(), &message);
        require_eq!(
            self.append(&head, &message, Some(&record)).await?,
            AppendResult::Stored,
            "a message under a used key"
        );
        Ok(())
    }

    async fn appends(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, owner) = self.channel("appends", Visibility::Private).await?;
        let head = ChannelHead::from(&channel);
        let first = self.message(&head, "olga")?;
        let key = request_key("olga")?;
        let record = self.record(key.clone(), &first);
        require_eq!(self.append(&head, &first, Some(&record)).await?, AppendResult::Stored, "the first");
        require_eq!(messages.idempotency_record(&channel.key(), &key).await?, Some(record.clone()), "its record");
        let now = self.head(&channel.channel_id).await?;
        require_eq!(now, ChannelHead { last_seq: 1, ..head.clone() }, "the head after it");
        // A used key is reported first, whatever other conditions fail.
        let again = self.message(&head, "olga")?;
        let of_again = self.record(key.clone(), &again);
        require_eq!(self.append(&head, &again, Some(&of_again)).await?, AppendResult::KeyTaken(record), "a used key");
        // An append without a key recognizes its own message, and no other.
        let second = self.message(&now, "olga")?;
        require_eq!(self.append(&now, &second, None).await?, AppendResult::Stored, "without a key");
        require_eq!(self.append(&now, &second, None).await?, AppendResult::Stored, "the same again");
        let now = self.head(&channel.channel_id).await?;
        require_eq!(now.last_seq, 2, "the number after the same message twice");
        let other = self.message(&head, "olga")?;
        require_eq!(
            self.append(&head, &other, None).await?,
            AppendResult::Stale { head: Some(now.clone()), bucket_full_at: None },
            "an old head"
        );
        // A required member.
        let third = self.message(&now, "mallory")?;
        let mallory = id("mallory")?;
        let append = Append {
            head: &now,
            message: &third,
            for_agent: false,
            record: None,
            member: Some(&mallory),
            token: None,
            now: self.now,
        };
        require_eq!(messages.append(append).await?, AppendResult::NotAMember, "a stranger");
        // A bucket that differs from the cached one.
        let token = |full_at, seconds| Token { full_at, next: self.later(Duration::from_secs(seconds)) };
        let append = Append { member: None, token: Some(token(None, 5)), ..append };
        require_eq!(messages.append(append).await?, AppendResult::Stored, "a token of a full bucket");
        let moved = self.later(Duration::from_secs(5));
        let before = now.clone();
        let now = self.head(&channel.channel_id).await?;
        let fourth = self.message(&now, "mallory")?;
        let append = Append { head: &now, message: &fourth, ..append };
        require_eq!(
            messages.append(append).await?,
            AppendResult::Stale { head: None, bucket_full_at: Some(moved) },
            "a bucket that is not full"
        );
        let late = self.message(&before, "mallory")?;
        let both = Append { head: &before, message: &late, ..append };
        require_eq!(
            messages.append(both).await?,
            AppendResult::Stale { head: Some(now.clone()), bucket_full_at: Some(moved) },
            "both"
        );
        let right = Append { token: Some(token(Some(moved), 10)), ..append };
        require_eq!(messages.append(right).await?, AppendResult::Stored, "a token of the bucket as it is");
        // Changed settings have another version.
        let changed = self.changed(&channel, &owner, |channel| "other".clone_into(&mut channel.name)).await?;
        let now = self.head(&channel.channel_id).await?;
        let behind = ChannelHead { version: 1, ..now.clone() };
        let fifth = self.message(&now, "olga")?;
        require_eq!(
            self.append(&behind, &fifth, None).await?,
            AppendResult::Stale { head: Some(now), bucket_full_at: None },
            "an old version"
        );
        require_eq!((changed.last_seq, changed.version), (4, 2), "a change of settings keeps the number");
        let history = messages.messages(&channel.key(), Range::After(0), 10, self.now).await?;
        require_eq!(history.iter().map(|one| one.seq).collect::<Vec<_>>(), [1, 2, 3, 4], "the numbers");
        // An expired record counts as absent.
        let now = self.head(&channel.channel_id).await?;
        let fifth = self.message(&now, "olga")?;
        let later = self.later(LONG + Duration::from_secs(1));
        let record = IdempotencyRecord { expires_at: later.plus(LONG), ..self.record(key, &fifth) };
        let append = Append {
            head: &now,
            message: &fifth,
            for_agent: false,
            record: Some(&record),
            member: None,
            token: None,
            now: later,
        };
        require_eq!(messages.append(append).await?, AppendResult::Stored, "a key whose time is over");
        Ok(())
    }

    async fn cached_heads(&self) -> Outcome {
        let (old, owner) = self.channel("heads", Visibility::Public).await?;
        let cached = ChannelHead::from(&old);
        self.delete(&old, &owner).await?;
        let message = self.message(&cached, "olga")?;
        require_eq!(self.append(&cached, &message, None).await?, AppendResult::ChannelNotFound, "no channel");
        let (new, _) = self.channel("heads", Visibility::Public).await?;
        let wanted = AppendResult::Stale { head: Some(ChannelHead::from(&new)), bucket_full_at: None };
        require_eq!(self.append(&cached, &message, None).await?, wanted, "another incarnation, alike in all else");
        require_eq!(self.head(&new.channel_id).await?.last_seq, 0, "the number of the new channel");
        let left = self.ports.messages.messages(&old.key(), Range::After(0), 10, self.now).await?;
        require_eq!(left, vec![], "the history of the old channel");
        Ok(())
    }

    /// Makes a change on behalf of paul, with the authority as read. Returns whether it was made.
    async fn attempt(
        &self,
        by: &Authority<'_>,
        change: Change,
        rita: &Member,
        message: &StoredMessage,
    ) -> Outcome<bool> {
        let Ports { channels: store, messages, .. } = *self.ports;
        let key = by.channel.key();
        let now = self.now;
        Ok(match change {
            Change::Update => {
                let changed = Channel { name: "x".to_owned(), version: by.channel.version + 1, ..by.channel.clone() };
                store.update(by, &changed, None, now).await?
            }
            Change::Delete => {
                store.delete(by, &PendingEnd::new(key, EndCause::ChannelDeleted, self.seed()), now).await?
            }
            Change::Add => {
                let ines = self.new_member(by.channel, "ines", MemberRole::Member)?;
                match store.add_member(by, &ines, 0).await? {
                    MemberAdded::Added => true,
                    MemberAdded::Stale => false,
                    MemberAdded::Already(there) => return Err(Stop(format!("{there:?} is a member already"))),
                }
            }
            Change::Promote => match store.change_role(by, rita, MemberRole::Moderator).await? {
                MemberChanged::Done => true,
                MemberChanged::Stale => false,
                MemberChanged::LastOwner => return Err(Stop("rita is the last owner".to_owned())),
            },
            Change::Remove => {
                let pending =
                    PendingEnd::new(key, EndCause::MemberRemoved { user_id: rita.user_id.clone() }, self.seed());
                match store.remove_member(by, rita, &pending, now).await? {
                    MemberChanged::Done => true,
                    MemberChanged::Stale => false,
                    MemberChanged::LastOwner => return Err(Stop("rita is the last owner".to_owned())),
                }
            }
            Change::Revise => {
                let mut revised = message.clone();
                "revised".clone_into(&mut revised.message.content);
                messages.update_message(by, &revised).await? == UpdateResult::Done
            }
            Change::React => {
                let revision = MessageRef {
                    channel_id: key.channel_id,
                    seq: message.message.seq,
                    caller: id("paul")?,
                    trace: None,
                };
                messages.react(by, &revision, &id("👍")?, true, now).await? == ReactionResult::Done
            }
            Change::Cancel => store.cancel(by, &MessageKey { channel: key, seq: message.message.seq }, now).await?,
        })
    }

    async fn stale_authorities(&self) -> Outcome {
        use Change::{Add, Cancel, Delete, Promote, React, Remove, Revise, Update};
        use Since::{AddedAgain, Archived, Deleted, Demoted, MadeAnew, Nothing, Removed, Shown};
        let mut number = 0;
        for change in [Update, Delete, Add, Promote, Remove, Revise, React, Cancel] {
            for since in [Nothing, Shown, Archived, Deleted, MadeAnew, Demoted, Removed, AddedAgain] {
                for visibility in [Visibility::Public, Visibility::Private] {
                    number += 1;
                    let name = format!("stale{number}");
                    let what = format!("{change:?} of a {visibility:?} channel after {since:?}");
                    self.stale_authority(&name, visibility, change, since)
                        .await
                        .map_err(|Stop(found)| Stop(format!("{what}: {found}")))?;
                }
            }
        }
        Ok(())
    }

    async fn stale_authority(&self, name: &str, visibility: Visibility, change: Change, since: Since) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel(name, visibility).await?;
        let as_olga = Authority { channel: &channel, member: Some(&olga) };
        let paul = self.member(&as_olga, "paul", MemberRole::Owner).await?;
        let rita = self.member(&as_olga, "rita", MemberRole::Member).await?;
        let message = self.send(&channel, "rita").await?;
        let read = self.current(&channel).await?;
        let other = match visibility {
            Visibility::Public => Visibility::Private,
            Visibility::Private => Visibility::Public,
        };
        let mut now = read.clone();
        let mut of_rita = rita.clone();
        match since {
            Since::Nothing => {}
            Since::Shown => now = self.changed(&read, &olga, |channel| channel.visibility = other).await?,
            Since::Archived => {
                now = self.changed(&read, &olga, |channel| channel.archived_at = Some(self.now)).await?;
            }
            Since::Deleted => {
                self.delete(&read, &olga).await?;
            }
            Since::MadeAnew => {
                self.delete(&read, &olga).await?;
                let anew = self.new_channel(name, visibility)?;
                require_eq!(store.create(&anew, &olga, None, MANY).await?, ChannelCreated::Done, "the id is not free");
                let by = Authority { channel: &anew, member: Some(&olga) };
                for member in [&paul, &rita] {
                    require_eq!(store.add_member(&by, member, 0).await?, MemberAdded::Added, "a member as before");
                }
                self.send(&anew, "rita").await?;
                now = self.current(&anew).await?;
            }
            Since::Demoted => {
                let by = Authority { channel: &read, member: Some(&olga) };
                let demoted = store.change_role(&by, &paul, MemberRole::Moderator).await?;
                require_eq!(demoted, MemberChanged::Done, "demoting paul");
            }
            Since::Removed | Since::AddedAgain => {
                let by = Authority { channel: &read, member: Some(&olga) };
                self.remove(&by, &paul).await?;
                if since == Since::AddedAgain {
                    self.member(&by, "paul", MemberRole::Owner).await?;
                }
            }
        }
        let by = Authority { channel: &read, member: Some(&paul) };
        let made = self.attempt(&by, change, &rita, &message).await?;
        require_eq!(made, since == Since::Nothing, "the change");
        if since == Since::Nothing {
            return Ok(());
        }
        // The change has no effect.
        let key = now.key();
        if since == Since::Deleted {
            require_eq!(store.channel(&now.channel_id).await?, None, "the channel");
        } else {
            require_eq!(self.current(&now).await?, now, "the settings");
            of_rita = store.member(&key, &rita.user_id).await?.ok_or_else(|| Stop("rita is no member".to_owned()))?;
        }
        require_eq!(of_rita, rita, "rita's membership");
        require_eq!(store.member(&key, &id("ines")?).await?, None, "ines' membership");
        for key in [read.key(), key] {
            let found = self.ports.messages.message(&key, 1, self.now).await?;
            let found = found.map(|message| (message.content, message.reactions));
            require_eq!(found, Some((message.message.content.clone(), Reactions::new())), "the message");
        }
        Ok(())
    }

    async fn memberships_begun_anew(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("lives", Visibility::Private).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let first = self.member(&by, "rita", MemberRole::Member).await?;
        let again = self.new_member(&channel, "rita", MemberRole::Member)?;
        let added = store.add_member(&by, &again, 0).await?;
        require_eq!(added, MemberAdded::Already(first.clone()), "a member twice");
        self.remove(&by, &first).await?;
        require_eq!(store.member(&channel.key(), &first.user_id).await?, None, "a member who was removed");
        let second = self.member(&by, "rita", MemberRole::Member).await?;
        let pending =
            PendingEnd::new(channel.key(), EndCause::MemberRemoved { user_id: first.user_id.clone() }, self.seed());
        let removed = store.remove_member(&by, &first, &pending, self.now).await?;
        require_eq!(removed, MemberChanged::Stale, "removing the membership before");
        let changed = store.change_role(&by, &first, MemberRole::Moderator).await?;
        require_eq!(changed, MemberChanged::Stale, "changing the membership before");
        require_eq!(store.member(&channel.key(), &first.user_id).await?, Some(second.clone()), "the membership");
        let lease = store.lease(&pending, self.later(LONG), self.later(LONG)).await?;
        require_eq!(lease, None, "an end of what has not ended");
        // The caller is the member: one condition covers both, instead of two that contradict each other.
        let as_moderator = Member { role: MemberRole::Moderator, ..second.clone() };
        let by_self = Authority { channel: &channel, member: Some(&as_moderator) };
        let removed = store.remove_member(&by_self, &second, &pending, self.now).await?;
        require_eq!(removed, MemberChanged::Stale, "a caller whose membership differs from the member's");
        let by_self = Authority { channel: &channel, member: Some(&second) };
        self.remove(&by_self, &second).await?;
        let among = store.members_among(&channel.key(), &[first.user_id, olga.user_id.clone(), id("x")?]).await?;
        require_eq!(among, vec![olga], "the members among some users");
        Ok(())
    }

    async fn last_owners(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("owners", Visibility::Private).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let pending =
            PendingEnd::new(channel.key(), EndCause::MemberRemoved { user_id: olga.user_id.clone() }, self.seed());
        let last = MemberChanged::LastOwner;
        require_eq!(store.remove_member(&by, &olga, &pending, self.now).await?, last, "the last owner leaves");
        require_eq!(store.change_role(&by, &olga, MemberRole::Member).await?, last, "the last owner steps down");
        require!(
            !self.ports.connections.gate(&channel.key(), self.now).await?.blocked.contains(&olga.user_id),
            "blocked"
        );
        let paul = self.member(&by, "paul", MemberRole::Owner).await?;
        let done = MemberChanged::Done;
        require_eq!(store.change_role(&by, &olga, MemberRole::Member).await?, done, "one of two owners steps down");
        let by_paul = Authority { channel: &channel, member: Some(&paul) };
        require_eq!(store.change_role(&by_paul, &paul, MemberRole::Moderator).await?, last, "the other one");
        let olga = Member { role: MemberRole::Member, ..olga };
        require_eq!(store.change_role(&by_paul, &olga, MemberRole::Owner).await?, done, "an owner again");
        self.remove(&by_paul, &paul).await?;
        let olga = Member { role: MemberRole::Owner, ..olga };
        let by = Authority { channel: &channel, member: Some(&olga) };
        require_eq!(store.remove_member(&by, &olga, &pending, self.now).await?, last, "the last of two");
        // A caller whose membership has changed gets `Stale`, and not `LastOwner`.
        let read_otherwise = Member { incarnation: Incarnation::generate(self.seed()), ..olga };
        let by = Authority { channel: &channel, member: Some(&read_otherwise) };
        let removed = store.remove_member(&by, &read_otherwise, &pending, self.now).await?;
        require_eq!(removed, MemberChanged::Stale, "a membership that is another");
        Ok(())
    }

    async fn ends(&self) -> Outcome {
        let Ports { channels: store, connections, .. } = *self.ports;
        let (channel, olga) = self.channel("ends", Visibility::Public).await?;
        let key = channel.key();
        let gate = async || connections.gate(&key, self.now).await;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let rita = self.member(&by, "rita", MemberRole::Member).await?;
        require_eq!(
            gate().await?,
            crate::model::connection::Gate::default(),
            "the gate of a channel that nothing has ended in"
        );
        let removed = self.remove(&by, &rita).await?;
        require!(gate().await?.blocked.contains(&rita.user_id), "a removed user is not blocked");
        let rita = self.member(&by, "rita", MemberRole::Member).await?;
        require!(!gate().await?.blocked.contains(&rita.user_id), "a user who is a member again is blocked");

        let private = Channel { visibility: Visibility::Private, version: 2, ..channel.clone() };
        let made_private = PendingEnd::new(key.clone(), EndCause::MadePrivate, self.seed());
        let updated = store.update(&by, &private, Some(&made_private), self.now).await?;
        require!(updated, "the channel is not made private");
        require!(gate().await?.private, "the gate of a channel that was made private");
        require_eq!(self.current(&channel).await?, private, "the channel that was made private");
        let archived = self.changed(&private, &olga, |channel| channel.archived_at = Some(self.now)).await?;
        require!(gate().await?.private, "the gate after a change of something else");
        let public = self.changed(&archived, &olga, |channel| channel.visibility = Visibility::Public).await?;
        require!(!gate().await?.private, "the gate of a channel that is public again");
        let deleted = self.delete(&public, &olga).await?;
        require!(gate().await?.closed, "the gate of a deleted channel");
        let after = self.later(LONG * 4);
        require_eq!(
            connections.gate(&key, after).await?,
            crate::model::connection::Gate::default(),
            "a gate after its time"
        );

        for pending in [removed, made_private, deleted] {
            let until = self.later(LONG * 2);
            let leased = store.lease(&pending, until, self.later(LONG)).await?;
            require_eq!(leased, Some(PendingEnd { lease_until: until, ..pending.clone() }), "what was recorded");
            store.finish(&pending).await?;
        }
        Ok(())
    }

    async fn leases(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("leases", Visibility::Public).await?;
        let recorded = self.delete(&channel, &olga).await?;
        let [first, second] = [1, 2].map(|hours| self.later(LONG * hours));
        require_eq!(store.lease(&recorded, second, self.now).await?, None, "what its maker has a lease on");
        let leased = store.lease(&recorded, second, recorded.lease_until).await?;
        require_eq!(leased, Some(PendingEnd { lease_until: second, ..recorded.clone() }), "a lease that has ended");
        require_eq!(store.lease(&recorded, second, first).await?, None, "a lease of another");
        let advanced = PendingEnd { after: Some(id("a=")?), lease_until: first, ..recorded.clone() };
        store.advance(&advanced).await?;
        let leased = store.lease(&recorded, second, first).await?;
        require_eq!(leased, Some(PendingEnd { lease_until: second, ..advanced.clone() }), "the progress");
        store.finish(&recorded).await?;
        store.advance(&advanced).await?;
        require_eq!(store.lease(&recorded, second, self.later(LONG * 3)).await?, None, "what is finished");
        store.finish(&recorded).await?;
        Ok(())
    }

    async fn removal(&self) -> Outcome {
        let Ports { channels: store, messages, removal, .. } = *self.ports;
        let (old, olga) = self.channel("removal", Visibility::Private).await?;
        let by = Authority { channel: &old, member: Some(&olga) };
        for number in 0..5 {
            self.member(&by, &format!("u{number}"), MemberRole::Member).await?;
            self.send(&old, "olga").await?;
        }
        let head = self.head(&old.channel_id).await?;
        let message = self.message(&head, "olga")?;
        let record = self.record(request_key("olga")?, &message);
        require_eq!(self.append(&head, &message, Some(&record)).await?, AppendResult::Stored, "a message with a key");
        let question = MessageKey { channel: old.key(), seq: 1 };
        store.acquire(&question, "w", self.later(LONG), self.now).await?;
        self.delete(&old, &olga).await?;
        let listed = store.memberships(&id("u1")?, 100).await?.channels;
        require!(listed.contains(&old.key()), "a membership outlives a deletion until it is removed");

        let (new, _) = self.channel("removal", Visibility::Private).await?;
        let kept = self.send(&new, "olga").await?;
        let mut calls = 0;
        while !removal.remove_some(&old.key()).await? {
            calls += 1;
            require!(calls < 1_000, "the removal does not end");
        }
        require!(removal.remove_some(&old.key()).await?, "a removal that is done, once more");
        let key = old.key();
        require_eq!(messages.messages(&key, Range::After(0), 10, self.now).await?, vec![], "messages");
        require_eq!(store.members(&key, None, 10).await?.members, vec![], "members");
        require_eq!(messages.idempotency_record(&key, &record.key).await?, None, "a record");
        let claimed = store.acquire(&question, "w2", self.later(LONG), self.now).await?;
        require!(matches!(claimed, Acquire::Acquired(_)), "a claim of a channel that was removed");
        for user in ["olga", "u1"] {
            let listed = store.memberships(&id(user)?, 100).await?.channels;
            require!(!listed.contains(&key), "{user} still lists the channel");
        }
        let listed = store.memberships(&id("olga")?, 1_000).await?.channels;
        require!(listed.contains(&new.key()), "olga does not list the channel that took the id");
        let found = messages.messages(&new.key(), Range::After(0), 10, self.now).await?;
        require_eq!(found, vec![kept.message], "the history of the channel that took the id");
        Ok(())
    }

    async fn lists(&self) -> Outcome {
        let store = self.ports.channels;
        let lena: UserId = id("lena")?;
        let mut made = Vec::new();
        // Ids whose order differs from that of their lengths. The last id also has a deleted incarnation.
        for name in ["list", "list-a", "list.b", "list2"] {
            let (channel, olga) = self.channel(name, Visibility::Public).await?;
            let by = Authority { channel: &channel, member: Some(&olga) };
            let member = self.new_member(&channel, "lena", MemberRole::Member)?;
            require_eq!(store.add_member(&by, &member, 0).await?, MemberAdded::Added, "adding lena");
            made.push((channel, olga));
        }
        let Some((old, olga)) = made.pop() else { return Ok(()) };
        self.delete(&old, &olga).await?;
        let (new, olga) = self.channel("list2", Visibility::Public).await?;
        let by = Authority { channel: &new, member: Some(&olga) };
        self.send(&new, "olga").await?;
        let member = self.new_member(&new, "lena", MemberRole::Member)?;
        require_eq!(store.add_member(&by, &member, 0).await?, MemberAdded::Added, "adding lena again");
        let mut wanted: Vec<ChannelKey> = made.iter().map(|(channel, _)| channel.key()).collect();
        wanted.push(new.key());
        for limit in 1..=6 {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = store.channels_of(&lena, after.as_ref(), limit).await?;
                found.extend(page.channels.iter().map(|own| own.channel.key()));
                if let Some(own) = page.channels.iter().find(|own| own.channel.key() == new.key()) {
                    require_eq!((own.read_seq, own.unread_count), (0, 1), "the unread messages");
                }
                after = page.next_after;
                if after.is_none() {
                    break;
                }
            }
            require_eq!(found, wanted, "lena's channels, {limit} at a time");
        }
        let all = store.memberships(&lena, 100).await?.channels;
        let of_old = all.iter().filter(|key| **key == old.key()).count();
        require_eq!(of_old, 1, "the membership in the deleted channel, until it is removed");
        require_eq!(all.iter().filter(|key| wanted.contains(key)).count(), 4, "lena's memberships");
        let sorted = all.is_sorted_by_key(|key| key.channel_id.clone());
        require!(sorted, "memberships are in the order of their ids");
        require_eq!(store.memberships(&lena, 2).await?.channels.len(), 2, "some memberships");

        let (crowd, olga) = self.channel("crowd", Visibility::Public).await?;
        let by = Authority { channel: &crowd, member: Some(&olga) };
        for number in 0..5 {
            self.member(&by, &format!("crowd{number}"), MemberRole::Member).await?;
        }
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.members(&crowd.key(), after.as_ref(), 2).await?;
            require!(page.members.len() <= 2, "a page is too long");
            found.extend(page.members.into_iter().map(|member| member.user_id.to_string()));
            after = page.next_after;
            if after.is_none() {
                break;
            }
        }
        require_eq!(found, ["crowd0", "crowd1", "crowd2", "crowd3", "crowd4", "olga"], "members, two at a time");
        Ok(())
    }

    async fn public_list(&self) -> Outcome {
        let store = self.ports.channels;
        let names = async |prefix: &str| -> Outcome<Vec<String>> {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = store.public_channels(prefix, after.as_deref(), 2).await?;
                found.extend(page.channels.into_iter().map(|channel| channel.name));
                after = page.next_after;
                if after.is_none() {
                    return Ok(found);
                }
            }
        };
        let mut made = Vec::new();
        for name in ["Town", "tower", "town-hall", "hall"] {
            let channel =
                Channel { name: name.to_owned(), ..self.new_channel(&format!("public-{name}"), Visibility::Public)? };
            let olga = self.new_member(&channel, "olga", MemberRole::Owner)?;
            require_eq!(store.create(&channel, &olga, None, MANY).await?, ChannelCreated::Done, "{name} is taken");
            made.push((channel, olga));
        }
        self.channel("town-private", Visibility::Private).await?;
        require_eq!(names("TOW").await?, ["tower", "Town", "town-hall"], "public channels");
        let Some((town, olga)) = made.first() else { return Ok(()) };
        let renamed = self.changed(town, olga, |channel| "towns".clone_into(&mut channel.name)).await?;
        require_eq!(names("tow").await?, ["tower", "town-hall", "towns"], "after a new name");
        let private = self.changed(&renamed, olga, |channel| channel.visibility = Visibility::Private).await?;
        require_eq!(names("tow").await?, ["tower", "town-hall"], "after one was made private");
        let public = self.changed(&private, olga, |channel| channel.visibility = Visibility::Public).await?;
        require_eq!(names("towns").await?, ["towns"], "after it was made public");
        self.delete(&public, olga).await?;
        require_eq!(names("tow").await?, ["tower", "town-hall"], "after it was deleted");
        let anew = Channel { name: "towns".to_owned(), ..self.new_channel("public-Town", Visibility::Public)? };
        let olga = self.new_member(&anew, "olga", MemberRole::Owner)?;
        require_eq!(store.create(&anew, &olga, None, MANY).await?, ChannelCreated::Done, "the id is not free");
        require_eq!(names("towns").await?, ["towns"], "after it was created again");
        Ok(())
    }

    async fn read_marks(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("marks", Visibility::Public).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let rita = self.member(&by, "rita", MemberRole::Member).await?;
        let key = channel.key();
        for (seq, wanted) in [(3, 3), (2, 3), (3, 3), (7, 7)] {
            require_eq!(store.mark_read(&key, &rita.user_id, seq).await?, Some(wanted), "the mark");
        }
        require_eq!(store.mark_read(&key, &id("mallory")?, 1).await?, None, "the mark of a user who is no member");
        self.remove(&by, &rita).await?;
        require_eq!(store.mark_read(&key, &rita.user_id, 9).await?, None, "the mark of a removed user");
        let rita = self.new_member(&channel, "rita", MemberRole::Member)?;
        store.add_member(&by, &rita, 5).await?;
        require_eq!(store.mark_read(&key, &rita.user_id, 0).await?, Some(5), "the mark of a rejoined user");
        Ok(())
    }

    async fn history(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, _) = self.channel("history", Visibility::Public).await?;
        let key = channel.key();
        let mut stored = Vec::new();
        for number in 1..=6_u64 {
            let head = self.head(&channel.channel_id).await?;
            let mut message = self.message(&head, "olga")?;
            message.message.reply_to = (number > 3).then_some(1);
            // The fifth message expires.
            message.expires_at = (number == 5).then(|| self.later(LONG));
            require_eq!(self.append(&head, &message, None).await?, AppendResult::Stored, "message {number}");
            stored.push(message.message);
        }
        require_eq!(messages.message(&key, 2, self.now).await?, stored.get(1).cloned(), "one message");
        require_eq!(messages.message(&key, 7, self.now).await?, None, "a message that is not there");
        let (before, after) = (self.now, self.later(LONG + Duration::from_secs(1)));
        let all: (&[u64], &[u64]) = (&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 6]);
        for (now, numbers) in [(before, all.0), (after, all.1)] {
            let of = |range: Range, limit: usize| -> Vec<u64> {
                let (mut chosen, newest_first): (Vec<u64>, bool) = match range {
                    Range::Newest => (numbers.to_vec(), true),
                    Range::Before(seq) => (numbers.iter().copied().filter(|one| *one < seq).collect(), true),
                    Range::After(seq) => (numbers.iter().copied().filter(|one| *one > seq).collect(), false),
                };
                if newest_first {
                    chosen.reverse();
                }
                chosen.truncate(limit);
                chosen
            };
            for range in
                [Range::Newest, Range::Before(5), Range::Before(1), Range::After(0), Range::After(3), Range::After(9)]
            {
                for limit in [1_u16, 2, 10] {
                    let found = messages.messages(&key, range, limit, now).await?;
                    let found: Vec<u64> = found.iter().map(|message| message.seq).collect();
                    require_eq!(found, of(range, usize::from(limit)), "{range:?}, up to {limit}");
                }
            }
            let thread: Vec<u64> = numbers.iter().copied().filter(|one| *one > 3).collect();
            for (from, limit) in [(0, 10), (0, 2), (4, 10), (6, 10)] {
                let found = messages.replies(&key, 1, from, limit, now).await?;
                let found: Vec<u64> = found.iter().map(|message| message.seq).collect();
                let wanted: Vec<u64> =
                    thread.iter().copied().filter(|one| *one > from).take(usize::from(limit)).collect();
                require_eq!(found, wanted, "answers after {from}, up to {limit}");
            }
        }
        require_eq!(messages.message(&key, 5, after).await?, None, "a message that has expired");
        require_eq!(messages.replies(&key, 2, 0, 10, before).await?, vec![], "a thread of nothing");
        Ok(())
    }

    async fn revisions(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, olga) = self.channel("revisions", Visibility::Public).await?;
        let key = channel.key();
        let sent = self.send(&channel, "olga").await?;
        let channel = self.current(&channel).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let react = MessageRef { channel_id: channel.channel_id.clone(), seq: 1, caller: id("rita")?, trace: None };
        require_eq!(messages.react(&by, &react, &id("👍")?, true, self.now).await?, ReactionResult::Done, "a reaction");
        let mut edited = sent.clone();
        "edited".clone_into(&mut edited.message.content);
        edited.message.edited_at = Some(self.now);
        require_eq!(messages.update_message(&by, &edited).await?, UpdateResult::Done, "an edit");
        let found = messages.message(&key, 1, self.now).await?;
        let wanted = Reactions::from([(id("👍")?, BTreeSet::from([id("rita")?]))]);
        let wanted = Message { reactions: wanted, ..edited.message.clone() };
        require_eq!(found, Some(wanted), "the message, with the reaction that came meanwhile");
        let mut deleted = sent.clone();
        deleted.message.content = String::new();
        deleted.message.deleted_at = Some(self.now);
        require_eq!(messages.update_message(&by, &deleted).await?, UpdateResult::Done, "a deletion");
        require_eq!(messages.message(&key, 1, self.now).await?, Some(deleted.message), "the deleted message");
        require_eq!(
            messages.update_message(&by, &edited).await?,
            UpdateResult::MessageNotFound,
            "an edit of what is deleted"
        );
        let gone = messages.react(&by, &react, &id("👍")?, true, self.now).await?;
        require_eq!(gone, ReactionResult::MessageNotFound, "a reaction to what is deleted");
        let mut absent = sent;
        absent.message.seq = 2;
        require_eq!(
            messages.update_message(&by, &absent).await?,
            UpdateResult::MessageNotFound,
            "an edit of what is not there"
        );
        require_eq!(messages.message(&key, 2, self.now).await?, None, "what is not there");
        Ok(())
    }

    async fn reactions(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, _) = self.channel("reactions", Visibility::Public).await?;
        let head = self.head(&channel.channel_id).await?;
        let expires_at = Some(self.later(LONG));
        let message = StoredMessage { expires_at, ..self.message(&head, "olga")? };
        require_eq!(self.append(&head, &message, None).await?, AppendResult::Stored, "a message");
        let channel = self.current(&channel).await?;
        let by = Authority { channel: &channel, member: None };
        let react = async |user: &str, kind: &str, add: bool, now: Timestamp| -> Outcome<ReactionResult> {
            let revision =
                MessageRef { channel_id: channel.channel_id.clone(), seq: 1, caller: id(user)?, trace: None };
            Ok(messages.react(&by, &revision, &id(kind)?, add, now).await?)
        };
        let done = ReactionResult::Done;
        for (user, kind, add) in [
            ("rita", "👍", true),
            ("rita", "👍", true),
            ("paul", "👍", true),
            ("paul", "🎉", true),
            ("rita", "👍", false),
        ] {
            require_eq!(react(user, kind, add, self.now).await?, done, "a reaction");
        }
        require_eq!(react("rita", "👍", false, self.now).await?, done, "what was taken back, once more");
        let found = messages.message(&channel.key(), 1, self.now).await?.map(|message| message.reactions);
        let paul: BTreeSet<UserId> = BTreeSet::from([id("paul")?]);
        let wanted = Reactions::from([(id("👍")?, paul.clone()), (id("🎉")?, paul)]);
        require_eq!(found, Some(wanted), "the reactions");
        require_eq!(react("paul", "🎉", false, self.now).await?, done, "the last of its kind");
        let found = messages.message(&channel.key(), 1, self.now).await?.map(|message| message.reactions.len());
        require_eq!(found, Some(1), "the remaining kinds");
        let late = self.later(LONG + Duration::from_secs(1));
        require_eq!(
            react("rita", "👍", true, late).await?,
            ReactionResult::MessageNotFound,
            "a message that has expired"
        );
        for kind in ('😀'..).take(crate::model::limits::REACTIONS_PER_MESSAGE - 1) {
            require_eq!(react("rita", &kind.to_string(), true, self.now).await?, done, "kind {kind}");
        }
        require_eq!(react("rita", "🚀", true, self.now).await?, ReactionResult::Full, "one kind too many");
        require_eq!(react("rita", "👍", true, self.now).await?, done, "a kind that is there");
        Ok(())
    }

    async fn connections(&self) -> Outcome {
        let connections = self.ports.connections;
        let (channel, _) = self.channel("connections", Visibility::Public).await?;
        let (key, user): (ChannelKey, UserId) = (channel.key(), id("connie")?);
        let mut opened = self.open("conn1=", "connie", &[&channel]).await?;
        let name = opened.connection_id.clone();
        require_eq!(connections.connection(&name).await?, Some(opened.clone()), "the connection");
        let of_user = UserConnection::from(&opened);
        require_eq!(
            connections.connections_of(&user, self.now).await?,
            vec![of_user.clone()],
            "the user's connections"
        );
        let after = self.later(LONG + Duration::from_secs(1));
        require_eq!(connections.connections_of(&user, after).await?, vec![], "connections after their time");
        require_eq!(self.listeners(&key, self.now).await?, vec![of_user.subscription(&user)], "the subscriptions");
        require_eq!(self.listeners(&key, after).await?, vec![], "subscriptions after their time");
        require!(connections.is_subscribed(&key, &name, self.now).await?, "it is not subscribed");
        // Another connection has the same id.
        let later = self.later(Duration::from_secs(1));
        require!(!connections.is_subscribed(&key, &name, later).await?, "another one is subscribed");
        require!(!connections.unsubscribe(&key, &name, later).await?, "another one was unsubscribed");
        require!(!connections.close(&name, later).await?, "another one was closed");
        connections.remove_pending(&user, &UserConnection { connected_at: later, ..of_user.clone() }).await?;
        require_eq!(
            connections.connections_of(&user, self.now).await?.len(),
            1,
            "the user's connections after all that"
        );
        let subscription = Subscription { connected_at: later, ..of_user.subscription(&user) };
        require!(!connections.confirm_member(&key, &subscription).await?, "another one was confirmed");
        require!(connections.unsubscribe(&key, &name, self.now).await?, "it was not unsubscribed");
        require!(!connections.unsubscribe(&key, &name, self.now).await?, "it was unsubscribed twice");
        opened.channels.clear();
        require_eq!(connections.connection(&name).await?, Some(opened), "the connection without its channel");
        require!(connections.subscribe(&key, &user, &of_user, true).await?, "it was not subscribed");
        require!(connections.close(&name, self.now).await?, "it was not closed");
        require!(!connections.close(&name, self.now).await?, "it was closed twice");
        require_eq!(connections.connection(&name).await?, None, "the connection after its end");
        require_eq!(connections.connections_of(&user, self.now).await?, vec![], "the user's connections after its end");
        require_eq!(self.listeners(&key, self.now).await?, vec![], "the subscriptions after its end");
        require!(!connections.subscribe(&key, &user, &of_user, true).await?, "what is closed was subscribed");
        require_eq!(self.listeners(&key, self.now).await?, vec![], "the subscriptions of what is closed");
        let announced = UserConnection { connection_id: id("conn2=")?, ..of_user };
        connections.register_pending(&user, &announced).await?;
        require_eq!(connections.connections_of(&user, self.now).await?, vec![announced.clone()], "what was announced");
        connections.remove_pending(&user, &announced).await?;
        require_eq!(connections.connections_of(&user, self.now).await?, vec![], "what was withdrawn");
        Ok(())
    }

    async fn renewals(&self) -> Outcome {
        let connections = self.ports.connections;
        let (inside, _) = self.channel("renewal-in", Visibility::Public).await?;
        let (outside, _) = self.channel("renewal-out", Visibility::Public).await?;
        let opened = self.open("renew1=", "rene", &[&inside]).await?;
        let before = UserConnection::from(&opened);
        let ends_at = self.later(LONG * 2);
        let limit = Some(BTreeSet::from([inside.channel_id.clone()]));
        let renewed = Connection {
            token_expires_at: ends_at,
            expires_at: ends_at,
            allowed_channels: limit.clone(),
            ..opened.clone()
        };
        require_eq!(connections.renew(&renewed).await?, Some(vec![inside.key()]), "its channels");
        require_eq!(connections.connection(&opened.connection_id).await?, Some(renewed.clone()), "the connection");
        let late = self.later(LONG + Duration::from_secs(1));
        let of_user = connections.connections_of(&opened.user_id, late).await?;
        require_eq!(of_user, vec![UserConnection::from(&renewed)], "the user's connections");
        let listeners = self.listeners(&inside.key(), late).await?;
        require_eq!(listeners.first().map(|one| one.expires_at), Some(ends_at), "the end of the subscription");
        // A function that read the connection before the renewal.
        let subscribed = connections.subscribe(&outside.key(), &opened.user_id, &before, true).await?;
        require!(!subscribed, "a channel beyond the limit was subscribed");
        require_eq!(self.listeners(&outside.key(), self.now).await?, vec![], "subscriptions beyond the limit");
        require!(connections.subscribe(&inside.key(), &opened.user_id, &before, true).await?, "a channel within");
        let listeners = self.listeners(&inside.key(), late).await?;
        require_eq!(listeners.first().map(|one| one.expires_at), Some(ends_at), "the end of what was subscribed again");
        let other = Connection { connected_at: self.later(Duration::from_secs(1)), ..renewed };
        require_eq!(connections.renew(&other).await?, None, "another connection");
        Ok(())
    }

    async fn subscriptions(&self) -> Outcome {
        let connections = self.ports.connections;
        let (channel, _) = self.channel("subscriptions", Visibility::Public).await?;
        let opened = self.open("subs1=", "susi", &[]).await?;
        let (of_user, user) = (UserConnection::from(&opened), opened.user_id.clone());
        let key = channel.key();
        require!(connections.subscribe(&key, &user, &of_user, false).await?, "it was not subscribed");
        let as_reader = Subscription { member: false, ..of_user.subscription(&user) };
        require_eq!(self.listeners(&key, self.now).await?, vec![as_reader.clone()], "a reader's subscription");
        require!(connections.confirm_member(&key, &as_reader).await?, "it was not confirmed");
        let as_member = of_user.subscription(&user);
        require_eq!(self.listeners(&key, self.now).await?, vec![as_member], "a member's subscription");
        require!(connections.subscribe(&key, &user, &of_user, false).await?, "it was not subscribed again");
        require_eq!(self.listeners(&key, self.now).await?, vec![as_reader.clone()], "what it was replaced by");
        let mut channels: Vec<ChannelKey> = Vec::new();
        for number in 1..CHANNELS_PER_CONNECTION {
            let incarnation = Incarnation::generate(self.seed());
            channels.push(ChannelKey { channel_id: id(&format!("subs{number}"))?, incarnation });
        }
        for channel in &channels {
            require!(connections.subscribe(channel, &user, &of_user, true).await?, "there is room for {channel}");
        }
        let (more, _) = self.channel("subscriptions2", Visibility::Public).await?;
        require!(!connections.subscribe(&more.key(), &user, &of_user, true).await?, "one channel too many");
        require!(connections.subscribe(&key, &user, &of_user, true).await?, "one that it has");
        require!(connections.unsubscribe(&key, &of_user.connection_id, self.now).await?, "room is made");
        require!(connections.subscribe(&more.key(), &user, &of_user, true).await?, "there is room again");
        require!(!connections.confirm_member(&key, &as_reader).await?, "what is not there was confirmed");
        require_eq!(self.listeners(&key, self.now).await?, vec![], "what was not confirmed");
        require!(connections.close(&of_user.connection_id, self.now).await?, "it was not closed");
        for channel in channels.iter().chain([&more.key()]) {
            require_eq!(self.listeners(channel, self.now).await?, vec![], "subscriptions after the connection's end");
        }
        Ok(())
    }

    async fn audiences(&self) -> Outcome {
        let Ports { channels: store, connections, .. } = *self.ports;
        let (channel, olga) = self.channel("audience", Visibility::Public).await?;
        let key = channel.key();
        let by = Authority { channel: &channel, member: Some(&olga) };
        let rita = self.member(&by, "rita", MemberRole::Member).await?;
        let mut names = Vec::new();
        for (number, user) in (0..7).zip(["rita", "carol"].into_iter().cycle()) {
            let mut connection = self.connection(&format!("aud{number}="), user, &[&channel])?;
            if number == 3 {
                connection.expires_at = self.later(Duration::from_mins(1));
            }
            let by_membership = if user == "rita" { BTreeSet::from([key.clone()]) } else { BTreeSet::new() };
            connections.register_pending(&connection.user_id, &UserConnection::from(&connection)).await?;
            connections.activate(&connection, &by_membership).await?;
            names.push(connection.connection_id.to_string());
        }
        self.remove(&by, &rita).await?;
        let private = Channel { visibility: Visibility::Private, version: 2, ..channel.clone() };
        let pending = PendingEnd::new(key.clone(), EndCause::MadePrivate, self.seed());
        require!(store.update(&by, &private, Some(&pending), self.now).await?, "it is not made private");
        let audience = connections.audience(&key, self.now).await?;
        require_eq!(audience.subscriptions.len(), 7, "all subscriptions, refused ones too");
        require!(
            audience.gate.private && audience.gate.blocked.contains(&rita.user_id),
            "the gate: {:?}",
            audience.gate
        );
        require_eq!(audience.gate, connections.gate(&key, self.now).await?, "the gate by itself");
        require_eq!(audience.admitted(), vec![], "the admitted subscriptions");
        for (now, left) in [(self.now, 7), (self.later(Duration::from_secs(61)), 6)] {
            for limit in [1, 2, 3, 10] {
                let (mut found, mut after): (Vec<String>, Option<ConnectionId>) = (Vec::new(), None);
                for _ in 0..20 {
                    let page = connections.subscriptions_page(&key, after.as_ref(), limit, now).await?;
                    found.extend(page.subscriptions.iter().map(|one| one.connection_id.to_string()));
                    after = page.next_after;
                    if after.is_none() {
                        break;
                    }
                }
                require!(after.is_none(), "the pages do not end");
                let wanted: Vec<String> = names.iter().filter(|name| left == 7 || *name != "aud3=").cloned().collect();
                require_eq!(found, wanted, "subscriptions, {limit} at a time");
            }
        }
        Ok(())
    }

    async fn tickets(&self) -> Outcome {
        let connections = self.ports.connections;
        let key = ChannelKey { channel_id: id("tickets")?, incarnation: Incarnation::generate(self.seed()) };
        let ticket = Ticket {
            user_id: id("tim")?,
            tenant: None,
            channels: Some(vec![key]),
            allowed_channels: Some(BTreeSet::from([id("tickets")?])),
            token_expires_at: self.later(LONG),
            expires_at: self.later(Duration::from_mins(1)),
        };
        connections.keep("digest1", &ticket).await?;
        require_eq!(connections.redeem("digest2", self.now).await?, None, "a ticket that was never issued");
        require_eq!(connections.redeem("digest1", self.now).await?, Some(ticket.clone()), "a ticket");
        require_eq!(connections.redeem("digest1", self.now).await?, None, "a ticket that was redeemed");
        connections.keep("digest3", &ticket).await?;
        require_eq!(connections.redeem("digest3", self.later(Duration::from_secs(61))).await?, None, "an old ticket");
        Ok(())
    }

    async fn presence(&self) -> Outcome {
        let connections = self.ports.connections;
        let key = ChannelKey { channel_id: id("presence")?, incarnation: Incarnation::generate(self.seed()) };
        let user = id("pia")?;
        require!(!connections.mark_offline(&key, &user).await?, "a user who was offline went offline");
        require!(connections.mark_online(&key, &user, self.now).await?, "a user who came online is not reported");
        require!(!connections.mark_online(&key, &user, self.now).await?, "a user who was online is reported again");
        require!(connections.mark_offline(&key, &user).await?, "a user who went offline is not reported");
        require!(!connections.mark_offline(&key, &user).await?, "a user who was offline is reported again");
        Ok(())
    }

    async fn claims(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("claims", Visibility::Public).await?;
        self.send(&channel, "olga").await?;
        let question = MessageKey { channel: channel.key(), seq: 1 };
        let [until, later] = [10, 20].map(|seconds| self.later(Duration::from_secs(seconds)));
        let claimed = store.acquire(&question, "one", until, self.now).await?;
        require!(
            matches!(claimed, Acquire::Acquired(claim) if claim.calls == 0 && !claim.cancelled),
            "a free question"
        );
        require_eq!(
            store.acquire(&question, "two", until, self.now).await?,
            Acquire::Held { until },
            "one that is held"
        );
        require_eq!(ReplyLeases::renew(store, &question, "two", later, true).await?, None, "a renewal by another");
        let renewed = ReplyLeases::renew(store, &question, "one", later, true).await?;
        require_eq!(renewed.map(|claim| claim.calls), Some(1), "the calls of a renewal");
        require_eq!(
            store.acquire(&question, "two", later, until).await?,
            Acquire::Held { until: later },
            "a renewed claim"
        );
        let channel = self.current(&channel).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        require!(store.cancel(&by, &question, self.now).await?, "it was not cancelled");
        let renewed = ReplyLeases::renew(store, &question, "one", later, false).await?;
        require_eq!(renewed.map(|claim| (claim.calls, claim.cancelled)), Some((1, true)), "a claim that is cancelled");
        store.release(&question, "two").await?;
        require_eq!(
            store.acquire(&question, "two", later, until).await?,
            Acquire::Held { until: later },
            "a release by another owner"
        );
        store.release(&question, "one").await?;
        let claimed = store.acquire(&question, "two", later, self.now).await?;
        require!(
            matches!(claimed, Acquire::Acquired(claim) if claim.calls == 1 && claim.cancelled),
            "what was released"
        );
        let not_begun = MessageKey { channel: channel.key(), seq: 2 };
        require!(store.cancel(&by, &not_begun, self.now).await?, "what has not begun was not cancelled");
        let claimed = store.acquire(&not_begun, "one", later, self.now).await?;
        require!(matches!(claimed, Acquire::Acquired(claim) if claim.cancelled), "what was cancelled before it began");
        let user = id("clara")?;
        require_eq!(store.tokens_used(&user, self.now).await?, 0, "tokens used for a new user");
        store.record_tokens(&user, 5, self.now).await?;
        store.record_tokens(&user, 2, self.now).await?;
        require_eq!(store.tokens_used(&user, self.now).await?, 7, "tokens used");
        require_eq!(store.tokens_used(&user, self.later(LONG * 24)).await?, 0, "tokens used on the next day");
        Ok(())
    }

    fn new_invitation(&self, channel: &Channel, user: &str) -> Outcome<Invitation> {
        Ok(Invitation {
            channel_id: channel.channel_id.clone(),
            channel_incarnation: channel.incarnation,
            user_id: id(user)?,
            incarnation: Incarnation::generate(self.seed()),
            role: MemberRole::Moderator,
            invited_by: id("olga")?,
            invited_at: self.now,
            expires_at: self.later(LONG),
        })
    }

    async fn invitations(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("invited", Visibility::Private).await?;
        let (key, ina, by) = (channel.key(), id("ina")?, Authority { channel: &channel, member: Some(&olga) });
        let member = Member { role: MemberRole::Moderator, ..self.new_member(&channel, "ina", MemberRole::Member)? };
        let made_up = self.new_invitation(&channel, "ina")?;
        let accepted = store.accept(&channel, &made_up, &member, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting an invitation that was never made");

        let invitation = self.new_invitation(&channel, "ina")?;
        require_eq!(store.invite(&by, &invitation, 10).await?, Invited::Done, "inviting");
        require_eq!(store.invitation(&key, &ina, self.now).await?, Some(invitation.clone()), "the invitation");
        require_eq!(store.member(&key, &ina).await?, None, "an invited user is no member");
        let again = store.invite(&by, &made_up, 10).await?;
        require_eq!(again, Invited::Already(invitation.clone()), "inviting again");
        require_eq!(store.invitation(&key, &ina, self.later(LONG)).await?, None, "an invitation that has expired");
        let accepted = store.accept(&channel, &made_up, &member, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting another invitation than there is");
        let late = Member { joined_at: self.later(LONG), ..member.clone() };
        let accepted = store.accept(&channel, &invitation, &late, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting an invitation that has expired");
        let archived = Channel { archived_at: Some(self.now), ..channel.clone() };
        let accepted = store.accept(&archived, &invitation, &member, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting into a channel that is not as it was read");

        let page = store.invitations_of(&ina, None, 10, self.now).await?;
        let listed: Vec<_> = page.channels.iter().map(|one| (&one.name, &one.invitation)).collect();
        require_eq!(listed, vec![(&channel.name, &invitation)], "the list of invitations");
        require_eq!(store.accept(&channel, &invitation, &member, 0).await?, MemberAdded::Added, "accepting");
        require_eq!(store.member(&key, &ina).await?, Some(member.clone()), "the member");
        require_eq!(store.invitation(&key, &ina, self.now).await?, None, "an invitation that was accepted");
        require_eq!(store.invitations_of(&ina, None, 10, self.now).await?.channels, vec![], "the list after that");
        require_eq!(store.invite(&by, &made_up, 10).await?, Invited::Stale, "inviting a member");
        self.remove(&by, &member).await?;
        let anew = self.new_member(&channel, "ina", MemberRole::Member)?;
        let accepted = store.accept(&channel, &invitation, &anew, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting once more");

        // A user who is added despite an invitation, and then removed, cannot use the invitation to return.
        let invitation = self.new_invitation(&channel, "ina")?;
        require_eq!(store.invite(&by, &invitation, 10).await?, Invited::Done, "inviting again after the removal");
        let member = self.member(&by, "ina", MemberRole::Member).await?;
        self.remove(&by, &member).await?;
        require_eq!(store.invitation(&key, &ina, self.now).await?, None, "an invitation that a membership ended");
        let anew = self.new_member(&channel, "ina", MemberRole::Member)?;
        let accepted = store.accept(&channel, &invitation, &anew, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting what a membership ended");

        // The user declines it. An authority that holds withdraws it, and no other.
        let invitation = self.new_invitation(&channel, "ina")?;
        require_eq!(store.invite(&by, &invitation, 10).await?, Invited::Done, "inviting once more");
        let stranger = self.new_member(&channel, "sam", MemberRole::Owner)?;
        let stale = Authority { channel: &channel, member: Some(&stranger) };
        require!(!store.withdraw_invitation(Some(&stale), &invitation).await?, "a stranger takes it back");
        require!(!store.withdraw_invitation(Some(&by), &made_up).await?, "another invitation is taken back");
        require!(store.withdraw_invitation(Some(&by), &invitation).await?, "it is not taken back");
        require!(!store.withdraw_invitation(None, &invitation).await?, "it is declined after that");
        require_eq!(store.invite(&stale, &invitation, 10).await?, Invited::Stale, "inviting without a membership");

        // A user has a maximum number of pending invitations. An invitation ends with its channel.
        let (second, of_second) = self.channel("invited2", Visibility::Public).await?;
        let by_second = Authority { channel: &second, member: Some(&of_second) };
        let to_second = self.new_invitation(&second, "ina")?;
        require_eq!(store.invite(&by_second, &to_second, 10).await?, Invited::Done, "inviting to the second");
        require_eq!(store.invite(&by, &invitation, 1).await?, Invited::TooMany, "inviting a user who has enough");
        let elsewhere = self.new_member(&channel, "ina", MemberRole::Member)?;
        let accepted = store.accept(&channel, &to_second, &elsewhere, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting into another channel");
        let other = self.new_member(&second, "sam", MemberRole::Member)?;
        let accepted = store.accept(&second, &to_second, &other, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting by another user");
        self.delete(&second, &of_second).await?;
        let (anew, _) = self.channel("invited2", Visibility::Private).await?;
        let into_anew = self.new_member(&anew, "ina", MemberRole::Member)?;
        let accepted = store.accept(&anew, &to_second, &into_anew, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting into a channel that reuses the id");
        require_eq!(store.invitation(&anew.key(), &ina, self.now).await?, None, "an invitation to another incarnation");
        let member = self.new_member(&second, "ina", MemberRole::Member)?;
        let accepted = store.accept(&second, &to_second, &member, 0).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting into a deleted channel");
        require_eq!(store.invitations_of(&ina, None, 10, self.now).await?.channels, vec![], "the list at the end");
        while !self.ports.removal.remove_some(&second.key()).await? {}
        require_eq!(store.invitation(&second.key(), &ina, self.now).await?, None, "what was removed");
        Ok(())
    }

    async fn created_channels(&self) -> Outcome {
        let store = self.ports.channels;
        let mut made = Vec::new();
        for number in 0..4 {
            let mut channel = self.new_channel(&format!("counted{number}"), Visibility::Private)?;
            channel.created_by = id("cora")?;
            let owner = self.new_member(&channel, "cora", MemberRole::Owner)?;
            let wanted = if number < 3 { ChannelCreated::Done } else { ChannelCreated::TooMany };
            require_eq!(store.create(&channel, &owner, None, 3).await?, wanted, "channel {number} of at most 3");
            let again = store.create(&channel, &owner, None, 3).await?;
            let wanted = if number < 3 { ChannelCreated::Taken } else { ChannelCreated::TooMany };
            require_eq!(again, wanted, "channel {number} again");
            require_eq!(store.channel(&channel.channel_id).await?.is_some(), number < 3, "channel {number}");
            made.push((channel, owner));
        }
        self.delete(&made[0].0, &made[0].1).await?;
        let (last, owner) = &made[3];
        require_eq!(store.create(last, owner, None, 3).await?, ChannelCreated::Done, "after a deletion");
        require_eq!(store.member(&last.key(), &owner.user_id).await?.as_ref(), Some(owner), "its owner");
        Ok(())
    }

    async fn chosen_channels(&self) -> Outcome {
        let store = self.ports.channels;
        let vera: UserId = id("vera")?;
        // Channels that others chose sort before those that vera chose.
        for number in 0..6 {
            let (channel, olga) = self.channel(&format!("chosen-a{number}"), Visibility::Private).await?;
            let by = Authority { channel: &channel, member: Some(&olga) };
            let mut member = self.new_member(&channel, "vera", MemberRole::Member)?;
            member.added_by = Some(id("olga")?);
            require_eq!(store.add_member(&by, &member, 0).await?, MemberAdded::Added, "adding vera");
            require_eq!(store.member(&channel.key(), &vera).await?, Some(member), "how vera became a member");
        }
        let mut own = Vec::new();
        for number in 0..4_u64 {
            let mut channel = self.new_channel(&format!("chosen-z{number}"), Visibility::Private)?;
            channel.created_by = vera.clone();
            let mut owner = self.new_member(&channel, "vera", MemberRole::Owner)?;
            owner.joined_at = self.later(Duration::from_secs(number));
            require_eq!(store.create(&channel, &owner, None, MANY).await?, ChannelCreated::Done, "a channel of vera's");
            own.push((channel, owner));
        }
        let all = store.memberships(&vera, 10).await?;
        require_eq!((all.channels.len(), all.left_out), (10, 0), "all of vera's channels");
        let some = store.memberships(&vera, 5).await?;
        require_eq!(some.left_out, 5, "the number of channels left out");
        let newest: Vec<ChannelKey> = own.iter().rev().map(|(channel, _)| channel.key()).collect();
        require_eq!(some.channels[..4], newest[..], "the channels that vera chose, newest first");
        let one = store.memberships(&vera, 1).await?;
        require_eq!((one.channels, one.left_out), (newest[..1].to_vec(), 9), "one of vera's channels");
        let (left, owner) = &own[3];
        self.delete(left, owner).await?;
        while !self.ports.removal.remove_some(&left.key()).await? {}
        let some = store.memberships(&vera, 2).await?;
        require_eq!((some.channels, some.left_out), (newest[1..3].to_vec(), 7), "after one of them was deleted");
        Ok(())
    }

    async fn buckets(&self) -> Outcome {
        let store = self.ports.channels;
        let bucket = Bucket { every: Duration::from_secs(2), burst: 2 };
        let (first, second): (UserId, UserId) = (id("berta")?, id("bruno")?);
        let channel = |name: &str| -> Outcome<ChannelKey> {
            Ok(ChannelKey { channel_id: id(name)?, incarnation: Incarnation::generate(self.seed()) })
        };
        let (one, other) = (channel("buckets")?, channel("buckets")?);
        let take = async |user: &UserId, action: LimitedAction<'_>| store.take(user, &action, bucket, self.now).await;
        let wait = Some(Duration::from_secs(2));
        require_eq!(take(&first, LimitedAction::Connect).await?, None, "the first");
        require_eq!(take(&first, LimitedAction::Connect).await?, None, "the second");
        require_eq!(take(&first, LimitedAction::Connect).await?, wait, "the third");
        require_eq!(take(&first, LimitedAction::AgentReply).await?, None, "another action");
        require_eq!(take(&second, LimitedAction::Connect).await?, None, "another user");
        for _ in 0..2 {
            require_eq!(take(&first, LimitedAction::Typing(&one)).await?, None, "typing in one channel");
        }
        require_eq!(take(&first, LimitedAction::Typing(&one)).await?, wait, "typing too often");
        require_eq!(take(&first, LimitedAction::Typing(&other)).await?, None, "typing in another incarnation");
        for user in [&first, &second] {
            require_eq!(take(user, LimitedAction::Reply(&one)).await?, None, "a reply in a channel");
        }
        require_eq!(
            take(&first, LimitedAction::Reply(&one)).await?,
            wait,
            "the channel's replies, whichever user asks"
        );
        require_eq!(take(&first, LimitedAction::Reply(&other)).await?, None, "replies in another incarnation");
        Ok(())
    }
}
