//! Data of a user in one item.

use aws_sdk_dynamodb::types::AttributeValue;
use chat::model::{
    channel::Member,
    connection::ConnectionKey,
    error::StoreError,
    id::{ConnectionId, TenantId, UserId},
    incarnation::ChannelKey,
    mention::mentioned,
    message::StoredMessage,
    seq::Seq,
    time::Timestamp,
    user_item::{Extent, UserData, has_word},
};

use super::{DynamoUserItems, SCAN, place::Table};
use crate::{
    dynamodb::{
        connections::presence_store,
        item::{Item, number, read, text},
        keys::{self, OfUser, Place},
        last_change,
    },
    sdk::decode_error,
};

/// Fields of messages that name a user.
pub(super) const MESSAGE_NAMES: &[&str] = &["sender_id"];

/// Fields of channels, members and invitations that name another user.
pub(super) const CHANNEL_NAMES: &[&str] = &["created_by", "added_by", "invited_by"];

/// Request of a scan: what it looks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) user: &'a UserId,
    pub(super) extent: Extent,
    pub(super) now: Timestamp,
}

impl Wanted<'_> {
    fn has_id(&self) -> bool {
        self.extent == Extent::ContentAndId
    }

    /// Returns whether an attribute is the id.
    fn is_named(&self, item: &Item, name: &str) -> bool {
        text(item, name) == Some(self.user.as_str())
    }
}

impl DynamoUserItems {
    /// Returns the data of the user in an item of a table.
    pub(super) fn data(&self, table: Table, item: &Item, wanted: Wanted<'_>) -> Result<Vec<UserData>, StoreError> {
        let mut data = match table {
            Table::Connections => self.of_connections(item, wanted)?,
            Table::Channels => self.of_channels(item, wanted)?,
            Table::Events => self.of_events(item, wanted)?,
        };
        if data.is_empty() && wanted.has_id() && self.has_word(table, item, wanted) {
            data.push(UserData::Word);
        }
        Ok(data)
    }

    fn of_connections(&self, item: &Item, wanted: Wanted<'_>) -> Result<Vec<UserData>, StoreError> {
        let part = |name| text(item, name).unwrap_or_default();
        let is_told = wanted.is_named(item, "user_id");
        let is_of_tenant = text(item, "tenant") == self.tenant.as_ref().map(TenantId::as_str);
        let data = match self.keys.connections_item(wanted.user, part("pk"), part("sk")) {
            Some(OfUser::UserConnection(id)) => connection(item, id, true)?,
            Some(OfUser::Connection(id)) if is_told && is_of_tenant => connection(item, id, false)?,
            Some(OfUser::Listeners) if wanted.has_id() && presence_store::listens(SCAN, item, wanted.user)? => {
                UserData::Name
            }
            Some(OfUser::Blocked) if wanted.has_id() => UserData::Own { kind: "entry of a gate" },
            // The key of a ticket has no tenant, and that of a subscription has it.
            Some(OfUser::Told("ticket")) if is_told && is_of_tenant => UserData::Own { kind: "ticket" },
            Some(OfUser::Told(kind)) if is_told && kind != "ticket" => UserData::Own { kind },
            Some(OfUser::Own(kind)) => UserData::Own { kind },
            _ => return Ok(Vec::new()),
        };
        Ok(vec![data])
    }

    fn of_channels(&self, item: &Item, wanted: Wanted<'_>) -> Result<Vec<UserData>, StoreError> {
        let part = |name| text(item, name).unwrap_or_default();
        let partition = part("channel_id");
        let data = match self.keys.channels_item(wanted.user, partition, part("sk")) {
            Some(OfUser::Member(channel)) => {
                let member: Member = read(SCAN, self.keys.plain(item.clone()))?;
                UserData::Membership { channel, member: Some(member), read_seq: None }
            }
            Some(OfUser::Listed(channel)) => {
                UserData::Membership { channel, member: None, read_seq: seq(item, "read_seq") }
            }
            Some(OfUser::Invited(channel)) => UserData::Invitation { channel, is_copy: false },
            Some(OfUser::ListedInvitation(channel)) => UserData::Invitation { channel, is_copy: true },
            Some(OfUser::DraftPiece(channel, question)) => UserData::DraftPiece { channel, question },
            Some(OfUser::Created) if wanted.has_id() => UserData::Own { kind: "number of channels" },
            Some(OfUser::Own(kind)) => UserData::Own { kind },
            _ if wanted.has_id()
                && self.keys.is_own(partition)
                && CHANNEL_NAMES.iter().any(|name| wanted.is_named(item, name)) =>
            {
                UserData::Name
            }
            _ => return Ok(Vec::new()),
        };
        Ok(vec![data])
    }

    fn of_events(&self, item: &Item, wanted: Wanted<'_>) -> Result<Vec<UserData>, StoreError> {
        let partition = text(item, "channel_id").unwrap_or_default();
        let (Some(channel), Some(seq_of)) = (self.keys.own_channel(partition), seq(item, "seq")) else {
            return Ok(Vec::new());
        };
        let role = text(item, "role");
        let is_sender = role == Some("user") && wanted.is_named(item, "sender_id");
        let reactions = reactions(item, wanted.user, &channel, seq_of)?;
        if number(item, "expires_at").is_some_and(|secs| secs <= wanted.now.as_secs()) {
            let is_of_user = is_sender || !reactions.is_empty();
            return Ok(is_of_user.then_some(UserData::Own { kind: "expired message" }).into_iter().collect());
        }
        let is_deleted = item.contains_key("deleted_at");
        if is_sender && !is_deleted {
            // A tombstone has no reactions, so those of the sender need no change of their own.
            return Ok(vec![UserData::Message(Box::new(self.stored(item, &channel)?))]);
        }
        let mut data = reactions;
        if is_sender && wanted.has_id() {
            data.push(UserData::Name);
        } else if let (Some("agent"), Some(question), false) = (role, seq(item, "reply_to"), is_deleted) {
            data.push(UserData::Reply { channel, seq: seq_of, question });
        } else if wanted.has_id() && mentions(item, wanted.user) {
            data.push(UserData::Mention(Box::new(self.stored(item, &channel)?)));
        }
        Ok(data)
    }

    /// Reads a message. Its trace context is left out, because no erasure uses it.
    fn stored(&self, item: &Item, channel: &ChannelKey) -> Result<StoredMessage, StoreError> {
        Ok(StoredMessage {
            message: read(SCAN, self.keys.plain(item.clone()))?,
            incarnation: channel.incarnation,
            rev: last_change::rev(item),
            trace: None,
            expires_at: number(item, "expires_at").map(Timestamp::from_secs),
        })
    }

    /// Returns whether a text of an item has the id as a word. Ids of channels may be the same words, so keys of channels
    /// do not count.
    fn has_word(&self, table: Table, item: &Item, wanted: Wanted<'_>) -> bool {
        let partition = if table == Table::Connections { "pk" } else { "channel_id" };
        let is_own = text(item, partition).is_some_and(|text| self.keys.is_own(text));
        let is_key = |text: &str| keys::channel_key(text).is_ok() || text.parse::<Place>().is_ok();
        let has = |text: &str| has_word(text, wanted.user) && !is_key(text);
        is_own && item.iter().any(|(name, value)| name != partition && any_text(value, &has))
    }
}

fn connection(item: &Item, id: ConnectionId, is_copy: bool) -> Result<UserData, StoreError> {
    let connected_at = text(item, "connected_at").unwrap_or_default();
    let connected_at = connected_at.parse::<Timestamp>().map_err(|error| decode_error(SCAN, error))?;
    Ok(UserData::Connection { connection: ConnectionKey { id, connected_at }, is_copy })
}

fn seq(item: &Item, name: &str) -> Option<Seq> {
    number(item, name).and_then(|seq| u64::try_from(seq).ok()).map(Seq::new)
}

/// Returns the reactions of a user to a message.
fn reactions(item: &Item, user: &UserId, channel: &ChannelKey, seq: Seq) -> Result<Vec<UserData>, StoreError> {
    let Some(AttributeValue::M(by_emoji)) = item.get("reactions") else { return Ok(Vec::new()) };
    let of_user = by_emoji
        .iter()
        .filter(|(_, users)| users.as_ss().is_ok_and(|users| users.iter().any(|one| one == user.as_str())));
    let mut reactions = Vec::new();
    for (emoji, _) in of_user {
        let emoji = emoji.parse().map_err(|_| decode_error(SCAN, "a reaction that is no emoji"))?;
        reactions.push(UserData::Reaction { channel: channel.clone(), seq, emoji });
    }
    Ok(reactions)
}

/// Returns whether a message mentions a user, or its metadata has the id as a name or as a text.
fn mentions(item: &Item, user: &UserId) -> bool {
    let is_user = |text: &str| text == user.as_str();
    text(item, "content").is_some_and(|content| mentioned(content).any(is_user))
        || item.get("metadata").is_some_and(|metadata| any_text(metadata, &is_user))
}

/// Returns whether a text in a value, or the name of an entry, is as wanted.
fn any_text(value: &AttributeValue, is_wanted: &impl Fn(&str) -> bool) -> bool {
    match value {
        AttributeValue::S(text) => is_wanted(text),
        AttributeValue::Ss(texts) => texts.iter().any(|text| is_wanted(text)),
        AttributeValue::L(values) => values.iter().any(|value| any_text(value, is_wanted)),
        AttributeValue::M(entries) => entries.iter().any(|(name, value)| is_wanted(name) || any_text(value, is_wanted)),
        _ => false,
    }
}
