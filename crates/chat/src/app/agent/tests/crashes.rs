//! One reply per message under redeliveries and crashes.

use std::task::Poll;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::*;
use crate::testing::STEP;

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
/// record once without a crash. The text of a model call helps later deliveries only after it is stored, and if the model
/// continues replies.
#[test]
fn a_thousand_redeliveries_with_crashes_make_one_reply_each() {
    const QUESTIONS: u64 = 50;
    const DELIVERIES: u64 = 20;
    let mut crashes: BTreeMap<&str, u32> = BTreeMap::new();
    for (seed, continues) in [(0, false), (1, false), (2, false), (3, false), (4, false), (5, true), (6, true)] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let redeliveries = redeliver(seed, QUESTIONS, DELIVERIES, continues);
        let died = runtime.block_on(tokio::task::LocalSet::new().run_until(redeliveries));
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
async fn redeliver(seed: u64, questions: u64, deliveries: u64, continues: bool) -> BTreeMap<&'static str, u32> {
    let mut world = World::new([vec![Wait(300), Say("a"), Wait(900), Say("b"), Wait(2_000), Say("c")]]).await;
    world.model.continues.store(continues, Ordering::SeqCst);
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
            assert_eq!((ends[0].role, ends[0].content.as_str()), (Role::Agent, "abc"), "seed {seed}");
        } else {
            assert!(calls <= MODEL_CALLS, "seed {seed}: {calls} calls of message {seq}");
        }
    }
    crashes.into_inner().unwrap()
}
