//! Keys of the three tables. No other file builds or reads their text.
//!
//! Everything that belongs to a channel is stored under its [`ChannelKey`], `<channel id>@<incarnation>`, below written
//! as `<key>`. An id alone leads to one item: the channel that currently has the id.
//!
//! `chat_channels` (`channel_id`, `sk`):
//!
//! | key | item |
//! | --- | --- |
//! | `<channel id>` / `meta` | the channel |
//! | `<key>` / `access` | the state that permits changes: `visibility`, `archived` and the number of `owners` |
//! | `<key>` / `member#<user>` | a member |
//! | `<key>` / `created#<user>#<idempotency key>` | the request that created the channel |
//! | `<key>` / `idem#<user>#<idempotency key>` | the idempotency record of a sender's request |
//! | `<key>` / `answered#<seq>` | the idempotency record of the agent's reply to a message |
//! | `<key>` / `reply#<seq>#<seq of the reply>` | a reply to a message |
//! | `<key>` / `claim#<seq>` | the reply lease of a message |
//! | `<key>` / `rate#reply` | the token bucket of the agent's replies in the channel |
//! | `user#<user>` / `member#<key, with # for @>` | the membership in its user's list, with the user's `read_seq` |
//! | `<key>` / `invited#<user>` | an invitation |
//! | `user#<user>` / `invited#<key, with # for @>` | the invitation in its user's list |
//! | `user#<user>` / `chosen#<joined at>#<key, with # for @>` | a membership that its user chose; deleted with it |
//! | `user#<user>` / `created` | the number of existing channels that the user created |
//! | `user#<user>` / `rate#<action>` | a token bucket of the user |
//! | `user#<user>` / `tokens#<date>` | tokens used by the agent for the user |
//! | `public#` / `<search key>#<channel id>` | a public channel in the list of all, by the search key of its name |
//! | `pending#` / `<id>` | a pending end, of any tenant |
//!
//! `chat_events` (`channel_id`, `seq`): a message, under `<key>`.
//!
//! `chat_connections` (`pk`, `sk`):
//!
//! | key | item |
//! | --- | --- |
//! | `conn#<connection>` / `meta` | a connection |
//! | `user#<user>` / `conn#<connection>` | the same connection among those of its user |
//! | `chan#<key>` / `a-gate` | the channel's gate; it sorts before the other items |
//! | `chan#<key>` / `blocked#<user>` | a user whom the gate refuses; it sorts before the subscriptions |
//! | `chan#<key>` / `conn#<connection>` | a subscription |
//! | `present#<key>` / `user#<user>` | a user whose presence was announced |
//! | `ends#<minute>` / `conn#<connection>` | a connection whose token ends in that minute since the Unix epoch |
//! | `ends#` / `cursor` | the last minute that was processed |
//! | `ticket#<digest>` / `meta` | a ticket |
//!
//! Tenants are isolated by a prefix: `<tenant>~` precedes a channel's or user's id, and follows `public#`. No id
//! contains a `~`, an `@` or a `#`.

use std::fmt::Display;

use chat::{
    model::{
        id::{ChannelId, ConnectionId, IdempotencyKey, TenantId, UserId},
        incarnation::{ChannelKey, Incarnation, KeyError},
        limits::LARGEST_SEQ,
        text::search_key::SearchKey,
        time::Timestamp,
    },
    ports::{message_store::RecordKey, rate_limiter::LimitedAction, reply_leases::MessageKey},
};

use crate::dynamodb::item::{Item, n, s};

const TENANT_SEPARATOR: char = '~';
const INCARNATION_SEPARATOR: char = '@';

/// Sort key of the only or main item of a partition.
const META: &str = "meta";
const ACCESS: &str = "access";
const MEMBER: &str = "member#";
const INVITED: &str = "invited#";
const CHOSEN: &str = "chosen#";
const PUBLIC: &str = "public#";
const PENDING: &str = "pending#";
const USER: &str = "user#";
const SUBSCRIPTIONS: &str = "chan#";
const CONNECTION: &str = "conn#";
const GATE: &str = "a-gate";
const BLOCKED: &str = "blocked#";
const ENDS: &str = "ends#";

/// Maximum length of a sort key, in bytes ("Constraints in Amazon DynamoDB").
const SORT_KEY_BYTES: usize = 1_024;

/// A range of a partition of `chat_channels`: sort keys from `first` to `last`, both included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortRange {
    pub(crate) partition: String,
    pub(crate) first: String,
    pub(crate) last: String,
}

impl SortRange {
    /// Returns the range of all sort keys that begin with `prefix`, which ends in a `#`.
    fn below(partition: String, prefix: &str) -> Self {
        // `$` follows `#` in ASCII, and no id contains either.
        let last = format!("{}$", prefix.trim_end_matches('#'));
        Self { partition, first: prefix.to_owned(), last }
    }

    /// Excludes sort keys up to and including `rest`. `rest` follows the prefix of the range.
    fn after(mut self, rest: Option<&str>) -> Self {
        if let Some(rest) = rest {
            // No sort key contains a control character, so none is between the two.
            self.first = format!("{}{rest}\u{1}", self.first);
        }
        self
    }
}

/// Builds the keys of one tenant's items.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn for_tenant(tenant: Option<&TenantId>) -> Self {
        Self { prefix: tenant.map(|tenant| format!("{tenant}{TENANT_SEPARATOR}")).unwrap_or_default() }
    }

    /// Returns an id or a [`ChannelKey`] as it is written in a key.
    fn name(&self, id: impl Display) -> String {
        format!("{}{id}", self.prefix)
    }

    fn user(&self, user: &UserId) -> String {
        format!("{USER}{}", self.name(user))
    }

    /// Returns the text of a channel's key with its tenant, which [`channel_key`] reads.
    pub(crate) fn channel(&self, channel: &ChannelKey) -> String {
        self.name(channel)
    }

    /// Returns an item whose `channel_id` is the channel's id alone.
    pub(crate) fn plain(&self, mut item: Item) -> Item {
        let id = item.get("channel_id").and_then(|id| id.as_s().ok()).map(|id| {
            let id = id.strip_prefix(&self.prefix).unwrap_or(id);
            id.split(INCARNATION_SEPARATOR).next().unwrap_or_default().to_owned()
        });
        item.extend(id.map(|id| ("channel_id".to_owned(), s(id))));
        item
    }

    // --- chat_channels ---

    pub(crate) fn meta(&self, channel: &ChannelId) -> Item {
        in_channels(self.name(channel), META)
    }

    pub(crate) fn access(&self, channel: &ChannelKey) -> Item {
        in_channels(self.name(channel), ACCESS)
    }

    pub(crate) fn member(&self, channel: &ChannelKey, user: &UserId) -> Item {
        in_channels(self.name(channel), format!("{MEMBER}{user}"))
    }

    /// Returns the range of the members, in the order of their ids.
    pub(crate) fn members(&self, channel: &ChannelKey, after: Option<&UserId>) -> SortRange {
        SortRange::below(self.name(channel), MEMBER).after(after.map(UserId::as_str))
    }

    /// Returns the key of a membership in its user's list.
    pub(crate) fn listed(&self, user: &UserId, channel: &ChannelKey) -> Item {
        let ChannelKey { channel_id, incarnation } = channel;
        in_channels(self.user(user), format!("{MEMBER}{channel_id}#{incarnation}"))
    }

    /// Returns the range of a user's memberships by channel id, after all incarnations of the id `after`.
    pub(crate) fn memberships(&self, user: &UserId, after: Option<&ChannelId>) -> SortRange {
        let mut range = SortRange::below(self.user(user), MEMBER);
        if let Some(after) = after {
            // `$` follows `#` in ASCII, and precedes every character of an id.
            range.first = format!("{MEMBER}{after}$");
        }
        range
    }

    /// Returns the key of a membership that its user chose, with the time at which it began.
    pub(crate) fn chosen(&self, user: &UserId, channel: &ChannelKey, joined_at: Timestamp) -> Item {
        let ChannelKey { channel_id, incarnation } = channel;
        let at = joined_at.as_millis();
        in_channels(self.user(user), format!("{CHOSEN}{at:016}#{channel_id}#{incarnation}"))
    }

    /// Returns the range of the memberships that a user chose, in the order in which they began.
    pub(crate) fn all_chosen(&self, user: &UserId) -> SortRange {
        SortRange::below(self.user(user), CHOSEN)
    }

    /// Returns the key of the number of existing channels that a user created.
    pub(crate) fn created(&self, user: &UserId) -> Item {
        in_channels(self.user(user), "created")
    }

    pub(crate) fn invitation(&self, channel: &ChannelKey, user: &UserId) -> Item {
        in_channels(self.name(channel), format!("{INVITED}{user}"))
    }

    /// Returns the key of an invitation in its user's list.
    pub(crate) fn listed_invitation(&self, user: &UserId, channel: &ChannelKey) -> Item {
        let ChannelKey { channel_id, incarnation } = channel;
        in_channels(self.user(user), format!("{INVITED}{channel_id}#{incarnation}"))
    }

    /// Returns the range of a user's invitations by channel id, after all incarnations of the id `after`.
    pub(crate) fn invitations(&self, user: &UserId, after: Option<&ChannelId>) -> SortRange {
        let mut range = SortRange::below(self.user(user), INVITED);
        if let Some(after) = after {
            range.first = format!("{INVITED}{after}$");
        }
        range
    }

    pub(crate) fn creation(&self, channel: &ChannelKey, user: &UserId, key: &IdempotencyKey) -> Item {
        in_channels(self.name(channel), format!("created#{user}#{key}"))
    }

    pub(crate) fn record(&self, channel: &ChannelKey, key: &RecordKey) -> Item {
        let sk = match key {
            RecordKey::Request { sender_id, key } => format!("idem#{sender_id}#{key}"),
            RecordKey::Reply { seq } => format!("answered#{}", digits(*seq)),
        };
        in_channels(self.name(channel), sk)
    }

    pub(crate) fn reply(&self, channel: &ChannelKey, to: u64, seq: u64) -> Item {
        in_channels(self.name(channel), reply_sk(to, seq))
    }

    /// Returns the range of the replies to a message, in their order.
    pub(crate) fn replies(&self, channel: &ChannelKey, to: u64, after: u64) -> SortRange {
        let (first, last) = (reply_sk(to, after.saturating_add(1)), reply_sk(to, LARGEST_SEQ));
        SortRange { partition: self.name(channel), first, last }
    }

    pub(crate) fn reply_lease(&self, question: &MessageKey) -> Item {
        in_channels(self.name(&question.channel), format!("claim#{}", digits(question.seq)))
    }

    /// Returns the key of the bucket that `user` takes from for `action`.
    pub(crate) fn bucket(&self, user: &UserId, action: &LimitedAction<'_>) -> Item {
        match action {
            LimitedAction::Typing(channel) => in_channels(self.user(user), format!("rate#{}#{channel}", action.name())),
            // All users of the channel take from the same bucket.
            LimitedAction::Reply(channel) => in_channels(self.name(channel), format!("rate#{}", action.name())),
            _ => in_channels(self.user(user), format!("rate#{}", action.name())),
        }
    }

    /// Returns the key of the tokens used for a user on the day of `now`, in UTC.
    pub(crate) fn tokens(&self, user: &UserId, now: Timestamp) -> Item {
        let day: String = now.to_string().chars().take("2026-01-01".len()).collect();
        in_channels(self.user(user), format!("tokens#{day}"))
    }

    /// Returns the key of a public channel in the list of public channels.
    pub(crate) fn public(&self, name: &str, channel: &ChannelId) -> Item {
        in_channels(self.public_list(), format!("{}#{channel}", SearchKey::of(name).as_str()))
    }

    /// Returns the range of public channels whose names begin with `name_prefix`, after the sort key `after`. A key
    /// that does not continue the prefix is ignored, because the list did not return it.
    pub(crate) fn publics(&self, name_prefix: &str, after: Option<&str>) -> SortRange {
        let first = SearchKey::of(name_prefix).as_str().to_owned();
        // No character sorts after it.
        let last = format!("{first}\u{10ffff}");
        let rest = after
            .filter(|after| after.len() < SORT_KEY_BYTES && *after < last.as_str())
            .and_then(|after| after.strip_prefix(first.as_str()))
            .filter(|rest| !rest.is_empty());
        SortRange { partition: self.public_list(), first: first.clone(), last }.after(rest)
    }

    fn public_list(&self) -> String {
        format!("{PUBLIC}{}", self.prefix)
    }

    // --- chat_events ---

    pub(crate) fn message(&self, channel: &ChannelKey, seq: u64) -> Item {
        Item::from([("channel_id".to_owned(), s(self.name(channel))), ("seq".to_owned(), n(seq))])
    }

    // --- chat_connections ---

    /// Returns the partition of a user's connections.
    pub(crate) fn connections(&self, user: &UserId) -> String {
        self.user(user)
    }

    pub(crate) fn user_connection(&self, user: &UserId, id: &ConnectionId) -> Item {
        in_connections(self.user(user), connection_sk(id))
    }

    /// Returns the partition of a channel's gate and subscriptions.
    pub(crate) fn audience(&self, channel: &ChannelKey) -> String {
        format!("{SUBSCRIPTIONS}{}", self.name(channel))
    }

    pub(crate) fn gate(&self, channel: &ChannelKey) -> Item {
        in_connections(self.audience(channel), GATE)
    }

    pub(crate) fn blocked(&self, channel: &ChannelKey, user: &UserId) -> Item {
        in_connections(self.audience(channel), format!("{BLOCKED}{user}"))
    }

    pub(crate) fn subscription(&self, channel: &ChannelKey, id: &ConnectionId) -> Item {
        in_connections(self.audience(channel), connection_sk(id))
    }

    pub(crate) fn presence(&self, channel: &ChannelKey, user: &UserId) -> Item {
        in_connections(format!("present#{}", self.name(channel)), format!("{USER}{user}"))
    }
}

fn in_channels(partition: impl Into<String>, sort: impl Into<String>) -> Item {
    Item::from([("channel_id".to_owned(), s(partition)), ("sk".to_owned(), s(sort))])
}

fn in_connections(partition: impl Into<String>, sort: impl Into<String>) -> Item {
    Item::from([("pk".to_owned(), s(partition)), ("sk".to_owned(), s(sort))])
}

/// Returns a number with leading zeros, so that it sorts as text: [`LARGEST_SEQ`] has 16 digits.
fn digits(seq: u64) -> String {
    format!("{seq:016}")
}

fn reply_sk(to: u64, seq: u64) -> String {
    format!("reply#{}#{}", digits(to), digits(seq))
}

fn connection_sk(id: &ConnectionId) -> String {
    format!("{CONNECTION}{id}")
}

/// Returns the key of a pending end.
pub(crate) fn pending(id: &Incarnation) -> Item {
    in_channels(PENDING, id.to_string())
}

/// Returns the partition of all pending ends. Their ids sort by time.
pub(crate) fn pendings() -> &'static str {
    PENDING
}

/// Returns the key of a connection of any tenant.
pub(crate) fn connection(id: &ConnectionId) -> Item {
    in_connections(connection_sk(id), META)
}

/// Returns the partition of the connections whose token ends in the minute of `time`.
pub(crate) fn ends(time: Timestamp) -> String {
    format!("{ENDS}{}", minute(time))
}

/// Returns the key of a connection whose token ends in the minute of `time`.
pub(crate) fn end(time: Timestamp, id: &ConnectionId) -> Item {
    in_connections(ends(time), connection_sk(id))
}

/// Returns the key of the last minute that was processed.
pub(crate) fn ends_cursor() -> Item {
    in_connections(ENDS, "cursor")
}

/// Returns whole minutes since the Unix epoch.
pub(crate) fn minute(time: Timestamp) -> i64 {
    time.as_secs().div_euclid(60)
}

pub(crate) fn ticket(digest: &str) -> Item {
    in_connections(format!("ticket#{digest}"), META)
}

/// Returns the first sort key of the subscriptions in an audience's partition. The gate sorts before it.
pub(crate) fn first_subscription() -> &'static str {
    CONNECTION
}

/// An item of an audience's partition, by its sort key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AudienceSort {
    /// The gate.
    Gate,
    /// A user whose subscriptions the gate refuses.
    Blocked(UserId),
    /// A subscription.
    Subscription(ConnectionId),
}

impl AudienceSort {
    pub(crate) fn read(sk: &str) -> Result<Self, KeyError> {
        if sk == GATE {
            return Ok(Self::Gate);
        }
        if let Some(user) = sk.strip_prefix(BLOCKED) {
            return Ok(Self::Blocked(user.parse().map_err(|_| KeyError)?));
        }
        connection_of(sk).map(Self::Subscription)
    }
}

/// Reads the connection in a sort key.
pub(crate) fn connection_of(sk: &str) -> Result<ConnectionId, KeyError> {
    sk.strip_prefix(CONNECTION).and_then(|id| id.parse().ok()).ok_or(KeyError)
}

/// Reads the connection in the partition key of a connection. Returns `None` if the partition contains other items.
pub(crate) fn of_connection(pk: &str) -> Option<ConnectionId> {
    connection_of(pk).ok()
}

/// Reads the user in the sort key of a member.
pub(crate) fn member_of(sk: &str) -> Option<UserId> {
    sk.strip_prefix(MEMBER)?.parse().ok()
}

/// Reads the channel in the sort key of a membership in its user's list.
pub(crate) fn listed_channel(sk: &str) -> Result<ChannelKey, KeyError> {
    listed_key(sk.strip_prefix(MEMBER))
}

/// Reads the channel in the sort key of an invitation in its user's list.
pub(crate) fn listed_invitation_channel(sk: &str) -> Result<ChannelKey, KeyError> {
    listed_key(sk.strip_prefix(INVITED))
}

/// Reads the channel in the sort key of a membership that its user chose.
pub(crate) fn chosen_channel(sk: &str) -> Result<ChannelKey, KeyError> {
    listed_key(sk.strip_prefix(CHOSEN).and_then(|rest| Some(rest.split_once('#')?.1)))
}

fn listed_key(text: Option<&str>) -> Result<ChannelKey, KeyError> {
    let (id, incarnation) = text.and_then(|key| key.split_once('#')).ok_or(KeyError)?;
    Ok(ChannelKey { channel_id: id.parse().map_err(|_| KeyError)?, incarnation: incarnation.parse()? })
}

/// Reads the user in the sort key of an invitation.
pub(crate) fn invited_of(sk: &str) -> Option<UserId> {
    sk.strip_prefix(INVITED)?.parse().ok()
}

/// Reads the channel in the sort key of the list of public channels. A name may contain a `#`, an id cannot.
pub(crate) fn public_channel(sk: &str) -> Option<ChannelId> {
    sk.rsplit_once('#')?.1.parse().ok()
}

/// Reads the `seq` of the reply in the sort key of a reply.
pub(crate) fn reply_of(sk: &str) -> Option<u64> {
    sk.rsplit_once('#')?.1.parse().ok()
}

/// Reads the tenant and the channel key in a text that [`Keys::channel`] wrote.
pub(crate) fn channel_key(text: &str) -> Result<(Option<TenantId>, ChannelKey), KeyError> {
    let (tenant, key) = match text.split_once(TENANT_SEPARATOR) {
        Some((tenant, key)) => (Some(tenant.parse().map_err(|_| KeyError)?), key),
        None => (None, text),
    };
    Ok((tenant, key.parse()?))
}

/// Reads the channel of a subscription from its partition and sort key. Returns `None` if the item is not a
/// subscription.
pub(crate) fn subscribed(pk: &str, sk: &str) -> Option<(Option<TenantId>, ChannelKey)> {
    connection_of(sk).ok()?;
    channel_key(pk.strip_prefix(SUBSCRIPTIONS)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "general@01arz3ndektsv4rrffq69g5fav";

    fn key() -> ChannelKey {
        KEY.parse().unwrap()
    }

    fn sort(item: &Item) -> &str {
        item["sk"].as_s().unwrap()
    }

    #[test]
    fn what_is_written_into_a_key_is_read_from_it() {
        let (tenant, user): (TenantId, UserId) = ("acme".parse().unwrap(), "alice".parse().unwrap());
        let id: ConnectionId = "L0SM9cOFvHcCIhw=".parse().unwrap();
        for tenant in [None, Some(tenant)] {
            let keys = Keys::for_tenant(tenant.as_ref());
            assert_eq!(channel_key(&keys.channel(&key())), Ok((tenant.clone(), key())));
            let subscription = keys.subscription(&key(), &id);
            assert_eq!(subscribed(subscription["pk"].as_s().unwrap(), sort(&subscription)), Some((tenant, key())));
            assert_eq!(AudienceSort::read(sort(&subscription)), Ok(AudienceSort::Subscription(id.clone())));
            let blocked = keys.blocked(&key(), &user);
            assert_eq!(AudienceSort::read(sort(&blocked)), Ok(AudienceSort::Blocked(user.clone())));
            assert_eq!(AudienceSort::read(sort(&keys.gate(&key()))), Ok(AudienceSort::Gate));
            assert_eq!(subscribed(blocked["pk"].as_s().unwrap(), sort(&blocked)), None);
            assert_eq!(listed_channel(sort(&keys.listed(&user, &key()))), Ok(key()));
            assert_eq!(member_of(sort(&keys.member(&key(), &user))), Some(user.clone()));
            assert_eq!(reply_of(sort(&keys.reply(&key(), 1, 9))), Some(9));
            assert_eq!(public_channel(sort(&keys.public("A #1", &key().channel_id))), Some(key().channel_id));
            let plain = keys.plain(keys.member(&key(), &user));
            assert_eq!(plain["channel_id"].as_s().unwrap(), "general");
        }
        for bad in
            ["general", "acme~general", "~general@01arz3ndektsv4rrffq69g5fav", "a~b~c@01arz3ndektsv4rrffq69g5fav"]
        {
            assert!(channel_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_gate_sorts_before_the_subscriptions() {
        let id: ConnectionId = "!".parse().unwrap();
        let (keys, longest) = (Keys::default(), "z".repeat(128).parse().unwrap());
        let in_order = [keys.gate(&key()), keys.blocked(&key(), &longest), keys.subscription(&key(), &id)];
        assert!(in_order.is_sorted_by_key(|item| sort(item).to_owned()));
        assert!(sort(&in_order[1]) < first_subscription() && sort(&in_order[2]) > first_subscription());
    }

    #[test]
    fn memberships_sort_by_the_ids_of_their_channels_whatever_their_incarnations() {
        let (keys, user) = (Keys::default(), "alice".parse().unwrap());
        let channel = |id: &str, last: char| format!("{id}@01arz3ndektsv4rrffq69g5fa{last}").parse().unwrap();
        let listed: Vec<ChannelKey> =
            vec![channel("a", '0'), channel("a", '1'), channel("a-b", '0'), channel("a.b", '0'), channel("ab", '0')];
        let sks: Vec<String> = listed.iter().map(|key| sort(&keys.listed(&user, key)).to_owned()).collect();
        assert!(sks.is_sorted());
        let all = keys.memberships(&user, None);
        assert!(sks.iter().all(|sk| (all.first.as_str()..=all.last.as_str()).contains(&sk.as_str())));
        let after = keys.memberships(&user, Some(&listed[0].channel_id)).first;
        assert_eq!(sks.iter().filter(|sk| **sk >= after).count(), 3, "both incarnations are left out");
    }

    #[test]
    fn no_request_of_a_sender_has_the_key_of_a_reply() {
        let keys = Keys::default();
        let reply = keys.record(&key(), &RecordKey::Reply { seq: 7 });
        for (sender, chosen) in [("answered", "0000000000000007"), ("assistant", "reply:7"), ("a", "#answered#7")] {
            let request = RecordKey::Request { sender_id: sender.parse().unwrap(), key: chosen.parse().unwrap() };
            assert_ne!(keys.record(&key(), &request), reply);
            assert!(sort(&keys.record(&key(), &request)).starts_with("idem#"));
        }
    }
}
