//! A model that tells a long story token by token, and goes on from any beginning of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, body::Body, extract::State, http::Response, routing::post};
use futures::stream;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    patience::PATIENCE,
    replies::{answer, require_part},
    stack::Stack,
};

/// Number of tokens of a story.
pub(crate) const TOKENS: usize = 200;

/// Pause between two tokens.
const PACE: Duration = Duration::from_millis(5);

/// Tokens of a story. Some are white space, at which servers and models differ.
const WORDS: [&str; 16] = [
    " the",
    " wörd",
    " lámp",
    ",",
    ".",
    "\n\n",
    "\n- ",
    " `code`",
    " 日本",
    " 🙂",
    "ing",
    "  ",
    " **bold**",
    " a",
    "\n",
    " &lt;",
];

/// Way in which the model continues a reply: a value of the template's parameter `ModelContinuation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The last message has the role `assistant`.
    Assistant,
    /// The request also has `continue_final_message`. Without it, the model begins another reply.
    ContinueFinalMessage,
    /// The deployment asks as for [`Way::Assistant`], but the model refuses.
    Refused,
}

impl Way {
    fn parameter(self) -> &'static str {
        match self {
            Self::Assistant | Self::Refused => "assistant",
            Self::ContinueFinalMessage => "continue_final_message",
        }
    }
}

/// A server with the protocol of OpenAI.
pub(crate) struct Storyteller {
    way: Way,
    url: String,
    stories: Arc<Stories>,
}

/// The stories by their questions.
struct Stories {
    way: Way,
    told: watch::Sender<BTreeMap<String, Story>>,
    /// Prefixes that are no beginning of their story.
    strange: Mutex<Vec<String>>,
}

/// A story as far as it is told.
#[derive(Default)]
struct Story {
    /// Number of tokens after which the model waits.
    limit: Option<usize>,
    /// Number of tokens that the newest call has sent or was given.
    told: usize,
    /// The prefix of each call, empty if it had none.
    calls: Vec<String>,
}

/// How far a story is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Number of calls of the model.
    pub(crate) calls: usize,
    /// Number of tokens that the newest call has sent or was given.
    pub(crate) told: usize,
    /// `true` if the model waits at its limit.
    pub(crate) is_held: bool,
}

impl Story {
    fn progress(&self) -> Progress {
        let is_held = self.limit.is_some_and(|limit| self.told >= limit);
        Progress { calls: self.calls.len(), told: self.told, is_held }
    }
}

fn progress(told: &BTreeMap<String, Story>) -> BTreeMap<String, Progress> {
    told.iter().map(|(question, story)| (question.clone(), story.progress())).collect()
}

/// Returns a token of the story about a question. All but the first and the last are chosen by a hash.
fn token(question: &str, number: usize) -> String {
    if number == 0 {
        return "Once".to_owned();
    }
    if number + 1 == TOKENS {
        return " end.".to_owned();
    }
    // FNV-1a, and the finalizer of SplitMix64.
    let number_bytes = number.to_le_bytes();
    let bytes = question.bytes().chain(number_bytes);
    let mut hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let count = u64::try_from(WORDS.len()).unwrap();
    WORDS[usize::try_from((hash ^ (hash >> 31)) % count).unwrap()].to_owned()
}

/// Returns the story about a question.
pub(crate) fn story(question: &str) -> String {
    beginning(question, TOKENS)
}

/// Returns the first tokens of the story about a question.
pub(crate) fn beginning(question: &str, tokens: usize) -> String {
    (0..tokens).map(|number| token(question, number)).collect()
}

/// Returns the text after a beginning of the story, as the rest of a token and the number of the next one. Returns
/// `None` if it is no beginning.
fn after(question: &str, prefix: &str) -> Option<(String, usize)> {
    let mut rest = prefix;
    for number in 0..TOKENS {
        let token = token(question, number);
        match rest.strip_prefix(token.as_str()) {
            Some(more) => rest = more,
            None if rest.is_empty() => return Some((String::new(), number)),
            None => return Some((token.strip_prefix(rest)?.to_owned(), number + 1)),
        }
    }
    rest.is_empty().then(|| (String::new(), TOKENS))
}

/// Returns the text of the last question of a request.
fn question(request: &Value) -> String {
    let mut users = request["messages"].as_array().unwrap().iter().filter(|message| message["role"] == "user");
    let last = users.next_back().unwrap()["content"].as_str().unwrap();
    let line: Value = serde_json::from_str(last.split('\n').next_back().unwrap()).unwrap();
    line["text"].as_str().unwrap().to_owned()
}

/// Returns the prefix that a request asks to continue.
fn prefix(way: Way, request: &Value) -> Option<String> {
    let last = request["messages"].as_array().unwrap().last().unwrap();
    let is_asked = last["role"] == "assistant"
        && (way != Way::ContinueFinalMessage
            || (request["continue_final_message"] == true && request["add_generation_prompt"] == false));
    is_asked.then(|| last["content"].as_str().unwrap().to_owned())
}

async fn complete(State(stories): State<Arc<Stories>>, Json(request): Json<Value>) -> Response<Body> {
    let (question, prefix) = (question(&request), prefix(stories.way, &request));
    let begun = after(&question, prefix.as_deref().unwrap_or_default());
    let mut call = 0;
    stories.told.send_modify(|told| {
        let story = told.entry(question.clone()).or_default();
        story.told = begun.as_ref().map(|(_, next)| *next).unwrap_or_default();
        story.calls.push(prefix.clone().unwrap_or_default());
        call = story.calls.len();
    });
    if stories.way == Way::Refused && prefix.is_some() {
        let message = "This model does not support assistant message prefill.";
        let error = json!({ "error": { "message": message, "type": "invalid_request_error" } });
        return Response::builder().status(400).body(Body::from(error.to_string())).unwrap();
    }
    let Some((rest, next)) = begun else {
        stories.strange.lock().unwrap().push(prefix.unwrap_or_default());
        return Response::builder().status(400).body(Body::from("{}")).unwrap();
    };
    let first = Some(rest).filter(|rest| !rest.is_empty());
    let words = stream::unfold(Some((first, next)), move |state| {
        let (stories, question) = (stories.clone(), question.clone());
        async move {
            let (first, next) = state?;
            let event = |value: Value| Ok::<_, std::io::Error>(format!("data: {value}\n\n"));
            let delta = |text: String| event(json!({ "choices": [{ "delta": { "content": text } }] }));
            if let Some(first) = first {
                return Some((delta(first), Some((None, next))));
            }
            if next >= TOKENS {
                let end = json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] });
                return Some((event(end), None));
            }
            stories.wait(&question, |story| story.limit.is_none_or(|limit| next < limit)).await;
            tokio::time::sleep(PACE).await;
            stories.told.send_modify(|told| {
                let story = told.entry(question.clone()).or_default();
                // The call of a dead worker may still be read for a moment.
                if story.calls.len() == call {
                    story.told = next + 1;
                }
            });
            Some((delta(token(&question, next)), Some((None, next + 1))))
        }
    });
    let stream = Response::builder().header("content-type", "text/event-stream");
    stream.body(Body::from_stream(words)).unwrap()
}

impl Stories {
    /// Waits until a story is as `is_wanted` says.
    async fn wait(&self, question: &str, is_wanted: impl Fn(&Story) -> bool) {
        let mut told = self.told.subscribe();
        told.wait_for(|told| told.get(question).is_some_and(&is_wanted)).await.unwrap();
    }
}

impl Storyteller {
    pub(crate) async fn start(way: Way) -> Self {
        let (told, strange) = (watch::Sender::default(), Mutex::default());
        let stories = Arc::new(Stories { way, told, strange });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(stories.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { way, url, stories }
    }

    /// Starts a stack in memory whose agent has this model.
    pub(crate) fn stack(&self) -> Stack {
        Stack::with(&self.parameters())
    }

    /// Starts a stack like [`Storyteller::stack`] with this interval between reads of its streams.
    pub(crate) fn stack_reading_every(&self, interval: &str) -> Stack {
        Stack::pacing(interval, &self.parameters())
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let model = [("ModelProvider", "openai"), ("Model", "storyteller"), ("ModelUrl", self.url.as_str())];
        // One user asks for hundreds of stories.
        let further = [("ModelContinuation", self.way.parameter()), ("TokensPerDay", "1000000000")];
        let parameters = model.into_iter().chain(further);
        parameters.map(|(name, value)| (name, value.to_owned())).collect()
    }

    /// Waits until the stories are as `is_wanted` says, and returns how far they are told.
    pub(crate) async fn stories_that(
        &self,
        is_wanted: impl Fn(&BTreeMap<String, Progress>) -> bool,
    ) -> BTreeMap<String, Progress> {
        let mut told = self.stories.told.subscribe();
        let found = told.wait_for(|told| is_wanted(&progress(told)));
        let found = tokio::time::timeout(PATIENCE, found).await.expect("the stories in time").unwrap();
        progress(&found)
    }

    /// Lets the model wait after this number of tokens of the story about a question.
    pub(crate) fn hold(&self, question: &str, tokens: usize) {
        self.stories.told.send_modify(|told| told.entry(question.to_owned()).or_default().limit = Some(tokens));
    }

    /// Lets the model tell the whole story about a question.
    pub(crate) fn release(&self, question: &str) {
        self.stories.told.send_modify(|told| told.entry(question.to_owned()).or_default().limit = None);
    }

    /// Waits until the newest call has sent this number of tokens of the story about a question, or was given them.
    pub(crate) async fn reached(&self, question: &str, tokens: usize) {
        let reached = self.stories.wait(question, |story| story.told >= tokens);
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{tokens} tokens of {question}"));
    }

    /// Returns the prefix of each call for a question, empty if it had none. Requires that every prefix is a beginning
    /// of its story.
    pub(crate) fn calls(&self, question: &str) -> Vec<String> {
        assert_eq!(*self.stories.strange.lock().unwrap(), Vec::<String>::new(), "no beginnings of their stories");
        self.stories.told.borrow().get(question).map(|story| story.calls.clone()).unwrap_or_default()
    }
}

/// Kills the agent's workers with SIGKILL.
pub(crate) fn kill_workers(stack: &Stack) {
    for (worker, _) in stack.functions().into_iter().filter(|(_, name)| name.starts_with("chat-agent")) {
        // It may have ended by itself.
        let _ = kill_process(worker, Signal::KILL);
    }
}

/// Asks a question, and kills the worker while it writes the reply. Returns the frames of drafts from the first text on,
/// and the reply.
async fn interrupted(model: &Storyteller, stack: &Stack) -> (Vec<Value>, Value) {
    stack.create_channel("alice", "room", "public", "always").await;
    let mut socket = stack.socket("bob", "room").await;
    model.hold("tell me", TOKENS / 2);
    stack.send("alice", "room", "tell me").await;
    model.reached("tell me", TOKENS / 2).await;
    let is_draft = |frame: &Value| frame["type"] == "message.delta";
    let mut frames = vec![socket.hear_that(|frame| is_draft(frame) && frame["status"] == "writing").await];
    kill_workers(stack);
    model.release("tell me");
    let reply = answer(stack, 2).await;
    while frames.last().is_some_and(|frame| frame["status"] != "done") {
        let Some(frame) = socket.hear_unless_lost(is_draft).await else { break };
        frames.push(frame);
    }
    assert_eq!(reply["content"], story("tell me"));
    (frames, reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_goes_on_after_its_worker_died() {
    for way in [Way::Assistant, Way::ContinueFinalMessage] {
        let model = Storyteller::start(way).await;
        let stack = model.stack();
        let (frames, reply) = interrupted(&model, &stack).await;
        let calls = model.calls("tell me");
        assert!(calls.len() == 2 && calls[0].is_empty() && calls[1].starts_with("Once"), "{way:?}: {calls:?}");
        for frame in frames {
            assert_eq!(frame["draft_id"], reply["agent"]["draft_id"], "{way:?}: {frame}");
            require_part(&frame, &story("tell me"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_reply_begins_where_the_model_refuses_to_continue() {
    let model = Storyteller::start(Way::Refused).await;
    let stack = model.stack();
    let (frames, reply) = interrupted(&model, &stack).await;
    let calls = model.calls("tell me");
    assert!(calls.len() == 3 && calls[1].starts_with("Once") && calls[2].is_empty(), "{calls:?}");
    assert_ne!(frames[0]["draft_id"], reply["agent"]["draft_id"]);
}
