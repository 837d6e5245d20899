//! The reference client's log of one channel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::bug::Bug;

/// A message of the user that is not stored yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Send {
    pub(crate) key: String,
    pub(crate) content: String,
    /// Whether a request is in flight, or waits for its repetition.
    pub(crate) is_busy: bool,
}

#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_field_names, reason = "the name of the contract")]
pub(crate) struct Draft {
    draft_id: String,
    text: String,
    pub(crate) is_behind: bool,
}

/// Messages, changes and drafts of a channel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) bug: Option<Bug>,
    pub(crate) messages: BTreeMap<u64, Value>,
    arrivals: Vec<u64>,
    pub(crate) settled: u64,
    pub(crate) known: Option<u64>,
    newest: u64,
    pub(crate) drafts: BTreeMap<u64, Draft>,
    ended: BTreeSet<u64>,
    pub(crate) outbox: VecDeque<Send>,
    /// Whether the messages after `settled` must be read.
    pub(crate) must_recover: bool,
    pub(crate) wants_earlier: bool,
    pub(crate) is_reading: bool,
    /// Whether a timer runs before the next read.
    pub(crate) is_waiting: bool,
    pub(crate) is_refused: bool,
    pub(crate) attempt: u32,
    /// Time before which the server refuses sends.
    pub(crate) post_at: i64,
}

impl Log {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Drops the messages, so that the history is read again.
    pub(crate) fn reload(&mut self) {
        self.messages.clear();
        self.arrivals.clear();
        (self.settled, self.known, self.newest) = (0, None, 0);
    }

    pub(crate) fn has_gap(&self) -> bool {
        let has_gap = self.messages.keys().next_back().is_some_and(|last| *last > self.settled);
        has_gap && !self.has(Bug::GapIgnored)
    }

    pub(crate) fn missed_changes(&self) -> Option<u64> {
        self.known.filter(|known| *known < self.newest)
    }

    pub(crate) fn draft_behind(&self) -> Option<u64> {
        self.drafts.iter().find(|(_, draft)| draft.is_behind).map(|(reply_to, _)| *reply_to)
    }

    /// Returns whether something is missing that a frame on its way may bring.
    pub(crate) fn lacks(&self) -> bool {
        self.known.is_some() && (self.has_gap() || self.missed_changes().is_some() || self.draft_behind().is_some())
    }

    pub(crate) fn take_events(&mut self, events: &[Value]) {
        for event in events {
            let seq = event["seq"].as_u64().unwrap_or(0);
            if let Some(rev) = event["rev"].as_u64() {
                self.newest = self.newest.max(rev);
                let first = event["rev_from"].as_u64().unwrap_or(rev);
                let ignores = self.has(Bug::ChangeGapIgnored);
                // A reaction to a message that comes later is missing then.
                let is_lost = !event["message"].is_object() && seq > self.settled && !self.messages.contains_key(&seq);
                let follows = |known: u64| first <= known + 1 && !is_lost;
                self.known = self.known.map(|known| if ignores || follows(known) { known.max(rev) } else { known });
            }
            match event["type"].as_str().unwrap_or_default() {
                "message.created" => {
                    if self.has(Bug::DuplicatesShown) && self.messages.contains_key(&seq) {
                        self.arrivals.push(seq);
                    }
                    self.keep(event["message"].clone());
                }
                // The push of a message that is not held may come later, or was lost.
                "message.updated" | "message.deleted" if seq > self.settled || self.messages.contains_key(&seq) => {
                    self.keep(event["message"].clone());
                }
                "reaction.added" | "reaction.removed" => self.react(seq, event),
                _ => {}
            }
        }
        self.advance();
    }

    pub(crate) fn take_page(&mut self, page: &Value, is_earlier: bool) {
        let rev = page["rev"].as_u64().unwrap_or(0);
        self.newest = self.newest.max(rev);
        self.known = Some(self.known.map_or(rev, |known| known.min(rev)));
        for message in page["messages"].as_array().into_iter().flatten() {
            if !is_earlier {
                self.settled = self.settled.max(message["seq"].as_u64().unwrap_or(0));
            }
            self.keep(message.clone());
        }
        for seq in page["replying_to"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
            if !self.ended.contains(&seq) {
                self.drafts.entry(seq).or_insert_with(|| Draft { is_behind: true, ..Draft::default() });
            }
        }
        self.advance();
    }

    pub(crate) fn take_changes(&mut self, page: &Value) {
        for change in page["changes"].as_array().into_iter().flatten() {
            if self.messages.contains_key(&change["message"]["seq"].as_u64().unwrap_or(0)) {
                self.keep(change["message"].clone());
            }
        }
        let rev = page["rev"].as_u64().unwrap_or(0);
        self.newest = self.newest.max(rev);
        let complete = page["next"]["after"].as_u64().unwrap_or(rev);
        self.known = self.known.max(Some(complete));
    }

    pub(crate) fn keep(&mut self, message: Value) {
        let seq = message["seq"].as_u64().unwrap_or(0);
        if message["role"] != "user"
            && let Some(question) = message["reply_to"].as_u64()
        {
            self.ended.insert(question);
            self.drafts.remove(&question);
        }
        if let Some(key) = message["metadata"]["client_key"].as_str() {
            self.outbox.retain(|send| send.key != key);
        }
        let held = self.messages.get(&seq).map_or(0, |held| held["version"].as_u64().unwrap_or(0));
        if held == 0 {
            self.arrivals.push(seq);
        }
        if held < message["version"].as_u64().unwrap_or(0) || self.has(Bug::OlderVersionTaken) {
            self.messages.insert(seq, message);
        }
    }

    fn react(&mut self, seq: u64, event: &Value) {
        let unchecked = self.has(Bug::ReactionUnchecked);
        let Some(held) = self.messages.get_mut(&seq) else { return };
        let (version, after) = (held["version"].as_u64().unwrap_or(0), event["version"].as_u64().unwrap_or(0));
        if version >= after || (version + 1 != after && !unchecked) {
            return;
        }
        held["version"] = json!(after);
        let mut reactions = held["reactions"].as_array().cloned().unwrap_or_default();
        reactions.retain(|reaction| reaction["emoji"] != event["emoji"]);
        if event["count"] != 0 {
            reactions.push(json!({"emoji": event["emoji"], "count": event["count"]}));
        }
        held["reactions"] = json!(reactions);
    }

    fn advance(&mut self) {
        while self.messages.contains_key(&(self.settled + 1)) {
            self.settled += 1;
        }
    }

    pub(crate) fn take_delta(&mut self, frame: &Value) {
        let reply_to = frame["reply_to"].as_u64().unwrap_or(0);
        if self.ended.contains(&reply_to) {
            return;
        }
        let appends = self.has(Bug::DraftAppends);
        let draft = self.drafts.entry(reply_to).or_default();
        let draft_id = frame["draft_id"].as_str().unwrap_or_default();
        if draft.draft_id != draft_id {
            *draft = Draft { draft_id: draft_id.to_owned(), ..Draft::default() };
        }
        let position = usize::try_from(frame["position"].as_u64().unwrap_or(0)).unwrap_or(0);
        let text = frame["text"].as_str().unwrap_or_default();
        if appends {
            draft.text.push_str(text);
        } else if position > draft.text.chars().count() {
            draft.is_behind = true;
        } else {
            draft.text = draft.text.chars().take(position).chain(text.chars()).collect();
            draft.is_behind = false;
        }
    }

    pub(crate) fn take_reply(&mut self, reply_to: u64, reply: &Value) {
        let Some(draft) = self.drafts.get_mut(&reply_to) else { return };
        let (draft_id, text) =
            (reply["draft_id"].as_str().unwrap_or_default(), reply["text"].as_str().unwrap_or_default());
        if draft.draft_id != draft_id || draft.text.chars().count() < text.chars().count() {
            *draft = Draft { draft_id: draft_id.to_owned(), text: text.to_owned(), is_behind: false };
        }
        draft.is_behind = false;
    }

    /// Returns the line that shows the channel.
    pub(crate) fn show(&self, id: &str) -> Value {
        let mut messages: Vec<&Value> = self.messages.values().collect();
        if self.has(Bug::ShownByArrival) || self.has(Bug::DuplicatesShown) {
            let mut seqs = self.arrivals.clone();
            if self.has(Bug::DuplicatesShown) {
                seqs.sort_unstable();
            }
            messages = seqs.iter().filter_map(|seq| self.messages.get(seq)).collect();
        }
        let drafts: Vec<Value> = self
            .drafts
            .iter()
            .filter(|(_, draft)| !draft.draft_id.is_empty())
            .map(|(reply_to, draft)| json!({"reply_to": reply_to, "draft_id": draft.draft_id, "text": draft.text}))
            .collect();
        let outbox: Vec<Value> = self
            .outbox
            .iter()
            .map(|send| json!({"key": send.key, "content": send.content, "state": "sending"}))
            .collect();
        json!({
            "do": "show", "channel": id, "messages": messages, "drafts": drafts, "outbox": outbox, "rev": self.known,
        })
    }
}
