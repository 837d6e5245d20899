//! Replies of the agent to messages: drafts, and one reply per message.

mod crashes;
mod endings;
mod pace;
mod progress;
mod prompts;
mod surroundings;
mod takeovers;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use futures::{StreamExt, future::join_all, stream};
use tokio::time::Instant;

use super::*;
use crate::{
    app::send::{SendCache, SendMessage, send},
    memory::{MemoryStore, Reliable},
    model::{
        agent_data::AgentData,
        channel::Visibility,
        draft::{Delta, DraftStatus},
        id::MessageId,
        message::Role,
        rev::Rev,
        seq::Seq,
    },
    ports::language_model::{Piece, Pieces, Usage},
    testing::{PausedClock, TestStore, channel_messages, incarnation, step, stored_message},
};

/// Next action of a model.
#[derive(Debug, Clone)]
enum Step {
    Say(&'static str),
    Wait(u64),
    Fail(ModelError),
    Tell(Usage),
    Live,
    Retract,
    Cut,
    /// As the first step: the model refuses a prefix, and continues no reply from then on.
    Refuse,
}

use Step::{Cut, Fail, Live, Refuse, Retract, Say, Tell, Wait};

/// Returns the steps of a script after the text of a prefix.
fn after_prefix(steps: Vec<Step>, prefix: &str) -> VecDeque<Step> {
    let mut steps = VecDeque::from(steps);
    let mut rest = prefix;
    while !rest.is_empty() {
        let Some(step) = steps.pop_front() else { panic!("the model never said {prefix}") };
        let Say(text) = step else { continue };
        if let Some(after) = rest.strip_prefix(text) {
            rest = after;
        } else {
            let new = text.strip_prefix(rest).unwrap_or_else(|| panic!("the model never said {prefix}"));
            steps.push_front(Say(new));
            break;
        }
    }
    steps
}

/// Model that follows a script: one part for each call, and the last part for all further calls. If it continues replies,
/// it says the text of the part after the prefix.
#[derive(Default)]
struct Scripted {
    calls: AtomicU32,
    continues: AtomicBool,
    /// Number of answers of [`LanguageModel::continues`] after which the model refuses to continue another reply.
    refused_after: Mutex<Option<u32>>,
    parts: Mutex<VecDeque<Vec<Step>>>,
    prompts: Mutex<Vec<Prompt>>,
}

impl Scripted {
    fn new(parts: impl IntoIterator<Item = Vec<Step>>) -> Self {
        Self { parts: Mutex::new(parts.into_iter().collect()), ..Self::default() }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl LanguageModel for Scripted {
    async fn reply(&self, prompt: Prompt) -> Result<Pieces, ModelError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let prefix = prompt.prefix.clone().unwrap_or_default();
        self.prompts.lock().unwrap().push(prompt);
        let mut parts = self.parts.lock().unwrap();
        let steps = if parts.len() > 1 { parts.pop_front().unwrap() } else { parts.front().unwrap().clone() };
        if matches!(steps.first(), Some(Refuse)) && !prefix.is_empty() {
            self.continues.store(false, Ordering::SeqCst);
            return Err(ModelError::Unavailable("it refuses a prefix".to_owned()));
        }
        let pieces = stream::unfold(after_prefix(steps, &prefix), async |mut steps| {
            loop {
                let Some(next) = steps.pop_front() else {
                    step("written");
                    return None;
                };
                match next {
                    Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                    Say(text) => return Some((Ok(Piece::Text(text.to_owned())), steps)),
                    Fail(error) => return Some((Err(error), VecDeque::new())),
                    Tell(usage) => return Some((Ok(Piece::Usage(usage)), steps)),
                    Live => return Some((Ok(Piece::Alive), steps)),
                    Retract => return Some((Ok(Piece::Retracted), steps)),
                    Cut => return Some((Ok(Piece::Truncated), steps)),
                    Refuse => {}
                }
            }
        });
        Ok(pieces.boxed())
    }

    fn name(&self, choice: Option<&str>) -> String {
        choice.unwrap_or("scripted").to_owned()
    }

    fn continues(&self, _: Option<&str>) -> bool {
        if let Some(left) = self.refused_after.lock().unwrap().as_mut() {
            if *left == 0 {
                self.continues.store(false, Ordering::SeqCst);
            }
            *left = left.saturating_sub(1);
        }
        self.continues.load(Ordering::SeqCst)
    }
}

/// Frames of drafts. Checks that their text is stored, and follows the rule for readers.
struct Shown {
    store: MemoryStore<Reliable>,
    started: Instant,
    deltas: Mutex<Vec<Delta>>,
    /// Times of the frames, in milliseconds.
    times: Mutex<Vec<u128>>,
    /// Draft and text that a reader has of the reply to each question.
    readers: Mutex<BTreeMap<Seq, (MessageId, String)>>,
    /// Drafts that were resumed, with their text and the time of the last renewal.
    resumed: Mutex<Vec<(MessageId, String, Timestamp)>>,
}

impl DraftSink for Shown {
    async fn show(&self, channel: &ChannelKey, delta: &Delta) {
        let stored = self.stored(channel, delta);
        let shown: String = stored.chars().skip(delta.position).take(delta.text.chars().count()).collect();
        assert_eq!(shown, delta.text, "text is stored before it is shown: {delta:?}");
        let mut readers = self.readers.lock().unwrap();
        let reader = readers.entry(delta.reply_to).or_insert((delta.draft_id, String::new()));
        if reader.0 != delta.draft_id {
            *reader = (delta.draft_id, String::new());
        }
        if reader.1.chars().count() < delta.position {
            // The reader missed a frame, and reads the progress of the reply.
            reader.1 = stored;
        }
        reader.1 = reader.1.chars().take(delta.position).chain(delta.text.chars()).collect();
        self.deltas.lock().unwrap().push(delta.clone());
        self.times.lock().unwrap().push(self.started.elapsed().as_millis());
    }

    async fn resume(&self, _: &ChannelKey, draft_id: MessageId, text: &str, renewed_at: Timestamp) {
        self.resumed.lock().unwrap().push((draft_id, text.to_owned(), renewed_at));
    }
}

impl Shown {
    fn of(store: &TestStore) -> Self {
        Self {
            store: store.through(Reliable),
            started: Instant::now(),
            deltas: Mutex::default(),
            times: Mutex::default(),
            readers: Mutex::default(),
            resumed: Mutex::default(),
        }
    }

    /// Returns the stored text of a draft: that of the message, or of its pieces.
    fn stored(&self, channel: &ChannelKey, delta: &Delta) -> String {
        let state = self.store.state();
        let mut messages = state.messages.get(channel).into_iter().flatten().map(|(_, item)| &item.stored.message);
        let is_of = |data: &AgentData| data.draft_id == Some(delta.draft_id);
        if let Some(message) = messages.find(|message| message.agent.as_ref().is_some_and(is_of)) {
            return message.content.clone();
        }
        assert_ne!(delta.status, DraftStatus::Done, "a message is stored: {delta:?}");
        let question = MessageKey { channel: channel.clone(), seq: delta.reply_to };
        state.draft_text(&question, delta.draft_id, Timestamp::from_secs(0))
    }

    /// Returns the text that a reader has of the reply to a question.
    fn read(&self, question: Seq) -> String {
        self.readers.lock().unwrap().get(&question).map(|(_, text)| text.clone()).unwrap_or_default()
    }

    /// Returns statuses and texts, in order.
    fn all(&self) -> Vec<(DraftStatus, String)> {
        self.deltas.lock().unwrap().iter().map(|delta| (delta.status, delta.text.clone())).collect()
    }

    /// Returns the text of each draft, after checking the positions.
    fn drafts(&self) -> Vec<String> {
        let mut drafts: Vec<(MessageId, String)> = Vec::new();
        for delta in self.deltas.lock().unwrap().iter() {
            if drafts.last().is_none_or(|(id, _)| *id != delta.draft_id) {
                drafts.push((delta.draft_id, String::new()));
            }
            let (_, text) = drafts.last_mut().unwrap();
            assert_eq!(text.chars().count(), delta.position);
            text.push_str(&delta.text);
        }
        drafts.into_iter().map(|(_, text)| text).collect()
    }
}

const BUDGETS: Budgets = Budgets {
    context_tokens: 1_000,
    user: Bucket { every: Duration::from_secs(3), burst: 20 },
    channel: Bucket { every: Duration::from_secs(1), burst: 1_000 },
    tokens_per_day: 1_000_000,
};

/// Channel with one question.
struct World {
    store: TestStore,
    clock: PausedClock,
    shown: Shown,
    model: Scripted,
    budgets: Budgets,
    question: StoredMessage,
}

impl World {
    async fn new(parts: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
        let mut world = Self {
            shown: Shown::of(&store),
            store,
            clock: PausedClock::new(1),
            model: Scripted::new(parts),
            budgets: BUDGETS,
            question: stored_message("c", 1, "hi"),
        };
        world.question = world.ask("hi").await;
        world
    }

    /// Returns a world whose model continues replies.
    async fn continuing(parts: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let world = Self::new(parts).await;
        world.model.continues.store(true, Ordering::SeqCst);
        world
    }

    fn channel_messages(&self) -> ChannelMessages<'_, TestStore, TestStore, PausedClock> {
        channel_messages(&self.store, &self.clock)
    }

    async fn ask(&self, content: &str) -> StoredMessage {
        self.ask_in(content, None).await
    }

    /// Sends a question, in a thread if a root is given.
    async fn ask_in(&self, content: &str, thread_seq: Option<Seq>) -> StoredMessage {
        let content = content.to_owned();
        let question = SendMessage {
            channel_id: "c".parse().unwrap(),
            sender_id: "alice".parse().unwrap(),
            role: Role::User,
            draft: crate::model::message::NewMessage { content, thread_seq, ..Default::default() },
            agent: None,
            record_key: None,
            incarnation: None,
            bucket: None,
            trace: None,
        };
        let sent = send(&self.store, &self.clock, question, &mut SendCache::default()).await.unwrap();
        let message = sent.message().clone();
        StoredMessage { message, incarnation: incarnation(), rev: Rev::ZERO, trace: None, expires_at: None }
    }

    fn agent(&self) -> Agent<'_, TestStore, TestStore, Scripted, Shown, PausedClock> {
        self.agent_on(&self.store)
    }

    /// Returns an agent whose calls of the store go through `store`.
    fn agent_on<'a, Store>(&'a self, store: &'a Store) -> Agent<'a, Store, Store, Scripted, Shown, PausedClock> {
        Agent {
            channels: store,
            messages: store,
            model: &self.model,
            drafts: &self.shown,
            clock: &self.clock,
            name: NAME,
            budgets: self.budgets,
            deadline: self.clock.now().plus(Duration::from_mins(5)),
        }
    }

    async fn answer(&self) -> Result<ReplyOutcome> {
        self.agent().answer(&self.question, &mut None).await
    }

    /// Returns the replies and notices of a question.
    fn ends(&self, seq: Seq) -> Vec<Message> {
        self.store.all().into_iter().filter(|message| message.reply_to == Some(seq)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_agent_answers_as_its_channel_wants_and_never_itself() {
    for (mode, content, role, answers) in [
        (AgentMode::Always, "hi", Role::User, true),
        (AgentMode::Always, "hi", Role::Agent, false),
        (AgentMode::Always, "hi", Role::System, false),
        (AgentMode::Mention, "hi", Role::User, false),
        (AgentMode::Mention, "hi @agent", Role::User, true),
        (AgentMode::Off, "hi @agent", Role::User, false),
    ] {
        let mut world = World::new([vec![Say("hello")]]).await;
        world.store = world.store.with_agent("c", mode);
        let mut question = world.ask(content).await;
        question.message.role = role;
        let outcome = world.agent().answer(&question, &mut None).await.unwrap();
        assert_eq!(matches!(outcome, ReplyOutcome::Replied(_)), answers, "{mode:?} {content} {role:?}");
        assert_eq!(world.model.calls(), u32::from(answers));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_quotes_its_question_and_is_in_its_thread() {
    let world = World::new([vec![Say("hello")]]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.reply_to, reply.thread_seq), (Some(Seq::FIRST), None), "a reply begins no thread");
    let question = world.ask_in("what?", Some(Seq::FIRST)).await;
    let outcome = world.agent().answer(&question, &mut None).await.unwrap();
    let ReplyOutcome::Replied(reply) = outcome else { panic!("a reply") };
    assert_eq!((reply.reply_to, reply.thread_seq), (Some(question.message.seq), Some(Seq::FIRST)));
    assert_eq!(world.store.all()[0].thread.unwrap().reply_count, 2, "the question and its reply");
}

#[tokio::test(start_paused = true)]
async fn a_question_whose_thread_has_expired_gets_no_reply() {
    let world = World::new([vec![Say("hello")]]).await;
    let question = world.ask_in("what?", Some(Seq::FIRST)).await;
    let expired = Some(world.clock.now());
    let root = |item: &mut crate::memory::MessageItem| item.stored.expires_at = expired;
    world.store.state().messages.values_mut().filter_map(|all| all.get_mut(&Seq::FIRST)).for_each(root);
    assert_eq!(world.agent().answer(&question, &mut None).await.unwrap(), ReplyOutcome::NotWanted);
    assert!(world.ends(question.message.seq).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_found_of_a_channel_serves_its_next_message_until_one_is_answered() {
    let mut world = World::new([vec![Say("hello")], vec![Say("hello")]]).await;
    world.store = world.store.with_agent("c", AgentMode::Mention);
    let mut known = None;
    let question = world.ask("hi").await;
    assert_eq!(world.agent().answer(&question, &mut known).await.unwrap(), ReplyOutcome::NotWanted);
    let found = known.clone().expect("what was found");

    // The cached channel is used even if the channel has changed.
    world.store = world.store.with_agent("c", AgentMode::Always);
    let question = world.ask("hi").await;
    assert_eq!(world.agent().answer(&question, &mut known).await.unwrap(), ReplyOutcome::NotWanted);
    let question = world.ask("hi @agent").await;
    assert!(matches!(world.agent().answer(&question, &mut known).await.unwrap(), ReplyOutcome::Replied(_)));
    assert_eq!(known, None);
    let question = world.ask("hi").await;
    let mut of_another = Some(Channel { channel_id: "another".parse().unwrap(), ..found });
    let outcome = world.agent().answer(&question, &mut of_another).await.unwrap();
    assert!(matches!(outcome, ReplyOutcome::Replied(_)), "the cached channel is another one");
    assert_eq!(of_another, None);
}

#[tokio::test(start_paused = true)]
async fn a_reply_grows_as_it_is_written_and_ends_as_the_message() {
    let usage = Usage { input_tokens: 7, output_tokens: 5 };
    let script = vec![Wait(150), Say("Hé"), Say("llo"), Wait(250), Say(" wörld"), Wait(10), Say("!"), Tell(usage)];
    let world = World::new([script]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.as_str(), reply.role, reply.reply_to), ("Héllo wörld!", Role::Agent, Some(Seq::FIRST)));
    assert_eq!(world.shown.drafts(), ["Héllo wörld!"]);
    let all = world.shown.all();
    let statuses: Vec<DraftStatus> = all.iter().map(|(status, _)| *status).collect();
    assert_eq!((statuses[0], *statuses.last().unwrap()), (DraftStatus::Thinking, DraftStatus::Done));
    assert!(all.contains(&(DraftStatus::Writing, "Héllo".to_owned())), "pieces that come together are shown together");
    assert_eq!(all.last().unwrap().1, " wörld!", "the last frame has the rest");
    let last = world.shown.deltas.lock().unwrap().last().unwrap().clone();
    assert_eq!(last.seq, Some(reply.seq));
    let expected = AgentData {
        status: ReplyStatus::Complete,
        draft_id: Some(last.draft_id),
        model: Some("scripted".to_owned()),
        input_tokens: Some(7),
        output_tokens: Some(5),
        duration_ms: Some(410),
    };
    assert_eq!((reply.agent, reply.metadata), (Some(expected), None));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_there_at_once_is_no_draft() {
    let world = World::new([vec![Say("hello")]]).await;
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Replied(_)));
    assert!(world.shown.all().is_empty());
    assert_eq!(world.answer().await.unwrap(), ReplyOutcome::Answered);
    assert_eq!(world.model.calls(), 1, "a redelivered record costs no call");
}

#[tokio::test(start_paused = true)]
async fn text_that_turns_out_to_be_reasoning_is_no_part_of_the_reply() {
    let world = World::new([vec![Say("hm, "), Wait(150), Say("well"), Retract, Wait(150), Say("so")]]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.as_str(), world.model.calls()), ("so", 1));
    assert_eq!(world.shown.drafts(), ["hm, ", "so"]);
    let ended = world.shown.all().into_iter().filter(|(status, _)| *status == DraftStatus::Failed).count();
    assert_eq!(ended, 1, "the draft of the reasoning ends");
}

#[tokio::test(start_paused = true)]
async fn a_number_of_tokens_that_is_not_reported_is_estimated() {
    let told = Tell(Usage { input_tokens: 111, output_tokens: 0 });
    let world = World::new([vec![told, Say("hello")]]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    let data = reply.agent.unwrap();
    assert_eq!((data.input_tokens, data.output_tokens), (Some(111), Some(6)));
}

#[tokio::test(start_paused = true)]
async fn channels_do_not_wait_for_one_another() {
    let started = Instant::now();
    let worlds = join_all((0..20).map(|_| World::new([vec![Wait(2_000), Say("done")]]))).await;
    let outcomes = join_all(worlds.iter().map(World::answer)).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(ReplyOutcome::Replied(_)))));
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
}
