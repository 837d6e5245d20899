//! Checks of the messages and drafts that the user sees, and of sends.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judge, Rule, Sent};
use crate::{
    gateway::{
        Gateway,
        channel::Channel,
        message::{Message, State},
    },
    protocol::{Show, ShownMessage},
};

impl Judge {
    /// Checks a state of a channel at the moment when it is shown.
    pub(crate) fn show(&mut self, show: Show, gateway: &Gateway) {
        let Some(channel) = gateway.channels.get(&show.channel) else {
            self.protocol(format!("shows the channel {}, which is not one of the schedule", show.channel));
            return;
        };
        self.check_order(&show);
        for message in &show.messages {
            self.check_state(channel, message);
        }
        self.check_drafts(channel, &show);
        for entry in &show.outbox {
            let stored = channel.messages.values().find(|message| message.key.as_deref() == Some(entry.key.as_str()));
            let is_shown = |seq: u64| show.messages.iter().any(|message| message.seq == seq);
            if let Some(message) = stored.filter(|message| is_shown(message.seq) && !message.is_deleted()) {
                let text = format!("{}: the message {} is shown in the outbox too", channel.id, message.seq);
                self.find(Rule::NoDuplicates, text);
            }
            if entry.state == "failed" {
                // A send that waited for an earlier one may fail without a request, which would tell its key.
                let is_it = |sent: &&mut Sent| {
                    sent.channel == show.channel
                        && sent.key.as_ref().map_or(sent.content == entry.content, |key| *key == entry.key)
                };
                for sent in self.sends.iter_mut().filter(is_it) {
                    sent.has_failed = true;
                }
            }
        }
        self.shows.insert(show.channel.clone(), show);
    }

    fn check_order(&mut self, show: &Show) {
        for (one, next) in show.messages.iter().zip(show.messages.iter().skip(1)) {
            if one.seq == next.seq {
                self.find(Rule::NoDuplicates, format!("{}: the message {} is shown twice", show.channel, one.seq));
            } else if one.seq > next.seq {
                let text = format!("{}: the message {} is shown before {}", show.channel, one.seq, next.seq);
                self.find(Rule::Order, text);
            }
        }
    }

    fn check_state(&mut self, channel: &Channel, shown: &ShownMessage) {
        let (id, seq, version) = (&channel.id, shown.seq, shown.version);
        let Some(state) = channel.messages.get(&seq).and_then(|message| message.at(version)) else {
            let text = format!("{id}: the message {seq} is shown in version {version}, which never was");
            self.find(Rule::CompleteChanges, text);
            return;
        };
        if let Some(difference) = difference(state, shown) {
            let text = format!("{id}: the message {seq} in version {version} {difference}");
            self.find(Rule::CompleteChanges, text);
        }
        let held = self.versions.entry((id.clone(), seq)).or_insert(version);
        let before = *held;
        *held = before.max(version);
        if version < before {
            let text = format!("{id}: the message {seq} was shown in version {before}, and is in version {version}");
            self.find(Rule::CompleteChanges, text);
        }
    }

    fn check_drafts(&mut self, channel: &Channel, show: &Show) {
        for draft in &show.drafts {
            let (id, reply_to) = (&channel.id, draft.reply_to);
            let stored = draft.draft_id.as_ref().and_then(|draft_id| channel.texts.get(draft_id));
            if !stored.map_or(draft.text.is_empty(), |stored| stored.starts_with(&draft.text)) {
                let text = format!(
                    "{id}: the draft to {reply_to} is shown as {:?}; stored is {:?}",
                    draft.text,
                    stored.map(String::as_str).unwrap_or_default()
                );
                self.find(Rule::DraftText, text);
            }
            let reply = channel.drafts.get(&reply_to).and_then(|draft| draft.seq);
            if let Some(reply) = reply.filter(|seq| show.messages.iter().any(|message| message.seq == *seq)) {
                let text = format!("{id}: the draft to {reply_to} is shown beside its message {reply}");
                self.find(Rule::DraftText, text);
            }
        }
    }

    /// Forgets which versions were shown: the client drops its messages after a `410`.
    pub(crate) fn reloads(&mut self, channel_id: &str) {
        self.versions.retain(|(channel, _), _| channel != channel_id);
    }

    /// Checks that a channel is shown as it is.
    pub(super) fn check_channel(&mut self, gateway: &Gateway, id: &str) {
        let Some(channel) = gateway.channels.get(id) else { return };
        let show = self.shows.get(id).cloned().unwrap_or_default();
        let first = show.messages.first().map_or(1, |message| message.seq);
        let is_held = |seq: &u64| show.messages.iter().any(|message| message.seq == *seq);
        let missing: Vec<u64> =
            channel.messages.range(first..).map(|(seq, _)| *seq).filter(|seq| !is_held(seq)).collect();
        if !missing.is_empty() {
            self.find(Rule::CompleteMessages, format!("{id}: the messages {missing:?} are missing"));
        }
        for shown in &show.messages {
            let newest = channel.messages.get(&shown.seq).map_or(0, Message::version);
            if shown.version < newest {
                let (seq, version) = (shown.seq, shown.version);
                let text = format!("{id}: the message {seq} is shown in version {version} of {newest}");
                self.find(Rule::CompleteChanges, text);
            }
        }
        if let Some(rev) = show.rev.filter(|rev| *rev != channel.rev) {
            let text = format!("{id}: the client knows the changes up to {rev} of {}", channel.rev);
            self.find(Rule::CompleteChanges, text);
        }
        for (reply_to, draft) in &channel.drafts {
            let shown = show.drafts.iter().find(|shown| shown.reply_to == *reply_to);
            if draft.seq.is_none() && !draft.text.is_empty() && shown.is_none_or(|shown| shown.text != draft.text) {
                let text = format!("{id}: the draft to {reply_to} is {:?}, and shown is {shown:?}", draft.text);
                self.find(Rule::DraftText, text);
            }
            if draft.seq.is_some() && shown.is_some() {
                self.find(Rule::DraftText, format!("{id}: the draft to {reply_to} is shown after its end"));
            }
        }
    }

    /// Checks that each send to a channel of the user is stored, was refused, or waits for the user.
    pub(super) fn check_sends(&mut self, gateway: &Gateway) {
        let is_waiting = |key: Option<&str>, content: &str| {
            let mut entries = self.shows.values().flat_map(|show| &show.outbox);
            entries
                .any(|entry| entry.state == "failed" && (Some(entry.key.as_str()) == key || entry.content == content))
        };
        let lost = self
            .sends
            .iter()
            .filter(|sent| gateway.is_readable(&sent.channel))
            .find(|sent| !sent.is_stored && !sent.is_refused && !is_waiting(sent.key.as_deref(), &sent.content));
        if let Some(sent) = lost {
            let text = format!("{}: {:?} is neither stored nor shown as failed", sent.channel, sent.content);
            self.find(Rule::SendKept, text);
        }
    }

    /// Checks a message of the user that the server has stored.
    pub(crate) fn stored(&mut self, channel: &str, content: &str) {
        let at = self.sends.iter().position(|sent| sent.channel == channel && sent.content == content);
        let Some(at) = at else { return };
        let earlier = self
            .sends
            .iter()
            .take(at)
            .find(|sent| sent.channel == channel && !sent.is_stored && !sent.is_refused && !sent.has_failed);
        if let Some(earlier) = earlier {
            let text = format!("{channel}: {content:?} is stored before {:?}", earlier.content);
            self.find(Rule::SendOrder, text);
        }
        let Some(sent) = self.sends.get_mut(at) else { return };
        if std::mem::replace(&mut sent.is_stored, true) {
            self.find(Rule::NoDuplicates, format!("{channel}: {content:?} is stored twice"));
        }
    }
}

fn difference(state: &State, shown: &ShownMessage) -> Option<String> {
    if shown.content != state.content {
        return Some(format!("is shown as {:?}; it is {:?}", shown.content, state.content));
    }
    let count = |users: &BTreeSet<String>| u64::try_from(users.len()).unwrap_or(u64::MAX);
    let held: BTreeMap<&str, u64> =
        state.reactions.iter().map(|(emoji, users)| (emoji.as_str(), count(users))).collect();
    let seen: BTreeMap<&str, u64> =
        shown.reactions.iter().map(|reaction| (reaction.emoji.as_str(), reaction.count)).collect();
    (held != seen).then(|| format!("is shown with the reactions {seen:?}; they are {held:?}"))
}
