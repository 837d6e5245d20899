//! Erasing messages, reactions and mentions: numbered changes, which live clients receive.

use serde_json::{Map, Value};

use super::{Erasure, ErasureRequest};
use crate::{
    app::{contention::Contention, edit::Stored},
    model::{
        access::Authority,
        error::{ChatError, Result},
        id::UserId,
        incarnation::ChannelKey,
        mention::renamed,
        message::{Message, StoredMessage},
        message_ref::MessageRef,
        reaction::Toggle,
        seq::Seq,
        text::emoji::Emoji,
        time::Timestamp,
        user_item::ItemPlace,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        connection_store::ConnectionStore,
        fan_out::FanOut,
        invitation_store::InvitationStore,
        message_store::{MessageStore, ReactionResult},
        pending_ends::PendingEnds,
        socket_gateway::SocketGateway,
        user_items::UserItems,
    },
};

impl<Channels, Messages, Connections, Sockets, Fan, Items, Time>
    Erasure<'_, Channels, Messages, Connections, Sockets, Fan, Items, Time>
where
    Channels: ChannelStore + InvitationStore + PendingEnds,
    Messages: MessageStore,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Items: UserItems,
    Time: Clock,
{
    /// Makes a message a tombstone. Returns `false` if it is one already.
    pub(super) async fn bury(&self, channel: &ChannelKey, seq: Seq, place: &ItemPlace) -> Result<bool> {
        self.change(channel, seq, place, |message, now| message.deleted_at.is_none().then(|| message.tombstone(now)))
            .await
    }

    /// Replaces the mentions of the user in a message of another author. Returns `false` if there are none any longer.
    pub(super) async fn replace_mentions(
        &self,
        request: &ErasureRequest,
        stored: &StoredMessage,
        place: &ItemPlace,
    ) -> Result<bool> {
        self.change(&stored.channel(), stored.message.seq, place, |message, now| {
            let changed = without_user(message, &request.user_id, &request.alias)?;
            Some(Message { edited_at: Some(now), ..changed.revised() })
        })
        .await
    }

    /// Makes a change of a message, whether or not its channel is archived. Deletes the item instead, if the channel is
    /// deleted or the message has expired: then no user reads it. Returns `false` if there is nothing to change.
    async fn change(
        &self,
        key: &ChannelKey,
        seq: Seq,
        place: &ItemPlace,
        change: impl Fn(&Message, Timestamp) -> Option<Message>,
    ) -> Result<bool> {
        let (channels, messages, clock) = (self.messages.channels, self.messages.messages, self.messages.clock);
        let mut contention = Contention::new(clock);
        while contention.begin(false).await {
            let found = channels.channel_with_rev(&key.channel_id).await?;
            let found = found.filter(|(channel, _)| channel.incarnation == key.incarnation);
            let message = messages.message(key, seq, clock.now()).await?;
            let (Some((channel, last)), Some(message)) = (found, message) else {
                self.items.delete_item(place).await?;
                return Ok(true);
            };
            let Some(changed) = change(&message, clock.now()) else { return Ok(false) };
            let by = Authority { channel: &channel, member: None };
            match self.messages.store_change(&by, last, &changed, None, &mut contention).await? {
                Stored::Done => return Ok(true),
                Stored::MessageNotFound => return Ok(false),
                Stored::ReadAgain => {}
            }
        }
        Err(ChatError::contended())
    }

    /// Removes a reaction of the user, whether or not the channel is archived and the user may see it.
    pub(super) async fn take_back(&self, user: &UserId, key: &ChannelKey, seq: Seq, emoji: &Emoji) -> Result<()> {
        let (channels, messages, clock) = (self.messages.channels, self.messages.messages, self.messages.clock);
        let channel_id = key.channel_id.clone();
        let revision = MessageRef { channel_id, seq, caller: user.clone(), trace: None };
        let mut contention = Contention::new(clock);
        while contention.begin(false).await {
            let found = channels.channel_with_rev(&key.channel_id).await?;
            let found = found.filter(|(channel, _)| channel.incarnation == key.incarnation);
            // The messages of a deleted channel are removed with it.
            let Some((channel, mut last)) = found else { return Ok(()) };
            let by = Authority { channel: &channel, member: None };
            loop {
                let (number, now) = (self.messages.change_after(last), clock.now());
                match messages.react(&by, &revision, emoji, Toggle::Remove, number, now).await? {
                    ReactionResult::Done | ReactionResult::MessageNotFound | ReactionResult::Full => return Ok(()),
                    ReactionResult::Stale | ReactionResult::Conflict => break,
                    ReactionResult::Behind(current) => {
                        if !contention.begin_behind().await {
                            return Err(ChatError::contended());
                        }
                        last = current;
                    }
                }
            }
        }
        Err(ChatError::contended())
    }
}

/// Returns a message with `alias` in place of each mention of `user`, and of each name and text of the metadata that is
/// the id. Returns `None` if there is none.
fn without_user(message: &Message, user: &UserId, alias: &UserId) -> Option<Message> {
    let content = renamed(&message.content, user.as_str(), alias.as_str());
    let metadata = message.metadata.as_ref().map(|metadata| renamed_entries(metadata, user, alias));
    let changed = Message { content, metadata, ..message.clone() };
    (changed != *message).then_some(changed)
}

fn renamed_entries(entries: &Map<String, Value>, user: &UserId, alias: &UserId) -> Map<String, Value> {
    let renamed = entries.iter().map(|(name, value)| {
        let name = if name == user.as_str() { alias.as_str() } else { name };
        (name.to_owned(), renamed_value(value, user, alias))
    });
    renamed.collect()
}

fn renamed_value(value: &Value, user: &UserId, alias: &UserId) -> Value {
    match value {
        Value::String(text) if text == user.as_str() => alias.as_str().into(),
        Value::Array(values) => values.iter().map(|value| renamed_value(value, user, alias)).collect(),
        Value::Object(entries) => Value::Object(renamed_entries(entries, user, alias)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::stored_message;

    #[test]
    fn mentions_and_metadata_lose_the_user_and_nothing_else() {
        let (bob, alias) = ("bob".parse().unwrap(), "erased-1".parse().unwrap());
        let mut message = stored_message("c", 1, "Ask @bob, not @bobby: bob's mail is `@bob`.").message;
        let metadata = json!({ "to": "bob", "cc": ["bob", "bobby"], "bob": { "x": "bob" }, "n": 1, "text": "bob!" });
        message.metadata = metadata.as_object().cloned();
        let changed = without_user(&message, &bob, &alias).unwrap();
        assert_eq!(changed.content, "Ask @erased-1, not @bobby: bob's mail is `@bob`.");
        let expected = json!({
            "to": "erased-1", "cc": ["erased-1", "bobby"], "erased-1": { "x": "erased-1" }, "n": 1, "text": "bob!",
        });
        assert_eq!(changed.metadata.as_ref(), expected.as_object());
        assert_eq!(without_user(&changed, &bob, &alias), None);
    }
}
