//! Drafts, failures, and one reply under all faults.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
};

use futures::{StreamExt, future::join_all, stream};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;
use tokio::time::Instant;

use super::*;
use crate::{
    app::send::{SendCache, SendMessage, send},
    model::{
        access::Authority,
        channel::Visibility,
        draft::{Delta, DraftStatus},
        limits::CONTENT_BYTES,
        seq::Seq,
    },
    ports::{
        language_model::{Piece, Pieces, Usage},
        message_store::UpdateResult,
    },
    testing::{PausedClock, STEP, TestStore, incarnation, step, stored_message},
};

/// Next action of a model.
#[derive(Debug, Clone)]
enum Step {
    Say(&'static str),
    Wait(u64),
    Fail(ModelError),
    Tell(Usage),
}

use Step::{Fail, Say, Tell, Wait};

/// Model that follows a script: one part for each call, and the last part for all further calls.
#[derive(Default)]
struct Scripted {
    calls: AtomicU32,
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
        self.prompts.lock().unwrap().push(prompt);
        let mut parts = self.parts.lock().unwrap();
        let steps = if parts.len() > 1 { parts.pop_front().unwrap() } else { parts.front().unwrap().clone() };
        let pieces = stream::unfold(VecDeque::from(steps), async |mut steps| {
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
                }
            }
        });
        Ok(pieces.boxed())
    }

    fn name(&self, choice: Option<&str>) -> String {
        choice.unwrap_or("scripted").to_owned()
    }
}

#[derive(Default)]
struct Shown(Mutex<Vec<Delta>>);

impl DraftSink for Shown {
    async fn show(&self, _: &ChannelKey, delta: &Delta) {
        self.0.lock().unwrap().push(delta.clone());
    }
}

impl Shown {
    /// Returns statuses and texts, in order.
    fn all(&self) -> Vec<(DraftStatus, String)> {
        self.0.lock().unwrap().iter().map(|delta| (delta.status, delta.text.clone())).collect()
    }

    /// Returns the text of each draft, after checking the positions.
    fn drafts(&self) -> Vec<String> {
        let mut drafts: Vec<(crate::model::id::MessageId, String)> = Vec::new();
        for delta in self.0.lock().unwrap().iter() {
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
        let mut world = Self {
            store: TestStore::seeded(1, 0).with_channel("c", Visibility::Public),
            clock: PausedClock::new(1),
            shown: Shown::default(),
            model: Scripted::new(parts),
            budgets: BUDGETS,
            question: stored_message("c", 1, "hi"),
        };
        world.question = world.ask("hi").await;
        world
    }

    fn channel_messages(&self) -> ChannelMessages<'_, TestStore, TestStore, PausedClock> {
        ChannelMessages { channels: &self.store, messages: &self.store, clock: &self.clock }
    }

    async fn ask(&self, content: &str) -> StoredMessage {
        let question = SendMessage {
            channel_id: "c".parse().unwrap(),
            sender_id: "alice".parse().unwrap(),
            role: Role::User,
            draft: crate::model::message::NewMessage { content: content.to_owned(), ..Default::default() },
            record_key: None,
            incarnation: None,
            bucket: None,
            trace: None,
        };
        let sent = send(&self.store, &self.clock, question, &mut SendCache::default()).await.unwrap();
        StoredMessage { message: sent.message().clone(), incarnation: incarnation(), trace: None, expires_at: None }
    }

    fn agent(&self) -> Agent<'_, TestStore, TestStore, Scripted, Shown, PausedClock> {
        Agent {
            channels: &self.store,
            messages: &self.store,
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

#[test]
fn only_the_whole_name_is_a_mention() {
    for text in ["@assistant", "hey @Assistant, hi", "(@assistant)", "@assistants @assistant"] {
        assert!(mentions(text, NAME), "{text}");
    }
    for text in ["", "assistant", "@assistants", "me@assistant", "@assistant-2", "@assist"] {
        assert!(!mentions(text, NAME), "{text}");
    }
    assert!(mentions("@Jarvis?", "jarvis") && !mentions("@assistant", "jarvis"));
}

#[tokio::test(start_paused = true)]
async fn the_agent_answers_as_its_channel_wants_and_never_itself() {
    for (mode, content, role, answers) in [
        (AgentMode::Always, "hi", Role::User, true),
        (AgentMode::Always, "hi", Role::Assistant, false),
        (AgentMode::Always, "hi", Role::System, false),
        (AgentMode::Mention, "hi", Role::User, false),
        (AgentMode::Mention, "hi @assistant", Role::User, true),
        (AgentMode::Off, "hi @assistant", Role::User, false),
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
async fn what_was_found_of_a_channel_serves_its_next_message_until_one_is_answered() {
    let mut world = World::new([vec![Say("hello")], vec![Say("hello")]]).await;
    world.store = world.store.with_agent("c", AgentMode::Mention);
    let mut known = None;
    let question = world.ask("hi").await;
    assert_eq!(world.agent().answer(&question, &mut known).await.unwrap(), ReplyOutcome::NotWanted);
    let found = known.clone().expect("what was found");

    // The cached channel is used even if the channel has changed.
    world.store = world.store.with_agent("c", AgentMode::Off);
    let question = world.ask("hi @assistant").await;
    assert!(matches!(world.agent().answer(&question, &mut known).await.unwrap(), ReplyOutcome::Replied(_)));
    assert_eq!(known, None);
    let question = world.ask("hi @assistant").await;
    let mut of_another = Some(Channel { channel_id: "another".parse().unwrap(), ..found });
    assert_eq!(world.agent().answer(&question, &mut of_another).await.unwrap(), ReplyOutcome::NotWanted);
    assert_eq!(of_another.map(|channel| channel.channel_id), Some(question.message.channel_id));
}

#[tokio::test(start_paused = true)]
async fn a_reply_grows_as_it_is_written_and_ends_as_the_message() {
    let usage = Usage { input_tokens: 7, output_tokens: 5 };
    let script = vec![Wait(150), Say("Hé"), Say("llo"), Wait(250), Say(" wörld"), Wait(10), Say("!"), Tell(usage)];
    let world = World::new([script]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!(
        (reply.content.as_str(), reply.role, reply.reply_to),
        ("Héllo wörld!", Role::Assistant, Some(Seq::FIRST))
    );
    assert_eq!(world.shown.drafts(), ["Héllo wörld!"]);
    let all = world.shown.all();
    let statuses: Vec<DraftStatus> = all.iter().map(|(status, _)| *status).collect();
    assert_eq!((statuses[0], *statuses.last().unwrap()), (DraftStatus::Thinking, DraftStatus::Done));
    assert!(all.contains(&(DraftStatus::Writing, "Héllo".to_owned())), "pieces that come together are shown together");
    let last = world.shown.0.lock().unwrap().last().unwrap().clone();
    assert_eq!(last.seq, Some(reply.seq));
    let metadata = reply.metadata.unwrap();
    assert_eq!(metadata["draft_id"], last.draft_id.to_string());
    assert_eq!((&metadata["input_tokens"], &metadata["output_tokens"]), (&Value::from(7), &Value::from(5)));
    assert_eq!((&metadata["model"], &metadata["duration_ms"]), (&Value::from("scripted"), &Value::from(410)));
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
async fn every_failure_ends_in_a_reply_or_in_one_notice() {
    let busy = |seconds: Option<u64>| ModelError::Busy { retry_after: seconds.map(Duration::from_secs) };
    let down = || ModelError::Unavailable("x".into());
    let good = || vec![Say("good")];
    let broken = || vec![Wait(150), Say("half a wo"), Wait(150), Fail(down())];
    let cases = [
        ("busy, then not", vec![vec![Fail(busy(Some(7)))], good()], 2, Some("good")),
        ("broken off, then not", vec![broken(), good()], 2, Some("good")),
        ("nothing, then something", vec![vec![Say(" ")], good()], 2, Some("good")),
        ("twice down, then not", vec![vec![Fail(down())], vec![Fail(down())], good()], 3, Some("good")),
        ("always down", vec![vec![Fail(down())]], 3, None),
        ("always busy", vec![vec![Fail(busy(None))]], 3, None),
        ("always broken off", vec![broken()], 3, None),
        ("always garbage", vec![vec![Fail(ModelError::Malformed("x".into()))]], 3, None),
        ("filtered", vec![vec![Say("bad "), Fail(ModelError::Filtered)], good()], 1, None),
        ("too long", vec![vec![Fail(ModelError::TooLong)], good()], 1, None),
        ("too large", vec![vec![Say("bad "), Fail(ModelError::Oversized("x".into()))], good()], 1, None),
        ("refused", vec![vec![Fail(ModelError::Refused("401".into()))], good()], 1, None),
    ];
    for (what, script, calls, content) in cases {
        let world = World::new(script).await;
        let outcome = world.answer().await.unwrap();
        assert_eq!(world.answer().await.unwrap(), ReplyOutcome::Answered, "{what}");
        assert_eq!(world.model.calls(), calls, "{what}");
        let ends = world.ends(Seq::FIRST);
        assert_eq!(ends.len(), 1, "{what}");
        if let Some(content) = content {
            assert_eq!((ends[0].content.as_str(), ends[0].role), (content, Role::Assistant), "{what}");
        } else {
            assert!(matches!(outcome, ReplyOutcome::Failed(_)), "{what}");
            assert_eq!((ends[0].role, &ends[0].metadata.as_ref().unwrap()["status"]), (Role::System, &"failed".into()));
        }
        for draft in world.shown.drafts() {
            assert!(draft.is_empty() || draft == "half a wo", "{what}: {draft}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_wait_waits_that_long_and_no_longer_than_there_is_time() {
    let busy = |seconds| vec![Fail(ModelError::Busy { retry_after: Some(Duration::from_secs(seconds)) })];
    let world = World::new([busy(30), vec![Say("good")]]).await;
    let before = world.clock.now();
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Replied(_)));
    assert_eq!(before.until(world.clock.now()).as_secs(), 30);

    let world = World::new([busy(100), vec![Say("good")]]).await;
    let hurried = Agent { deadline: world.clock.now().plus(Duration::from_mins(1)), ..world.agent() };
    assert!(
        matches!(hurried.answer(&world.question, &mut None).await, Err(ChatError::Contended { .. })),
        "the record is delivered again"
    );
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Replied(_)), "no worker waits for the lease");

    let world = World::new([busy(3_600), vec![Say("good")]]).await;
    let ReplyOutcome::Failed(notice) = world.answer().await.unwrap() else {
        panic!("a record is not delivered for that long")
    };
    assert!(notice.content.contains("later"), "{}", notice.content);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_falls_silent_counts_as_gone() {
    let world = World::new([vec![Wait(150), Say("half"), Wait(1_000_000)], vec![Wait(50_000), Say("whole")]]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.as_str(), world.model.calls()), ("whole", 2));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_does_not_end_in_time_is_kept_or_given_up_before_its_record_is() {
    // Text arrives without an end.
    let endless = || [(0..40).flat_map(|_| [Wait(10_000), Say("on ")]).collect::<Vec<_>>()];
    let world = World::new(endless()).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.len(), &reply.metadata.unwrap()["status"]), (29 * 3, &"truncated".into()));

    let world = World::new(endless()).await;
    let spent = async || world.store.tokens_used(&"alice".parse().unwrap(), world.clock.now()).await.unwrap();
    for calls in 1..=MODEL_CALLS {
        let hurried = Agent { deadline: world.clock.now().plus(Duration::from_mins(1)), ..world.agent() };
        let before = spent().await;
        assert!(matches!(hurried.answer(&world.question, &mut None).await, Err(ChatError::Contended { .. })));
        assert_eq!(world.model.calls(), calls);
        assert!(spent().await > before, "discarded text counts as used tokens");
    }
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Failed(_)));
    assert_eq!(world.model.calls(), MODEL_CALLS);

    let late = Agent { deadline: world.clock.now().plus(Duration::from_secs(10)), ..world.agent() };
    let question = world.ask("more").await;
    assert!(matches!(late.answer(&question, &mut None).await, Err(ChatError::Contended { .. })));
    assert_eq!(world.model.calls(), MODEL_CALLS, "no call begins that cannot end in time");
}

#[tokio::test(start_paused = true)]
async fn the_model_reads_what_messages_say_by_now_and_who_said_it() {
    let world = World::new([vec![Say("fine")]]).await;
    let revise = async |seq: u64, content: &str, deleted: bool| {
        let mut message = world.store.all()[usize::try_from(seq).unwrap() - 1].clone();
        message.content = content.to_owned();
        message.deleted_at = deleted.then(|| world.clock.now());
        let revised = StoredMessage { message, incarnation: incarnation(), trace: None, expires_at: None };
        let channel = world.store.channel(&"c".parse().unwrap()).await.unwrap().unwrap();
        let by = Authority { channel: &channel, member: None };
        assert_eq!(world.store.update_message(&by, &revised).await.unwrap(), UpdateResult::Done);
    };
    world.ask("a secret").await;
    let question = world.ask("waht?").await;
    revise(1, "hello", false).await;
    revise(2, "", true).await;
    revise(3, "what?", false).await;
    world.agent().answer(&question, &mut None).await.unwrap();
    let prompt = world.model.prompts.lock().unwrap()[0].clone();
    let turns: Vec<_> = prompt.turns.iter().map(|turn| (turn.speaker.as_deref(), turn.text.as_str())).collect();
    assert_eq!(turns, [(Some("alice"), "hello"), (Some("alice"), "what?")]);

    let question = world.ask("never mind").await;
    revise(question.message.seq.get(), "", true).await;
    assert_eq!(world.agent().answer(&question, &mut None).await.unwrap(), ReplyOutcome::NotWanted);
    assert_eq!(world.model.calls(), 1, "a deleted message gets no reply");
}

#[tokio::test(start_paused = true)]
async fn a_reply_can_be_stopped_and_what_there_was_is_kept() {
    let world = World::new([vec![Say("once upon"), Wait(10_000), Say(" a time")]]).await;
    let revision = |caller: &str| MessageRef {
        channel_id: "c".parse().unwrap(),
        seq: Seq::FIRST,
        caller: caller.parse().unwrap(),
        trace: None,
    };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let refused = cancel(&world.channel_messages(), &revision("mallory")).await;
        assert!(matches!(refused, Err(ChatError::Forbidden(_))), "{refused:?}");
        cancel(&world.channel_messages(), &revision("alice")).await.unwrap();
    };
    let (outcome, ()) = futures::future::join(world.answer(), stop).await;
    let ReplyOutcome::Replied(reply) = outcome.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.as_str(), &reply.metadata.unwrap()["status"]), ("once upon", &"cancelled".into()));
    assert_eq!(world.shown.all().last().unwrap().0, DraftStatus::Cancelled);
    assert!(world.clock.start.elapsed() < Duration::from_secs(4), "soon");

    let world = World::new([vec![Say("never")]]).await;
    cancel(&world.channel_messages(), &revision("alice")).await.unwrap();
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Failed(_)));
    assert_eq!(world.model.calls(), 0, "before it had begun");
}

#[tokio::test(start_paused = true)]
async fn budgets_end_in_a_clear_message() {
    let mut world = World::new([vec![Say("hello"), Tell(Usage { input_tokens: 60, output_tokens: 40 })]]).await;
    let notice = async |world: &World| {
        let question = world.ask("more").await;
        match world.agent().answer(&question, &mut None).await.unwrap() {
            ReplyOutcome::Failed(notice) => notice.content,
            other => format!("{other:?}"),
        }
    };
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Replied(_)));
    world.budgets.tokens_per_day = 100;
    assert!(notice(&world).await.contains("tomorrow"));
    world.budgets = Budgets { user: Bucket { every: Duration::from_mins(1), burst: 1 }, ..BUDGETS };
    assert!(notice(&world).await.contains("You ask faster"));
    world.budgets = Budgets { channel: Bucket { every: Duration::from_mins(1), burst: 1 }, ..BUDGETS };
    assert!(notice(&world).await.contains("in this channel"));
    assert_eq!(world.model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_model_reads_this_channel_up_to_the_question() {
    let world = World::new([vec![Say("first")], vec![Say("second")]]).await;
    world.answer().await.unwrap();
    let question = world.ask("and now?").await;
    world.ask("later").await;
    world.agent().answer(&question, &mut None).await.unwrap();
    let prompt = world.model.prompts.lock().unwrap()[1].clone();
    let turns: Vec<_> = prompt.turns.iter().map(|turn| (turn.speaker.as_deref(), turn.text.as_str())).collect();
    assert_eq!(turns, [(Some("alice"), "hi"), (None, "first"), (Some("alice"), "and now?")]);
}

#[tokio::test(start_paused = true)]
async fn channels_do_not_wait_for_one_another() {
    let started = Instant::now();
    let worlds = join_all((0..20).map(|_| World::new([vec![Wait(2_000), Say("done")]]))).await;
    let outcomes = join_all(worlds.iter().map(World::answer)).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(ReplyOutcome::Replied(_)))));
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_endless_reply_is_cut_and_says_so() {
    let piece: &'static str = "0123456789abcdef".repeat(512).leak();
    let world = World::new([vec![Say(piece); 8]]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.len(), &reply.metadata.unwrap()["status"]), (CONTENT_BYTES, &"truncated".into()));
}

/// Delivery that ends at one of its await points, like a crashed process.
struct Crashing<F> {
    delivery: std::pin::Pin<Box<F>>,
    /// Last step of the delivery.
    step: std::rc::Rc<std::cell::Cell<&'static str>>,
    /// Step after which the delivery crashes, and the number of turns that it still gets.
    dies: Option<(&'static str, u32)>,
}

impl<F: Future> Future for Crashing<F> {
    /// `None`: the delivery crashed.
    type Output = Option<F::Output>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let now = self.step.get();
        match &mut self.dies {
            Some((step, 0)) if *step == now => return Poll::Ready(None),
            Some((step, turns)) if *step == now => *turns -= 1,
            _ => {}
        }
        self.delivery.as_mut().poll(context).map(Some)
    }
}

const STEPS: [&str; 5] = ["begun", "claimed", "calling", "written", "appended"];

/// Makes a thousand concurrent deliveries of fifty records in random order, many of which crash. Then it delivers each
/// record once without a crash. The text of a model call helps later deliveries only after it is stored.
#[test]
fn a_thousand_redeliveries_with_crashes_make_one_reply_each() {
    const QUESTIONS: u64 = 50;
    const DELIVERIES: u64 = 20;
    let mut crashes: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..5 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let died = runtime.block_on(tokio::task::LocalSet::new().run_until(redeliver(seed, QUESTIONS, DELIVERIES)));
        for (step, count) in died {
            *crashes.entry(step).or_default() += count;
        }
    }
    println!("crashes by the last step before them: {crashes:?}");
    for step in STEPS {
        assert!(crashes.get(step).is_some_and(|count| *count >= 20), "{step}: {crashes:?}");
    }
}

/// Runs the schedule of a seed and checks its results. Returns the number of crashes by step.
async fn redeliver(seed: u64, questions: u64, deliveries: u64) -> BTreeMap<&'static str, u32> {
    let mut world = World::new([vec![Wait(300), Say("a"), Wait(900), Say("b"), Wait(2_000), Say("c")]]).await;
    let endless = Bucket { every: Duration::from_millis(1), burst: 1_000_000 };
    world.budgets = Budgets { user: endless, channel: endless, ..BUDGETS };
    let mut asked = vec![world.question.clone()];
    for number in 2..=questions {
        asked.push(world.ask(&format!("question {number}")).await);
    }
    let mut chance = StdRng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..asked.len() * usize::try_from(deliveries).unwrap()).collect();
    order.shuffle(&mut chance);
    // Number of crashes per question between the start of a model call and the end of its append.
    let during_calls = Mutex::new(vec![0; asked.len()]);
    let crashes = Mutex::new(BTreeMap::new());
    let deliveries = order.into_iter().map(|number| {
        let (index, at) = (number % asked.len(), Duration::from_millis(chance.random_range(0..300_000)));
        let step = STEPS[chance.random_range(0..STEPS.len())];
        let turns = chance.random_range(0..if step == "calling" { 40 } else { 3 });
        let dies = chance.random_bool(0.7).then_some((step, turns));
        let (world, asked, during_calls, crashes) = (&world, &asked, &during_calls, &crashes);
        async move {
            tokio::time::sleep(at).await;
            let step = std::rc::Rc::new(std::cell::Cell::new(STEPS[0]));
            let agent = world.agent();
            let mut channel = None;
            let delivery = Box::pin(STEP.scope(step.clone(), agent.answer(&asked[index], &mut channel)));
            if (Crashing { delivery, step: step.clone(), dies }).await.is_none() {
                *crashes.lock().unwrap().entry(step.get()).or_default() += 1;
                during_calls.lock().unwrap()[index] += u32::from(matches!(step.get(), "calling" | "written"));
            }
        }
    });
    join_all(deliveries).await;
    for question in &asked {
        let last = world.agent().answer(question, &mut None).await.unwrap();
        assert!(!matches!(last, ReplyOutcome::NotWanted), "{last:?}");
    }
    let during_calls = during_calls.into_inner().unwrap();
    for (question, crashes) in asked.iter().zip(during_calls) {
        let seq = question.message.seq;
        let ends = world.ends(seq);
        assert_eq!(ends.len(), 1, "seed {seed}: {ends:?}");
        let words = format!("alice: {}", question.message.content);
        let prompts = world.model.prompts.lock().unwrap();
        let of_this =
            |prompt: &&Prompt| prompt.turns.last().is_some_and(|turn| format!("alice: {}", turn.text) == words);
        let calls = u32::try_from(prompts.iter().filter(of_this).count()).unwrap();
        assert!(calls <= 1 + crashes, "seed {seed}: {calls} calls of message {seq}, {crashes} crashes");
        if crashes < MODEL_CALLS {
            assert_eq!((ends[0].role, ends[0].content.as_str()), (Role::Assistant, "abc"), "seed {seed}");
        } else {
            assert!(calls <= MODEL_CALLS, "seed {seed}: {calls} calls of message {seq}");
        }
    }
    crashes.into_inner().unwrap()
}
