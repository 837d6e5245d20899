//! One open channel: what to read next, when, and what its responses mean. Without I/O.

use serde::de::DeserializeOwned;

use crate::{
    ChannelLog, Frame, Message, Need, NewMessage, Outbox, Problem,
    chance::{Chance, milliseconds},
};

/// Time that a gap waits for the frame that was overtaken: at least this, and up to as much as [`GAP_WITHIN`] more.
const GAP_AFTER: u64 = 250;
const GAP_WITHIN: u64 = 500;

/// Page size of the history, and of what was missed.
const NEWEST: u16 = 50;
const MISSED: u16 = 100;

/// Key in a message's `metadata` by which a client recognizes its own message on the socket.
pub(crate) const CLIENT_KEY: &str = "client_key";

/// Code of a problem: the channel does not exist, or is hidden from the user.
const CHANNEL_NOT_FOUND: &str = "channel_not_found";

/// A request for data of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Newest,
    After(u64),
    Changes(u64),
    Reply(u64),
    Earlier(u64),
}

impl Read {
    /// Returns the end of the path, and the query.
    pub(crate) fn address(self) -> (String, Vec<(&'static str, String)>) {
        let messages = || "messages".to_owned();
        match self {
            Self::Newest => (messages(), vec![("limit", NEWEST.to_string())]),
            Self::After(seq) => (messages(), vec![("after", seq.to_string()), ("limit", MISSED.to_string())]),
            Self::Earlier(seq) => (messages(), vec![("before", seq.to_string()), ("limit", NEWEST.to_string())]),
            Self::Changes(rev) => {
                ("changes".to_owned(), vec![("after", rev.to_string()), ("limit", MISSED.to_string())])
            }
            Self::Reply(question) => (format!("messages/{question}/reply"), Vec::new()),
        }
    }
}

/// An open channel.
#[derive(Debug)]
pub(crate) struct ChannelSync {
    pub(crate) log: ChannelLog,
    pub(crate) outbox: Outbox,
    /// The refusal that ended the reading.
    pub(crate) refusal: Option<Problem>,
    /// Whether a socket was opened, or could not be opened: the history is read after it.
    may_read: bool,
    reading: Option<Read>,
    catches_up: bool,
    wants_earlier: bool,
    /// Position in the missed changes.
    changes_from: Option<u64>,
    gap_until: Option<u64>,
    attempt: u32,
    retry_at: u64,
    /// Time before which the server wants no request.
    not_before: u64,
}

impl ChannelSync {
    pub(crate) fn new(user_id: &str) -> Self {
        Self {
            log: ChannelLog::new(user_id),
            outbox: Outbox::default(),
            refusal: None,
            may_read: false,
            reading: None,
            catches_up: false,
            wants_earlier: false,
            changes_from: None,
            gap_until: None,
            attempt: 0,
            retry_at: 0,
            not_before: 0,
        }
    }

    /// Notes that a socket of the channel was opened, so that frames may have been missed.
    pub(crate) fn connected(&mut self) {
        (self.may_read, self.catches_up) = (true, true);
    }

    /// Notes that no socket can be opened. The history is read without one.
    pub(crate) fn disconnected(&mut self) {
        self.may_read = true;
    }

    /// Reads the channel again, also after a refusal, but not before the time that the server has named.
    pub(crate) fn retry(&mut self) {
        if self.refusal.take().is_some() {
            self.catches_up = true;
        }
        (self.attempt, self.retry_at) = (0, 0);
    }

    /// Notes that the user is a member again, and may have missed frames.
    pub(crate) fn rejoined(&mut self) {
        self.catches_up = true;
        self.retry();
    }

    /// Notes that the channel was deleted. Another one with its id has messages of its own, from number 1 on.
    pub(crate) fn deleted(&mut self) {
        self.log.expire();
        (self.reading, self.changes_from, self.gap_until) = (None, None, None);
        (self.catches_up, self.wants_earlier) = (false, false);
        let problem = Problem { status: 404, code: CHANNEL_NOT_FOUND.to_owned(), ..Problem::default() };
        self.refusal = Some(problem);
    }

    /// Returns whether the server refused the channel itself, so that no socket may name it.
    pub(crate) fn is_hidden(&self) -> bool {
        self.refusal.as_ref().is_some_and(|problem| problem.code == CHANNEL_NOT_FOUND)
    }

    pub(crate) fn load_earlier(&mut self) {
        self.wants_earlier = self.log.has_earlier();
    }

    /// Takes a frame of the channel.
    pub(crate) fn take_frame(&mut self, frame: Frame, now: u64, chance: &mut Chance) {
        self.settle(&frame);
        self.log.take_frame(frame);
        if !self.lacks() {
            self.gap_until = None;
        } else if self.gap_until.is_none() {
            self.gap_until = Some(now.saturating_add(GAP_AFTER).saturating_add(chance.up_to(GAP_WITHIN)));
        }
    }

    /// Returns the next request and its time. `None` while one is in flight.
    pub(crate) fn due(&self) -> Option<(u64, Read)> {
        if self.reading.is_some() || self.refusal.is_some() || !self.may_read {
            return None;
        }
        let earliest = self.retry_at.max(self.not_before);
        let of_gap = earliest.max(self.gap_until.unwrap_or_default());
        let settled = self.log.settled();
        match self.log.need() {
            Need::Reload => Some((earliest, Read::Newest)),
            _ if self.catches_up => Some((earliest, Read::After(settled))),
            Need::MessagesAfter(seq) => Some((of_gap, Read::After(seq))),
            Need::ChangesAfter(rev) => Some(match self.changes_from {
                // The rest of what is read already.
                Some(from) => (earliest, Read::Changes(from.max(rev))),
                None => (of_gap, Read::Changes(rev)),
            }),
            Need::Nothing => match (self.log.unread_reply(), self.log.first()) {
                (Some(question), _) => Some((of_gap, Read::Reply(question))),
                (None, Some(first)) if self.wants_earlier => Some((earliest, Read::Earlier(first))),
                _ => None,
            },
        }
    }

    /// Notes that a request is sent.
    pub(crate) fn begin(&mut self, read: Read) {
        self.reading = Some(read);
        // A gap that is found from now on waits by itself.
        self.gap_until = None;
        self.log.ask();
        match read {
            Read::Newest | Read::After(_) => self.catches_up = false,
            Read::Earlier(_) => self.wants_earlier = false,
            Read::Changes(_) | Read::Reply(_) => {}
        }
    }

    /// Takes the body of a successful response. Returns `false` if it cannot be parsed.
    pub(crate) fn take(&mut self, body: &[u8]) -> bool {
        let Some(read) = self.reading else { return true };
        let is_taken = match read {
            Read::Newest => parsed(body, |page| self.log.take_newest(page)),
            Read::After(_) => parsed(body, |page: crate::Page| {
                self.catches_up |= page.has_more;
                self.log.take_page(page);
            }),
            Read::Earlier(_) => parsed(body, |page| self.log.take_earlier(page)),
            Read::Changes(_) => parsed(body, |page| self.changes_from = self.log.take_changes(page)),
            Read::Reply(question) => parsed(body, |reply| self.log.take_reply(question, reply)),
        };
        if is_taken {
            (self.reading, self.attempt, self.retry_at) = (None, 0, 0);
            self.settle_held();
            if !self.lacks() {
                self.gap_until = None;
            }
        }
        is_taken
    }

    /// Repeats the request in flight, as soon as there is another token.
    pub(crate) fn repeat(&mut self) {
        match self.reading.take() {
            Some(Read::After(_)) => self.catches_up = true,
            Some(Read::Earlier(_)) => self.wants_earlier = true,
            _ => {}
        }
    }

    /// Notes that the request in flight had no usable response. It is repeated after a wait.
    pub(crate) fn failed(&mut self, at_least: u64, now: u64, chance: &mut Chance) {
        self.repeat();
        self.retry_at = now.saturating_add(chance.wait(self.attempt));
        self.not_before = now.saturating_add(at_least);
        self.attempt = self.attempt.saturating_add(1);
    }

    /// Takes the refusal of the request in flight.
    pub(crate) fn refused(&mut self, problem: Problem, now: u64, chance: &mut Chance) {
        let at_least = problem.retry_after.map_or(0, milliseconds);
        match self.reading {
            _ if problem.is_transient() => return self.failed(at_least, now, chance),
            Some(Read::Changes(_)) if problem.code == "changes_expired" => {
                self.changes_from = None;
                self.log.expire();
            }
            // The question is deleted, or its reply ended without a message.
            Some(Read::Reply(question)) if problem.status == 404 && problem.code != CHANNEL_NOT_FOUND => {
                self.log.miss_reply(question);
            }
            _ => self.refusal = Some(problem),
        }
        self.reading = None;
    }

    /// Adds a message to send. Its metadata has its key.
    pub(crate) fn send(&mut self, key: String, mut message: NewMessage) {
        let metadata = message.metadata.get_or_insert_with(|| serde_json::json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(CLIENT_KEY.to_owned(), key.as_str().into());
        }
        self.outbox.add(key, message);
    }

    /// Drops entries of the outbox that are stored, as a frame shows.
    fn settle(&mut self, frame: &Frame) {
        let Frame::Events { events, .. } = frame else { return };
        for key in events.iter().filter_map(|event| key_of(event.message.as_ref()?)) {
            self.outbox.settle(key);
        }
    }

    /// Drops entries of the outbox that are stored, as the held messages show.
    fn settle_held(&mut self) {
        if !self.outbox.entries().is_empty() {
            for key in self.log.messages().filter_map(key_of) {
                self.outbox.settle(key);
            }
        }
    }

    /// Returns whether a request is needed because of a gap.
    fn lacks(&self) -> bool {
        matches!(self.log.need(), Need::MessagesAfter(_) | Need::ChangesAfter(_)) || self.log.unread_reply().is_some()
    }
}

/// Returns the key of the client that sent a message.
fn key_of(message: &Message) -> Option<&str> {
    message.metadata.as_ref()?.get(CLIENT_KEY)?.as_str()
}

/// Passes a parsed body on. Returns `false` if it cannot be parsed.
fn parsed<T: DeserializeOwned>(body: &[u8], take: impl FnOnce(T)) -> bool {
    serde_json::from_slice(body).map(take).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(seq: u64) -> Value {
        json!({
            "channel_id": "general", "seq": seq, "message_id": format!("id-{seq}"), "version": 1, "sender_id": "bob",
            "role": "user", "content": "hi", "content_type": "text/plain", "created_at": "2026-05-01T12:00:00.000Z",
        })
    }

    fn created(seq: u64) -> Frame {
        let event = json!({ "type": "message.created", "seq": seq, "version": 1, "message": message(seq) });
        let frame = json!({ "type": "events", "channel_id": "general", "events": [event] });
        Frame::parse(&frame.to_string()).unwrap()
    }

    fn page(seqs: &[u64], has_more: bool) -> Vec<u8> {
        let messages: Vec<Value> = seqs.iter().map(|seq| message(*seq)).collect();
        json!({ "messages": messages, "has_more": has_more, "rev": 0 }).to_string().into_bytes()
    }

    /// Returns a channel with the messages 1 and 2.
    fn open(chance: &mut Chance) -> ChannelSync {
        let mut sync = ChannelSync::new("alice");
        assert_eq!(sync.due(), None, "the socket is opened first");
        sync.connected();
        assert_eq!(sync.due(), Some((0, Read::Newest)));
        sync.begin(Read::Newest);
        sync.take_frame(created(2), 5, chance);
        assert!(sync.take(&page(&[2, 1], false)));
        assert_eq!(sync.due(), None);
        sync
    }

    #[test]
    fn a_gap_waits_for_the_frame_that_was_overtaken() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        sync.take_frame(created(4), 1_000, &mut chance);
        let (at, read) = sync.due().unwrap();
        assert!((1_250..=1_750).contains(&at) && read == Read::After(2), "{at} {read:?}");
        sync.take_frame(created(3), 1_100, &mut chance);
        assert_eq!(sync.due(), None);
    }

    #[test]
    fn a_gap_that_is_found_during_a_request_waits_too() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        sync.take_frame(created(4), 1_000, &mut chance);
        let (at, read) = sync.due().unwrap();
        sync.begin(read);
        sync.take_frame(created(6), at + 10, &mut chance);
        assert!(sync.take(&page(&[3, 4], false)));
        // The response does not answer for a number that came after the request.
        let (later, read) = sync.due().unwrap();
        assert!((at + 260..=at + 760).contains(&later) && read == Read::After(4), "{later} {read:?}");
        sync.take_frame(created(5), at + 20, &mut chance);
        assert_eq!(sync.due(), None);
    }

    #[test]
    fn an_expired_message_is_no_gap() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        sync.take_frame(created(4), 1_000, &mut chance);
        sync.begin(Read::After(2));
        assert!(sync.take(&page(&[], false)));
        assert_eq!((sync.due(), sync.log.settled()), (None, 4));
    }

    #[test]
    fn each_socket_is_caught_up_page_by_page() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        sync.connected();
        assert_eq!(sync.due(), Some((0, Read::After(2))));
        sync.begin(Read::After(2));
        assert!(sync.take(&page(&[3, 4], true)));
        assert_eq!(sync.due(), Some((0, Read::After(4))));
        sync.begin(Read::After(4));
        // Another socket is opened meanwhile.
        sync.connected();
        assert!(sync.take(&page(&[5], false)));
        assert_eq!(sync.due(), Some((0, Read::After(5))));
    }

    #[test]
    fn a_refusal_is_not_repeated_and_a_busy_server_is_left_alone() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        sync.connected();
        sync.begin(Read::After(2));
        let retry_after = Some(std::time::Duration::from_secs(7));
        sync.refused(Problem { status: 429, retry_after, ..Problem::default() }, 100, &mut chance);
        assert_eq!(sync.due(), Some((7_100, Read::After(2))));
        sync.begin(Read::After(2));
        sync.refused(Problem { status: 403, ..Problem::default() }, 8_000, &mut chance);
        assert_eq!(sync.due(), None);
        sync.retry();
        assert_eq!(sync.due(), Some((7_100, Read::After(2))));
    }

    #[test]
    fn a_retry_keeps_the_time_that_the_server_has_named() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        sync.connected();
        sync.begin(Read::After(2));
        let retry_after = Some(std::time::Duration::from_secs(7));
        sync.refused(Problem { status: 503, retry_after, ..Problem::default() }, 100, &mut chance);
        sync.retry();
        assert_eq!(sync.due(), Some((7_100, Read::After(2))));
        sync.begin(Read::After(2));
        sync.failed(0, 8_000, &mut chance);
        sync.retry();
        assert_eq!(sync.due(), Some((8_000, Read::After(2))), "the server named no time");
    }

    #[test]
    fn a_channel_that_is_created_again_is_read_from_its_beginning() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        sync.begin(Read::Changes(0));
        sync.deleted();
        assert_eq!((sync.due(), sync.log.messages().count()), (None, 0));
        assert!(sync.is_hidden());
        sync.rejoined();
        assert_eq!(sync.due(), Some((0, Read::Newest)));
        sync.begin(Read::Newest);
        assert!(sync.take(&page(&[1], false)));
        assert_eq!((sync.due(), sync.log.settled()), (None, 1));
    }

    #[test]
    fn a_reply_is_read_again_after_a_frame_that_came_during_the_request() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        let delta = |position: usize, text: &str| {
            let frame = json!({
                "type": "message.delta", "channel_id": "general", "draft_id": "d", "reply_to": 2, "status": "writing",
                "position": position, "text": text,
            });
            Frame::parse(&frame.to_string()).unwrap()
        };
        let reply = json!({ "status": "writing", "draft_id": "d", "position": 3, "text": "one" });
        sync.take_frame(delta(3, " two"), 1_000, &mut chance);
        let (at, read) = sync.due().unwrap();
        assert_eq!(read, Read::Reply(2));
        sync.begin(read);
        sync.take_frame(delta(7, " three"), at + 10, &mut chance);
        assert!(sync.take(reply.to_string().as_bytes()));
        let (again, read) = sync.due().unwrap();
        assert!((at + 260..=at + 760).contains(&again) && read == Read::Reply(2), "{again} {read:?}");
        sync.begin(read);
        sync.take_frame(delta(13, " four"), again + 10, &mut chance);
        let missing = Problem { status: 404, code: "reply_not_found".to_owned(), ..Problem::default() };
        sync.refused(missing.clone(), again + 20, &mut chance);
        let (last, read) = sync.due().unwrap();
        assert!(last >= again + 260 && read == Read::Reply(2), "the reply began after the request");
        sync.begin(read);
        assert!(sync.take(reply.to_string().as_bytes()));
        assert_eq!(sync.due(), None, "the server has no more");
        sync.take_frame(delta(20, " six"), last + 10, &mut chance);
        sync.begin(read);
        sync.refused(missing, last + 20, &mut chance);
        assert_eq!((sync.due(), sync.log.drafts().count()), (None, 0));
    }

    #[test]
    fn the_own_message_on_the_socket_settles_its_entry() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        sync.send("one".to_owned(), "hi".into());
        assert_eq!(sync.outbox.send().unwrap().message.metadata, Some(json!({ "client_key": "one" })));
        let mut own = message(3);
        own["metadata"] = json!({ "client_key": "one" });
        let event = json!({ "type": "message.created", "seq": 3, "version": 1, "message": own });
        let frame = json!({ "type": "events", "channel_id": "general", "events": [event] });
        sync.take_frame(Frame::parse(&frame.to_string()).unwrap(), 10, &mut chance);
        assert!(sync.outbox.entries().is_empty());
    }

    #[test]
    fn the_own_message_on_a_page_settles_its_entry() {
        let mut chance = Chance::new(1);
        let mut sync = open(&mut chance);
        sync.send("one".to_owned(), "hi".into());
        sync.send("two".to_owned(), "hi".into());
        sync.connected();
        sync.begin(Read::After(2));
        let mut own = message(3);
        own["metadata"] = json!({ "client_key": "one" });
        let page = json!({ "messages": [own], "has_more": false, "rev": 0 });
        assert!(sync.take(page.to_string().as_bytes()));
        assert_eq!(sync.outbox.entries().iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["two"]);
    }
}
