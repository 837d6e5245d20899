//! Workers of the agent that die at any token of a reply: readers lose nothing, and see nothing that is not stored.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, join_all};
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    programs::number_of,
    replies::is_final,
    stack::{Socket, Stack},
    storyteller::{Storyteller, TOKENS, Way, kill_workers, story},
};

/// A reader that follows the rules of drafts.
#[derive(Default)]
pub(crate) struct Reader {
    /// Newest draft.
    pub(crate) draft_id: Option<String>,
    /// Text of the draft, as the reader sees it.
    pub(crate) text: String,
    /// Drafts of which the reader has seen text.
    pub(crate) seen: BTreeSet<String>,
}

impl Reader {
    /// Takes a frame of a draft. Returns `false` if an earlier frame is missing: the reader must read the reply.
    pub(crate) fn take(&mut self, frame: &Value) -> bool {
        let (draft_id, added) = (frame["draft_id"].as_str().unwrap(), frame["text"].as_str().unwrap());
        let position = usize::try_from(frame["position"].as_u64().unwrap()).unwrap();
        let is_same = self.draft_id.as_deref() == Some(draft_id);
        let known = if is_same { self.text.chars().count() } else { 0 };
        if position > known {
            return false;
        }
        let kept: String = self.text.chars().take(position).collect();
        self.show(draft_id, kept + added);
        true
    }

    /// Takes a reply as it is stored: the whole text so far.
    pub(crate) fn read(&mut self, reply: &Value) {
        let text = reply["text"].as_str().unwrap();
        assert_eq!(reply["position"].as_u64(), u64::try_from(text.chars().count()).ok(), "{reply}");
        if let Some(draft_id) = reply["draft_id"].as_str() {
            self.show(draft_id, text.to_owned());
        }
    }

    fn show(&mut self, draft_id: &str, text: String) {
        if !text.is_empty() {
            self.seen.insert(draft_id.to_owned());
        }
        (self.draft_id, self.text) = (Some(draft_id.to_owned()), text);
    }
}

/// A channel with one question.
struct Asked<'a> {
    stack: &'a Stack,
    channel: String,
    question: String,
}

impl<'a> Asked<'a> {
    async fn new(stack: &'a Stack, number: usize) -> Self {
        let (channel, question) = (format!("room-{number}"), format!("story {number}"));
        stack.create_channel("alice", &channel, "public", "always").await;
        Self { stack, channel, question }
    }

    async fn ask(&self) {
        self.stack.send("alice", &self.channel, &self.question).await;
    }

    /// Reads the reply, as a client does that misses a frame or comes later.
    async fn reply(&self) -> (u16, Value) {
        let path = format!("/channels/{}/messages/1/reply", self.channel);
        self.stack.ask("carol", Method::GET, &path, Value::Null).await
    }

    /// Hears frames until the reply is stored. Requires of each one that the text is a beginning of the story, and that
    /// it is stored. Returns the reader and the message.
    async fn hear(&self, mut socket: Socket) -> (Reader, Value) {
        let (mut reader, whole) = (Reader::default(), story(&self.question));
        loop {
            let mut frame = socket.hear_but_presence().await.unwrap();
            if frame["type"] == "message.delta" {
                if !reader.take(&frame) {
                    let (status, reply) = self.reply().await;
                    assert_eq!(status, 200, "{}: {reply}", self.channel);
                    reader.read(&reply);
                }
                assert!(whole.starts_with(&reader.text), "{}: {frame}", self.channel);
                assert!(!is_final(&frame) || frame["status"] != "cancelled", "{}: {frame}", self.channel);
                let is_complete = frame["status"] != "done" || reader.text == whole;
                assert!(is_complete, "{}: the last frame completes the text: {frame}", self.channel);
            }
            let events = frame["events"].as_array_mut().into_iter().flatten();
            let mut messages = events.map(|event| event["message"].take());
            if let Some(message) = messages.find(|message| message["reply_to"] == 1) {
                return (reader, message);
            }
        }
    }
}

/// Returns a number of tokens after which the story of a question is interrupted, by a hash (the finalizer of
/// `SplitMix64`).
fn interrupted_at(number: usize) -> usize {
    let mut hash = u64::try_from(number + 1).unwrap().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    1 + usize::try_from((hash ^ (hash >> 31)) % u64::try_from(TOKENS - 2).unwrap()).unwrap()
}

/// Kills all workers in the middle of replies, and lets the model tell all stories whole. Returns the questions whose
/// replies were interrupted: at least one.
///
/// No story is held from then on. A lost batch is attempted again in parts, one after another, so that a story which is
/// held would hold up the others of its batch until the model's silence is too long.
async fn interrupt(model: &Storyteller, stack: &Stack, questions: &BTreeMap<String, &Asked<'_>>) -> BTreeSet<String> {
    // Half of the replies under way wait at their tokens. The others are between two tokens, with text that is not
    // stored yet.
    let told = model
        .stories_that(|told| {
            let begun = told.iter().filter(|(question, story)| story.calls > 0 && questions.contains_key(*question));
            let (held, all) = (begun.clone().filter(|(_, story)| story.is_held).count(), begun.count());
            all > 0 && 2 * held >= all
        })
        .await;
    kill_workers(stack);
    let begun = told.into_iter().filter(|(question, story)| story.calls > 0 && questions.contains_key(question));
    let interrupted: BTreeSet<String> = begun.map(|(question, _)| question).collect();
    assert!(!interrupted.is_empty(), "none of {}", questions.len());
    // What a reader sees now is all that is left of the worker's text.
    let replies = join_all(interrupted.iter().map(|question| questions[question].reply())).await;
    for (question, (status, reply)) in interrupted.iter().zip(replies) {
        assert_eq!(status, 200, "{question}: {reply}");
        let is_going_on = ["thinking", "writing"].iter().any(|status| reply["status"] == *status);
        assert!(is_going_on && reply.get("seq").is_none(), "{question}: {reply}");
        assert!(story(question).starts_with(reply["text"].as_str().unwrap()), "{question}: {reply}");
    }
    for question in questions.keys() {
        model.release(question);
    }
    interrupted
}

/// Number of replies that are under way at a time.
const REPLIES_AT_ONCE: usize = 10;

/// Number of replies, unless `SWITCHBOARD_TEST_REPLIES` has another one.
const REPLIES: usize = 30;

/// Asks questions in many channels at once, interrupts their replies, and requires that each reader sees what is stored.
async fn interrupted_everywhere(way: Way) {
    let model = Storyteller::start(way).await;
    // Questions between two reads of a stream arrive together, so that several replies are under way at a time.
    let stack = model.stack_reading_every("2s");
    let count = number_of("SWITCHBOARD_TEST_REPLIES", REPLIES);
    let numbers: Vec<usize> = (0..count).collect();
    for numbers in numbers.chunks(REPLIES_AT_ONCE) {
        interrupted_at_once(way, &model, &stack, numbers).await;
    }
    stack.stop();
}

async fn interrupted_at_once(way: Way, model: &Storyteller, stack: &Stack, numbers: &[usize]) {
    let channels: Vec<Asked<'_>> = join_all(numbers.iter().map(|number| Asked::new(stack, *number))).await;
    let sockets = join_all(channels.iter().map(|one| stack.socket("bob", &one.channel))).await;
    for (number, one) in numbers.iter().zip(&channels) {
        model.hold(&one.question, interrupted_at(*number));
    }
    let hearing = join_all(channels.iter().zip(sockets).map(|(one, socket)| one.hear(socket)));
    let questions = channels.iter().map(|one| (one.question.clone(), one)).collect();
    let asking = join(join_all(channels.iter().map(Asked::ask)), interrupt(model, stack, &questions));
    let (heard, (_, interrupted)) = join(hearing, asking).await;
    println!("{} of {} replies were interrupted", interrupted.len(), numbers.len());
    for (one, (reader, reply)) in channels.iter().zip(heard) {
        assert_eq!((&reply["role"], &reply["content"]), (&json!("agent"), &json!(story(&one.question))), "{reply}");
        let history = stack.history("carol", &one.channel).await;
        assert_eq!((history.len(), &history[1]), (2, &reply), "{}", one.channel);
        let (status, progress) = one.reply().await;
        let stored = (status, &progress["status"], &progress["text"], &progress["seq"], &progress["draft_id"]);
        let expected = (200, &json!("done"), &reply["content"], &json!(2), &reply["agent"]["draft_id"]);
        assert_eq!(stored, expected, "{}", one.channel);
        let calls = model.calls(&one.question);
        assert!(calls.len() > 1 || !interrupted.contains(&one.question), "{}: {calls:?}", one.channel);
        if way == Way::Refused {
            continue;
        }
        // The model goes on from what is stored, so that all text that was seen is of one draft.
        let seen = reader.seen.iter().map(String::as_str).collect::<Vec<_>>();
        let id = reply["agent"]["draft_id"].as_str().unwrap();
        assert!(seen.is_empty() || seen == [id], "{}: {seen:?}, stored is {id}", one.channel);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_go_on_after_their_workers_died_at_any_token() {
    interrupted_everywhere(Way::Assistant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_begin_again_after_their_workers_died_where_the_model_cannot_go_on() {
    interrupted_everywhere(Way::Refused).await;
}
