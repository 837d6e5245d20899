//! The course of a schedule: other users, the agent, and the client's own user.

use serde_json::{Value, json};

use super::{Event, World};
use crate::{
    gateway::channel::{Append, Channel, events_frame, joined},
    plan::Kind,
};

const ROUNDS: u64 = 2;
const MINUTE_MS: u64 = 60_000;
const ROUND_MS: u64 = 25_000;
const OUTAGE_MS: u64 = 7 * MINUTE_MS;
const EMOJIS: [&str; 3] = ["👍", "🎉", "👀"];
const WORDS: [&str; 5] = ["Hello", " world", ", ünïcode 🦀", " and more", "."];

/// One step of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Begins a round of faults.
    Round,
    /// Ends the faults, an outage and the time without a network.
    Calm,
    /// Changes each channel, so that gaps show.
    Prove,
    /// Lets the user send failed messages again.
    RetryFailed,
    Checkpoint,
    Sweep,
    Message,
    Edit,
    EditTwice,
    Delete,
    Reaction,
    Draft,
    DraftAgain,
    DraftEnd,
    Cut,
    Revoke,
    NoToken,
    HalfOpen,
    Close,
    Refuse,
    Hide,
    Expire,
    Offline,
    Outage,
    Burst,
    Overtaken,
    Lost,
    Unknown,
    Send,
    UserEdit,
    UserReaction,
    LoadEarlier,
}

/// Returns the steps of a kind, the frequent ones several times.
fn steps(kind: Kind) -> &'static [Step] {
    use Step::{
        Close, Cut, Delete, Draft, DraftAgain, DraftEnd, Edit, EditTwice, Expire, HalfOpen, LoadEarlier, Message,
        Offline, Reaction, Revoke, Send, Unknown, UserEdit, UserReaction,
    };
    match kind {
        Kind::Frames | Kind::Many => {
            &[Message, Message, Edit, EditTwice, Reaction, Reaction, Delete, Unknown, LoadEarlier]
        }
        Kind::Cuts => &[Message, Message, Edit, Reaction, Cut, Cut, Revoke, Offline, Draft],
        Kind::Requests => &[Message, Message, Edit, Reaction, UserReaction, Send, Cut, LoadEarlier],
        Kind::Drafts => &[Draft, Draft, Draft, Draft, DraftAgain, DraftEnd, Message, Cut],
        Kind::Sends => &[Send, Send, Send, Message, UserEdit, UserReaction],
        Kind::Outage | Kind::Hours => &[Message, Edit],
        Kind::Expired => &[Edit, Edit, Reaction, Message, Delete, Expire, Cut],
        Kind::HalfOpen => &[Message, Edit, HalfOpen, Draft],
        Kind::Closing => &[Message, Edit, Close, Send],
        Kind::Overtaken => &[],
        Kind::Mixed => &[
            Message,
            Edit,
            EditTwice,
            Delete,
            Reaction,
            Draft,
            DraftAgain,
            DraftEnd,
            Cut,
            HalfOpen,
            Close,
            Expire,
            Offline,
            Unknown,
            Send,
            Send,
            UserEdit,
            UserReaction,
            LoadEarlier,
        ],
    }
}

impl World<'_> {
    /// Fills the channels, and schedules the first steps.
    pub(super) fn prepare(&mut self) {
        for id in self.plan.open_channels() {
            for _ in 0..self.dice.between(3, 130) {
                self.append(&id);
            }
            for _ in 0..self.dice.between(0, 8) {
                let (seq, emoji) = (self.any_seq(&id), self.emoji());
                if let Some(channel) = self.gateway.channels.get_mut(&id) {
                    channel.react(seq, emoji, "bob", true);
                }
            }
        }
        self.after(8_000, Event::Step(Step::Round));
        self.after(MINUTE_MS, Event::Step(Step::Sweep));
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Round => self.begin_round(),
            Step::Calm => self.calm(),
            Step::Prove => self.prove(),
            Step::RetryFailed => {
                for (channel, key) in self.judge.failed_sends() {
                    self.act("retry", json!({"channel": channel, "key": key}));
                }
            }
            Step::Checkpoint => self.checkpoint(),
            Step::Sweep => {
                self.sweep();
                self.after(MINUTE_MS, Event::Step(Step::Sweep));
            }
            Step::Cut => self.cut(),
            Step::Revoke => {
                // The next handshake is the only request that shows it.
                self.gateway.revoked_before = self.now / 1000;
                self.cut();
            }
            Step::NoToken => {
                self.gateway.revoked_before = self.now / 1000;
                self.is_tokenless = true;
            }
            Step::HalfOpen => self.half_open(),
            Step::Close => {
                if let Some(socket) = self.open_sockets().first().copied() {
                    self.close_with(socket, "token_expired", true);
                }
            }
            Step::Refuse => {
                for socket in self.open_sockets() {
                    self.close_with(socket, "too_many_frames", false);
                }
            }
            Step::Hide => self.hide(),
            Step::Offline => {
                self.is_outage = true;
                self.cut();
                self.exchange(json!({"online": false}));
            }
            Step::Outage => {
                self.is_outage = true;
                self.cut();
            }
            Step::Burst => {
                let id = self.any_channel();
                self.burst(&id);
            }
            Step::Unknown => {
                let id = self.any_channel();
                let frame = json!({"type": "future.frame", "channel_id": id, "data": [1]});
                self.broadcast(&id, &frame);
            }
            Step::Send | Step::UserEdit | Step::UserReaction | Step::LoadEarlier => self.user(step),
            _ => {
                let id = self.any_channel();
                self.in_channel(step, &id);
            }
        }
    }

    fn begin_round(&mut self) {
        self.faults_on = true;
        let kind = self.plan.kind;
        if kind == Kind::Overtaken {
            for at in [3_000, 9_000, 15_000, 21_000] {
                let step = if self.dice.chance(60) { Step::Overtaken } else { Step::Lost };
                self.after(at, Event::Step(step));
            }
        }
        for _ in 0..self.dice.between(10, 18) {
            if let Some(step) = self.dice.pick(steps(kind)).copied() {
                let at = self.dice.between(0, ROUND_MS);
                self.after(at, Event::Step(step));
            }
        }
        let mut end = ROUND_MS + 1_000;
        if kind == Kind::Outage {
            self.after(1_000, Event::Step(Step::Outage));
            self.after(OUTAGE_MS / 2, Event::Step(Step::Burst));
            end = OUTAGE_MS;
        }
        if kind == Kind::Requests && self.dice.chance(25) {
            self.after(1_000, Event::Step(Step::NoToken));
        }
        if kind == Kind::Closing {
            let is_last = self.round + 1 == ROUNDS;
            let step = if is_last && self.dice.chance(40) { Step::Refuse } else { Step::Hide };
            self.after(ROUND_MS, Event::Step(step));
        }
        self.after(end, Event::Step(Step::Calm));
    }

    fn calm(&mut self) {
        (self.faults_on, self.is_tokenless) = (false, false);
        self.calm_since = self.now;
        if self.is_outage {
            self.is_outage = false;
            if !self.is(Kind::Outage) {
                self.judge.attempts_begin_again();
                self.judge.cause();
                self.exchange(json!({"online": true}));
            }
        }
        let is_last = self.round + 1 == ROUNDS;
        self.after(4_000, Event::Step(Step::Prove));
        self.after(9_000, Event::Step(Step::Prove));
        self.after(20_000, Event::Step(Step::RetryFailed));
        self.after(self.plan.calm_ms(is_last), Event::Step(Step::Checkpoint));
    }

    /// Sends a message, edits it and extends the drafts of each opened channel.
    fn prove(&mut self) {
        for id in self.plan.open_channels() {
            self.in_channel(Step::Message, &id);
            let (now, text) = (self.now, self.text("proof"));
            let channel = self.gateway.channels.get_mut(&id);
            let event = channel.and_then(|channel| channel.edit(channel.last_seq(), &text, now));
            if let Some(event) = event {
                self.broadcast(&id, &events_frame(&id, &[event]));
            }
            let writing = self.gateway.channels.get(&id).map(Channel::replying_to).unwrap_or_default();
            for reply_to in writing {
                self.extend_draft(&id, reply_to);
            }
        }
    }

    fn checkpoint(&mut self) {
        if !self.judge.is_refused() {
            let opened = self.plan.open_channels();
            self.judge.checkpoint(&self.gateway, &opened);
            self.check_live();
        }
        self.round += 1;
        if self.round < ROUNDS {
            self.after(1_000, Event::Step(Step::Round));
            return;
        }
        if self.judge.finding(self.rule).is_none() {
            self.exchange(json!({"end": true}));
        }
        self.is_over = true;
    }

    /// Hides the last channel, or the second opened one while a message of it is missing. The client receives the frame
    /// about it.
    fn hide(&mut self) {
        let opened = self.plan.open_channels();
        let is_opened = opened.len() > 1 && self.dice.chance(50);
        let others = self.plan.channels.get(self.plan.opened..).unwrap_or_default();
        let last = if is_opened { opened.last() } else { others.last() };
        let Some(id) = last.cloned() else { return };
        if self.receivers(&id).is_empty() || !self.gateway.is_readable(&id) {
            return;
        }
        if is_opened {
            self.append(&id);
            let frame = self.append(&id);
            self.broadcast_after(1, &id, &frame);
        }
        if let Some(channel) = self.gateway.channels.get_mut(&id) {
            channel.is_hidden = true;
        }
        let sockets: Vec<u64> = self.gateway.connections.keys().copied().collect();
        let frame = json!({"type": "member.removed", "channel_id": id, "user_id": super::USER});
        self.broadcast_after(5, &id, &frame);
        for socket in sockets {
            self.close_with(socket, "removed", true);
        }
    }

    /// Takes a step of another user or of the agent in one channel.
    fn in_channel(&mut self, step: Step, id: &str) {
        let now = self.now;
        let seq = self.any_seq(id);
        let text = self.text("text");
        let emoji = self.emoji();
        let is_added = self.dice.chance(70);
        if matches!(step, Step::Message | Step::Overtaken | Step::Lost) {
            return self.messages(step, id);
        }
        if matches!(step, Step::Draft | Step::DraftAgain | Step::DraftEnd) {
            return self.draft(step, id);
        }
        let Some(channel) = self.gateway.channels.get_mut(id) else { return };
        let event = match step {
            Step::Edit => channel.edit(seq, &text, now),
            Step::EditTwice => {
                let first = channel.edit(seq, &format!("{text}, half"), now);
                first.and_then(|first| channel.edit(seq, &text, now).map(|last| joined(&first, last)))
            }
            Step::Delete => channel.delete(seq, now),
            Step::Reaction => channel.react(seq, emoji, "carol", is_added),
            Step::Expire => {
                channel.floor = channel.rev;
                None
            }
            _ => None,
        };
        if let Some(event) = event {
            self.broadcast(id, &events_frame(id, &[event]));
        }
    }

    /// Stores one message, or two whose frames overtake each other or of which one is lost.
    fn messages(&mut self, step: Step, id: &str) {
        let first = self.append(id);
        if step == Step::Message {
            self.broadcast(id, &first);
            return;
        }
        let second = self.append(id);
        self.broadcast_after(30, id, &second);
        if step == Step::Lost {
            self.judge.quiet(id, self.now + 280, "the 250 ms that a gap waits");
        } else {
            let late = self.dice.between(50, 200);
            self.broadcast_after(30 + late, id, &first);
            self.judge.quiet(id, self.now + 3_000, "the seconds after a gap that healed by itself");
        }
    }

    /// Stores more messages and changes than a page has. The last changes are those of messages that the client may show.
    fn burst(&mut self, id: &str) {
        let last_seq = |world: &Self| world.gateway.channels.get(id).map_or(0, Channel::last_seq);
        let before = last_seq(self);
        for _ in 0..self.dice.between(105, 130) {
            self.append(id);
        }
        let earlier = before.saturating_sub(9).max(1)..=before;
        for seq in (before + 1..=last_seq(self)).chain(earlier) {
            let (now, text) = (self.now, self.text("burst"));
            if let Some(channel) = self.gateway.channels.get_mut(id) {
                channel.edit(seq, &text, now);
            }
        }
    }

    /// Stores a message of another user. Returns its frame.
    fn append(&mut self, id: &str) -> Value {
        let content = self.text("message");
        let now = self.now;
        let Some(channel) = self.gateway.channels.get_mut(id) else { return Value::Null };
        let seq = channel.append(Append { sender_id: "alice".to_owned(), content, ..Append::default() }, now);
        channel.created(seq).map_or(Value::Null, |event| events_frame(id, &[event]))
    }

    fn draft(&mut self, step: Step, id: &str) {
        let now = self.now;
        let Some(channel) = self.gateway.channels.get_mut(id) else { return };
        let open = channel.replying_to().first().copied();
        match (step, open) {
            (Step::DraftEnd, Some(reply_to)) => {
                let Some((seq, frame)) = channel.finish_draft(reply_to, now) else { return };
                let created = channel.created(seq).map(|event| events_frame(id, &[event]));
                let is_message_first = self.dice.chance(50);
                if is_message_first && let Some(created) = &created {
                    self.broadcast(id, created);
                }
                self.broadcast(id, &frame);
                if !is_message_first && let Some(created) = &created {
                    self.broadcast(id, created);
                }
            }
            (Step::DraftAgain, Some(reply_to)) => {
                channel.begin_draft(reply_to, now);
                self.extend_draft(id, reply_to);
            }
            (_, Some(reply_to)) => self.extend_draft(id, reply_to),
            (_, None) => {
                let question = channel.last_seq();
                if channel
                    .messages
                    .get(&question)
                    .is_some_and(|message| message.role == "user" && !message.is_deleted())
                {
                    channel.begin_draft(question, now);
                    self.extend_draft(id, question);
                }
            }
        }
    }

    fn extend_draft(&mut self, id: &str, reply_to: u64) {
        let word = self.dice.pick(&WORDS).copied().unwrap_or_default();
        let frame = self.gateway.channels.get_mut(id).and_then(|channel| channel.extend_draft(reply_to, word));
        if let Some(frame) = frame {
            self.broadcast(id, &frame);
        }
    }

    /// Lets the client's user act.
    fn user(&mut self, step: Step) {
        let id = self.any_channel();
        let seq = self.any_seq(&id);
        match step {
            Step::Send => {
                let content = self.text("sent");
                self.judge.act_send(&id, &content);
                self.act("send", json!({"channel": id, "content": content}));
            }
            Step::UserEdit => {
                let content = self.text("edited");
                self.act("edit", json!({"channel": id, "seq": seq, "content": content}));
            }
            Step::UserReaction => {
                let name = if self.dice.chance(70) { "react" } else { "unreact" };
                let emoji = self.emoji();
                self.act(name, json!({"channel": id, "seq": seq, "emoji": emoji}));
            }
            _ => self.act("load_earlier", json!({"channel": id})),
        }
    }

    fn act(&mut self, name: &str, fields: Value) {
        self.judge.cause();
        let mut act = json!({});
        act[name] = fields;
        self.exchange(json!({"act": act}));
    }

    fn any_channel(&mut self) -> String {
        let opened = self.plan.open_channels();
        self.dice.pick(&opened).cloned().unwrap_or_default()
    }

    /// Returns a message that no reply is being written to: a deleted question would end its draft.
    fn any_seq(&mut self, id: &str) -> u64 {
        let Some(channel) = self.gateway.channels.get(id) else { return 0 };
        let recent: Vec<u64> = channel.messages.keys().rev().take(20).copied().collect();
        let free: Vec<u64> = recent.into_iter().filter(|seq| !channel.drafts.contains_key(seq)).collect();
        self.dice.pick(&free).copied().unwrap_or(0)
    }

    fn emoji(&mut self) -> &'static str {
        self.dice.pick(&EMOJIS).copied().unwrap_or("👍")
    }

    /// Returns a text that is unlike all others of the run.
    fn text(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind} {}", self.made)
    }
}
