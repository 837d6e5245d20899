//! [`UserItems`] in memory. A place is a text that names a map of the state and the keys in it.

use super::{Call, Hook, MemoryStore, State};
use crate::{
    model::{
        error::StoreError,
        id::UserId,
        mention::mentioned,
        message::{Role, StoredMessage},
        time::Timestamp,
        user_item::{Extent, ItemPlace, ScanPosition, UserData, UserItem},
    },
    ports::{
        message_store::RecordKey,
        user_items::{UserItemPage, UserItems},
    },
};

/// Number of items of the user in one part of a scan.
const PAGE: usize = 10;

/// Separator in a place. No id and no key contains it.
const SEPARATOR: char = '\u{1}';

impl<H: Hook> UserItems for MemoryStore<H> {
    async fn scan(
        &self,
        user: &UserId,
        extent: Extent,
        from: Option<&ScanPosition>,
        now: Timestamp,
    ) -> Result<UserItemPage, StoreError> {
        self.call(Call::ScanUser, |state| {
            let mut rest = state.of_user(user, extent, now);
            rest.sort_by(|one, other| one.place.cmp(&other.place));
            rest.retain(|item| from.is_none_or(|from| item.place.0 > from.0));
            let mut items: Vec<UserItem> = Vec::new();
            let mut next = None;
            for item in rest {
                // All data of one item is in the same part.
                if items.len() >= PAGE && items.last().is_some_and(|last| last.place != item.place) {
                    next = items.last().map(|last| ScanPosition(last.place.0.clone()));
                    break;
                }
                items.push(item);
            }
            let read = u64::try_from(items.len()).unwrap_or(u64::MAX);
            UserItemPage { items, next, read }
        })
        .await
    }

    async fn delete_item(&self, place: &ItemPlace) -> Result<(), StoreError> {
        self.call(Call::DeleteItem, |state| state.delete_item(place)).await
    }

    async fn rename_user(&self, place: &ItemPlace, user: &UserId, alias: &UserId) -> Result<(), StoreError> {
        self.call(Call::RenameUser, |state| state.rename_user(place, user, alias)).await
    }
}

fn place(table: &str, keys: &[&dyn ToString]) -> ItemPlace {
    let mut place = table.to_owned();
    for key in keys {
        place.push(SEPARATOR);
        place.push_str(&key.to_string());
    }
    ItemPlace(place)
}

impl State {
    /// Returns all data of a user. Tables begin with a digit, so that they are sorted as a scan reads them.
    fn of_user(&self, user: &UserId, extent: Extent, now: Timestamp) -> Vec<UserItem> {
        let mut found = self.connections_of_user(user, extent);
        found.extend(self.channels_of_user(user, extent));
        for (channel, messages) in &self.messages {
            for (seq, item) in messages {
                let place = place("3message", &[channel, &format!("{seq:016}")]);
                let is_live = item.stored.expires_at.is_none_or(|at| at > now);
                let data = of_message(&item.stored, user, extent, is_live);
                found.extend(data.into_iter().map(|data| UserItem { place: place.clone(), data }));
            }
        }
        found
    }

    fn connections_of_user(&self, user: &UserId, extent: Extent) -> Vec<UserItem> {
        let mut found = Vec::new();
        let mut add = |place, data| found.push(UserItem { place, data });
        for (id, one) in self.connections.iter().filter(|(_, one)| one.user_id == *user) {
            add(place("1connection", &[id]), UserData::Connection { connection: one.key.clone(), is_copy: false });
        }
        for (id, one) in self.user_connections.get(user).into_iter().flatten() {
            add(place("1copy", &[user, id]), UserData::Connection { connection: one.key.clone(), is_copy: true });
        }
        for (digest, _) in self.tickets.iter().filter(|(_, ticket)| ticket.user_id == *user) {
            add(place("1ticket", &[digest]), UserData::Own { kind: "ticket" });
        }
        for (channel, _) in self.present.keys().filter(|(_, one)| one == user) {
            add(place("1present", &[channel, user]), UserData::Own { kind: "presence" });
        }
        for (channel, (_, listeners)) in &self.presence_listeners {
            if extent == Extent::ContentAndId && listeners.iter().any(|one| one.user_id == *user) {
                add(place("1listeners", &[channel]), UserData::Name);
            }
        }
        for (channel, all) in &self.subscriptions {
            for id in all.iter().filter(|(_, one)| one.user_id == *user).map(|(id, _)| id) {
                add(place("1subscription", &[channel, id]), UserData::Own { kind: "subscription" });
            }
        }
        for channel in self.blocked.iter().filter(|(_, all)| all.contains_key(user)).map(|(channel, _)| channel) {
            if extent == Extent::ContentAndId {
                add(place("1blocked", &[channel, user]), UserData::Own { kind: "entry of a gate" });
            }
        }
        found
    }

    fn channels_of_user(&self, user: &UserId, extent: Extent) -> Vec<UserItem> {
        let mut found = Vec::new();
        let mut add = |place, data| found.push(UserItem { place, data });
        for (channel, member) in self.members.iter().filter_map(|(key, all)| Some((key, all.get(user)?))) {
            let data = UserData::Membership { channel: channel.clone(), member: Some(member.clone()), read_seq: None };
            add(place("2member", &[channel, user]), data);
        }
        for (channel, read_seq) in self.listed.get(user).into_iter().flatten() {
            let data = UserData::Membership { channel: channel.clone(), member: None, read_seq: Some(*read_seq) };
            add(place("2listed", &[user, channel]), data);
        }
        for channel in self.invitations.iter().filter(|(_, all)| all.contains_key(user)).map(|(key, _)| key) {
            let data = UserData::Invitation { channel: channel.clone(), is_copy: false };
            add(place("2invited", &[channel, user]), data);
        }
        for (channel, all) in &self.records {
            let of_user = all.keys().filter_map(|key| match key {
                RecordKey::Request { sender_id, key } if sender_id == user => Some(key),
                RecordKey::Request { .. } | RecordKey::Reply { .. } => None,
            });
            for key in of_user {
                add(place("2record", &[channel, user, key]), UserData::Own { kind: "idempotency record" });
            }
        }
        for (channel, all) in &self.creations {
            for (_, key) in all.keys().filter(|(of, _)| of == user) {
                add(place("2creation", &[channel, user, key]), UserData::Own { kind: "idempotency record" });
            }
        }
        for (of, action) in self.buckets.keys().filter(|(of, _)| of.as_ref() == Some(user)) {
            let user = of.as_ref().map(ToString::to_string).unwrap_or_default();
            add(place("2bucket", &[&user, action]), UserData::Own { kind: "token bucket" });
        }
        for (_, day) in self.spent.keys().filter(|(of, _)| of == user) {
            add(place("2tokens", &[user, day]), UserData::Own { kind: "tokens used" });
        }
        for (channel, (seq, draft, position)) in
            self.drafts.iter().flat_map(|(channel, all)| all.keys().map(move |piece| (channel, piece)))
        {
            let data = UserData::DraftPiece { channel: channel.clone(), question: *seq };
            add(place("2draft", &[channel, seq, draft, position]), data);
        }
        if extent == Extent::ContentAndId {
            for (id, _) in self.channels.iter().filter(|(_, channel)| channel.created_by == *user) {
                add(place("2channel", &[id]), UserData::Name);
            }
        }
        found
    }

    fn delete_item(&mut self, place: &ItemPlace) {
        let keys: Vec<&str> = place.0.split(SEPARATOR).collect();
        match *keys.as_slice() {
            ["1ticket", digest] => self.tickets.retain(|one, _| one.to_string() != digest),
            ["1present", channel, user] => {
                self.present.retain(|(key, of), _| key.to_string() != channel || of.as_str() != user);
            }
            ["2member", channel, user] => {
                for (_, all) in self.members.iter_mut().filter(|(key, _)| key.to_string() == channel) {
                    all.retain(|of, _| of.as_str() != user);
                }
            }
            ["2listed", user, channel] => {
                for (_, all) in self.listed.iter_mut().filter(|(of, _)| of.as_str() == user) {
                    all.retain(|key, _| key.to_string() != channel);
                }
            }
            ["2invited", channel, user] => {
                for (_, all) in self.invitations.iter_mut().filter(|(key, _)| key.to_string() == channel) {
                    all.retain(|of, _| of.as_str() != user);
                }
            }
            ["1subscription", channel, id] => {
                for (_, all) in self.subscriptions.iter_mut().filter(|(key, _)| key.to_string() == channel) {
                    all.retain(|one, _| one.as_str() != id);
                }
            }
            ["1blocked", channel, user] => {
                for (_, all) in self.blocked.iter_mut().filter(|(key, _)| key.to_string() == channel) {
                    all.retain(|of, _| of.as_str() != user);
                }
            }
            ["2record", channel, user, key] => {
                for (_, all) in self.records.iter_mut().filter(|(of, _)| of.to_string() == channel) {
                    all.retain(|one, _| match one {
                        RecordKey::Request { sender_id, key: of } => sender_id.as_str() != user || of.as_str() != key,
                        RecordKey::Reply { .. } => true,
                    });
                }
            }
            ["2creation", channel, user, key] => {
                for (_, all) in self.creations.iter_mut().filter(|(of, _)| of.to_string() == channel) {
                    all.retain(|(of, one), _| of.as_str() != user || one.as_str() != key);
                }
            }
            ["2bucket", user, action] => {
                self.buckets.retain(|(of, name), _| of.as_ref().is_none_or(|of| of.as_str() != user) || name != action);
            }
            ["2tokens", user, day] => self.spent.retain(|(of, on), _| of.as_str() != user || on != day),
            ["2draft", channel, seq, draft, position] => {
                for (_, all) in self.drafts.iter_mut().filter(|(key, _)| key.to_string() == channel) {
                    all.retain(|(question, of, at), _| {
                        [question.to_string(), of.to_string(), at.to_string()] != [seq, draft, position]
                    });
                }
            }
            ["3message", channel, seq] => {
                for (_, all) in self.messages.iter_mut().filter(|(key, _)| key.to_string() == channel) {
                    all.retain(|one, _| format!("{one:016}") != seq);
                }
            }
            _ => {}
        }
    }

    fn rename_user(&mut self, place: &ItemPlace, user: &UserId, alias: &UserId) {
        let keys: Vec<&str> = place.0.split(SEPARATOR).collect();
        match *keys.as_slice() {
            ["1listeners", channel] => {
                for (_, (_, all)) in self.presence_listeners.iter_mut().filter(|(key, _)| key.to_string() == channel) {
                    for one in all.iter_mut().filter(|one| one.user_id == *user) {
                        one.user_id = alias.clone();
                    }
                }
            }
            ["2channel", id] => {
                let channels = self.channels.values_mut().filter(|one| one.channel_id.as_str() == id);
                for channel in channels.filter(|one| one.created_by == *user) {
                    channel.created_by = alias.clone();
                }
            }
            ["3message", channel, seq] => {
                for (_, all) in self.messages.iter_mut().filter(|(key, _)| key.to_string() == channel) {
                    let of_seq = all.iter_mut().filter(|(one, _)| format!("{one:016}") == seq);
                    for (_, item) in of_seq.filter(|(_, item)| item.stored.message.sender_id == *user) {
                        item.stored.message.sender_id = alias.clone();
                    }
                }
            }
            _ => {}
        }
    }
}

/// Returns the data of a user in a message.
fn of_message(stored: &StoredMessage, user: &UserId, extent: Extent, is_live: bool) -> Vec<UserData> {
    let message = &stored.message;
    let (channel, seq) = (stored.channel(), message.seq);
    let is_sender = message.role == Role::User && message.sender_id == *user;
    let reactions = message.reactions.iter().filter(|(_, users)| users.contains(user));
    let reactions: Vec<UserData> = reactions
        .map(|(emoji, _)| UserData::Reaction { channel: channel.clone(), seq, emoji: emoji.clone() })
        .collect();
    if !is_live {
        let is_of_user = is_sender || !reactions.is_empty();
        return is_of_user.then_some(UserData::Own { kind: "expired message" }).into_iter().collect();
    }
    let is_deleted = message.deleted_at.is_some();
    let mut data = Vec::new();
    match (message.role, message.reply_to) {
        _ if is_sender && !is_deleted => data.push(UserData::Message(Box::new(stored.clone()))),
        _ if is_sender && extent == Extent::ContentAndId => data.push(UserData::Name),
        (Role::Agent, Some(question)) if !is_deleted => data.push(UserData::Reply { channel, seq, question }),
        _ if extent == Extent::ContentAndId && mentioned(&message.content).any(|name| name == user.as_str()) => {
            data.push(UserData::Mention(Box::new(stored.clone())));
        }
        _ => {}
    }
    // The tombstone of an own message has no reactions.
    if !is_sender || is_deleted {
        data.extend(reactions);
    }
    data
}
