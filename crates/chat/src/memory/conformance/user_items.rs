//! Laws of the scan for the data of a user.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ChannelPorts, ConnectionPorts, Ports,
    bench::{Bench, LONG, Outcome, id, request_key},
};
use crate::{
    model::{
        access::Authority,
        channel::{MemberRole, Visibility},
        connection::{Subscription, UserConnection},
        id::UserId,
        incarnation::Incarnation,
        message::{Message, Role, StoredMessage},
        message_ref::MessageRef,
        reaction::Toggle,
        seq::Seq,
        ticket_digest::TicketDigest,
        token_bucket::Bucket,
        user_item::{Extent, ItemPlace, UserData, UserItem},
    },
    ports::{
        clock::Clock,
        deleted_channels::DeletedChannels,
        message_store::{AppendResult, MessageStore, ReactionResult, UpdateResult},
        rate_limiter::LimitedAction,
        ticket_store::Ticket,
        user_items::UserItems,
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    /// Returns what a whole scan finds.
    async fn scanned(&self, items: &impl UserItems, user: &UserId, extent: Extent) -> Outcome<Vec<UserItem>> {
        let (mut found, mut from) = (Vec::new(), None);
        for _ in 0..1_000 {
            let page = items.scan(user, extent, from.as_ref(), self.now).await?;
            found.extend(page.items);
            from = page.next;
            if from.is_none() {
                return Ok(found);
            }
        }
        Err(super::Stop("a scan does not end".to_owned()))
    }

    /// Makes a message of the agent that quotes the first one, and a message that mentions ursula.
    async fn send_others(&self, channel: &crate::model::channel::Channel) -> Outcome {
        let mut reply = self.message(&self.head(&channel.channel_id).await?, "agent")?;
        reply.message.role = Role::Agent;
        reply.message.reply_to = Some(Seq::FIRST);
        let head = self.head(&channel.channel_id).await?;
        require_eq!(self.append(&head, &reply, None).await?, AppendResult::Stored, "a reply");
        let head = self.head(&channel.channel_id).await?;
        let mut mention = self.message(&head, "olga")?;
        "ask @ursula".clone_into(&mut mention.message.content);
        require_eq!(self.append(&head, &mention, None).await?, AppendResult::Stored, "a mention");
        Ok(())
    }

    pub(super) async fn user_items(&self, items: &impl UserItems) -> Outcome {
        let Ports { channels, messages, connections, .. } = *self.ports;
        let ursula: UserId = id("ursula")?;
        let (channel, olga) = self.channel("user-items", Visibility::Private).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        self.member(&by, "ursula", MemberRole::Member).await?;
        let head = self.head(&channel.channel_id).await?;
        let first = self.message(&head, "ursula")?;
        let record = self.record(request_key("ursula")?, &first);
        require_eq!(self.append(&head, &first, Some(&record)).await?, AppendResult::Stored, "a message with a key");
        self.send_others(&channel).await?;
        let revision = MessageRef {
            channel_id: channel.channel_id.clone(),
            seq: Seq::new(2),
            caller: ursula.clone(),
            trace: None,
        };
        let reacted = self.react(&by, &revision, "👍", Toggle::Add, self.now).await?;
        require_eq!(reacted, ReactionResult::Done, "a reaction");
        let connection = self.open("ursula=", "ursula", &[&channel]).await?;
        let listener = UserConnection::from(&connection).subscription(&ursula);
        let other = Subscription { user_id: id("otto")?, ..listener.clone() };
        let mark = Incarnation::generate(self.seed());
        let listeners = [listener, other];
        require!(connections.set_listeners(&channel.key(), None, &listeners, mark, self.now).await?, "listeners");
        let digest = TicketDigest::of("of ursula");
        let ticket = Ticket {
            user_id: ursula.clone(),
            tenant: None,
            channels: None,
            allowed_channels: None,
            token_expires_at: self.later(LONG),
            expires_at: self.later(LONG),
        };
        connections.keep(&digest, &ticket).await?;
        let taken = channels.take(&ursula, &LimitedAction::Connect, Bucket::per_minute(9), self.now).await?;
        require!(taken.is_ok(), "a token of a full bucket");

        let found = self.scanned(items, &ursula, Extent::Content).await?;
        let expected = [
            ("connection", 1),
            ("copy of a connection", 1),
            ("idempotency record", 1),
            ("list of memberships", 1),
            ("membership", 1),
            ("message", 1),
            ("reaction", 1),
            ("reply", 1),
            ("subscription", 1),
            ("ticket", 1),
            ("token bucket", 1),
        ];
        let counted: Vec<(&str, usize)> = kinds(&found).into_iter().collect();
        require_eq!(counted.as_slice(), expected.as_slice(), "what is stored of a user");
        let order: Vec<u8> = found.iter().map(|item| table(&item.data)).collect();
        require!(order.is_sorted(), "connections are read first and messages last: {order:?}");
        let reply = found.iter().find(|item| matches!(item.data, UserData::Reply { .. }));
        let (reply, question) = (reply.map(|item| &item.data), Seq::FIRST);
        let expected = UserData::Reply { channel: channel.key(), seq: Seq::new(2), question };
        require_eq!(reply, Some(&expected), "a reply");

        let of_olga = kinds(&self.scanned(items, &id("olga")?, Extent::Content).await?);
        require_eq!(of_olga.get("message"), Some(&1), "messages of another user");
        require_eq!(of_olga.get("ticket"), None, "tickets of another user");

        self.erase_some(items, &ursula, &found, &first, &by).await?;
        require_eq!(connections.redeem(&digest, self.now).await?, None, "a ticket whose item was deleted");
        require!(
            messages.idempotency_record(&channel.key(), &record.key).await?.is_none(),
            "a record whose item was deleted"
        );
        connections.close(&connection.key).await?;
        Ok(())
    }

    /// Deletes the items about ursula alone, and the content of her message, and checks the rest.
    async fn erase_some(
        &self,
        items: &impl UserItems,
        ursula: &UserId,
        found: &[UserItem],
        first: &StoredMessage,
        by: &Authority<'_>,
    ) -> Outcome {
        for item in found.iter().filter(|item| matches!(item.data, UserData::Own { .. })) {
            items.delete_item(&item.place).await?;
            items.delete_item(&item.place).await?;
        }
        let left = kinds(&self.scanned(items, ursula, Extent::Content).await?);
        for kind in ["ticket", "token bucket", "idempotency record", "subscription"] {
            require_eq!(left.get(kind), None, "items that were deleted");
        }
        let tombstone = StoredMessage { message: first.message.tombstone(self.now), ..first.clone() };
        require_eq!(self.revise(by, &tombstone).await?, UpdateResult::Done, "a deletion");
        let left = kinds(&self.scanned(items, ursula, Extent::Content).await?);
        require_eq!(left.get("message"), None, "a deleted message, of which the id stays");
        let named = self.scanned(items, ursula, Extent::ContentAndId).await?;
        require_eq!(kinds(&named).get("mention"), Some(&1), "a message that mentions the user");
        let name: Vec<&ItemPlace> = places(&named, &UserData::Name);
        require_eq!(name.len(), 2, "the sender of a deleted message, and a listener");
        let alias: UserId = id("erased-1")?;
        for place in name {
            items.rename_user(place, &id("olga")?, &alias).await?;
            items.rename_user(place, ursula, &alias).await?;
        }
        let asked = BTreeSet::from([ursula.clone()]);
        let listeners = self.ports.connections.announced(&by.channel.key(), &asked).await?.listeners;
        let listeners: Vec<UserId> = listeners.into_iter().map(|one| one.user_id).collect();
        require_eq!(listeners, vec![alias.clone(), id("otto")?], "the listeners");
        let renamed: Option<Message> = self.ports.messages.message(&by.channel.key(), Seq::FIRST, self.now).await?;
        let renamed = renamed.map(|message| (message.sender_id, message.version));
        require_eq!(renamed, Some((alias, 2)), "the sender of a deleted message, whose version stays");
        let named = self.scanned(items, ursula, Extent::ContentAndId).await?;
        require_eq!(places(&named, &UserData::Name).len(), 0, "names that were replaced");
        Ok(())
    }
}

fn places<'a>(found: &'a [UserItem], data: &UserData) -> Vec<&'a ItemPlace> {
    found.iter().filter(|item| item.data == *data).map(|item| &item.place).collect()
}

/// Counts what a scan has found.
fn kinds(found: &[UserItem]) -> BTreeMap<&'static str, usize> {
    let mut counted = BTreeMap::new();
    for item in found {
        let kind = match &item.data {
            UserData::Message(_) => "message",
            UserData::Reply { .. } => "reply",
            UserData::DraftPiece { .. } => "piece of a draft",
            UserData::Reaction { .. } => "reaction",
            UserData::Membership { member: Some(_), .. } => "membership",
            // The list of chosen memberships is another copy, which not every store has.
            UserData::Membership { member: None, read_seq: None, .. } => continue,
            UserData::Membership { member: None, read_seq: Some(_), .. } => "list of memberships",
            UserData::Invitation { .. } => "invitation",
            UserData::Connection { is_copy: false, .. } => "connection",
            UserData::Connection { is_copy: true, .. } => "copy of a connection",
            UserData::Own { kind } => *kind,
            UserData::Name => "name",
            UserData::Mention(_) => "mention",
            UserData::Word => "word",
        };
        *counted.entry(kind).or_default() += 1;
    }
    counted
}

/// Returns the position of an item's table in the order of a scan.
fn table(data: &UserData) -> u8 {
    match data {
        UserData::Connection { .. } | UserData::Own { kind: "ticket" | "subscription" | "presence" } => 1,
        UserData::Message(_) | UserData::Reply { .. } | UserData::Reaction { .. } | UserData::Mention(_) => 3,
        _ => 2,
    }
}
