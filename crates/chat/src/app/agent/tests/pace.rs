//! Times at which text is stored and shown, and the calls of the store that this takes.

use super::*;
use crate::memory::{Call, CallFault, Hook};

/// Hook that counts calls.
#[derive(Default)]
struct Counting(Mutex<BTreeMap<Call, u32>>);

impl Hook for Counting {
    async fn before(&self, call: Call) -> CallFault {
        *self.0.lock().unwrap().entry(call).or_default() += 1;
        CallFault::Arrives
    }

    async fn after(&self, _: Call) -> bool {
        true
    }
}

/// Hook under which no piece of a draft is stored.
struct WithoutPieces;

impl Hook for WithoutPieces {
    async fn before(&self, call: Call) -> CallFault {
        if call == Call::StorePiece { CallFault::Fails } else { CallFault::Arrives }
    }

    async fn after(&self, _: Call) -> bool {
        true
    }
}

impl World {
    /// Delivers the question to a worker whose calls go through a hook.
    async fn answer_through<H: Hook>(&self, store: &MemoryStore<H>) -> Result<ReplyOutcome> {
        self.agent_on(store).answer(&self.question, &mut None).await
    }
}

/// Returns the numbers of pieces stored, renewals, and reads of the question.
async fn writes(script: Vec<Step>) -> (World, [u32; 3]) {
    let world = World::new([script]).await;
    let store = world.store.through(Counting::default());
    assert!(matches!(world.answer_through(&store).await.unwrap(), ReplyOutcome::Replied(_)));
    let counts = store.hook().0.lock().unwrap().clone();
    let count = |call: Call| counts.get(&call).copied().unwrap_or_default();
    (world, [Call::StorePiece, Call::RenewClaim, Call::Message].map(count))
}

#[tokio::test(start_paused = true)]
async fn text_is_stored_and_shown_soon_and_then_each_second() {
    let (world, [pieces, renewals, reads]) =
        writes((0..200).flat_map(|_| [Wait(50), Say("x ")]).collect::<Vec<_>>()).await;
    let mut times = vec![100, 350, 850];
    times.extend((1..10).map(|second| 850 + second * 1_000));
    times.push(10_000);
    assert_eq!(*world.shown.times.lock().unwrap(), times, "the last one is the end");
    // Each piece also renews the lease. The renewal is that of the model's call.
    assert_eq!((pieces, renewals), (12, 1));
    assert_eq!(reads, 1 + 9, "the question is read again each second");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_each_second_without_text() {
    let (world, [pieces, renewals, reads]) = writes(vec![Say("a"), Wait(5_000), Say("b")]).await;
    assert_eq!(world.shown.all().len(), 2, "one piece, and the end");
    // One for the call, and none in the first second, in which the piece is stored.
    assert_eq!((pieces, renewals), (1, 1 + 3));
    assert_eq!(reads, 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_stored_is_not_shown() {
    for (continues, end) in [(false, Some(DraftStatus::Failed)), (true, None)] {
        let world = World::new([vec![Wait(150), Say("hello"), Wait(3_000)]]).await;
        world.model.continues.store(continues, Ordering::SeqCst);
        let outcome = world.answer_through(&world.store.through(WithoutPieces)).await;
        assert!(matches!(outcome, Err(ChatError::Store(_))), "{outcome:?}");
        let shown = world.shown.all();
        let expected = [DraftStatus::Thinking].into_iter().chain(end).map(|status| (status, String::new()));
        assert_eq!(shown, expected.collect::<Vec<_>>());
        assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Replied(_)), "no worker waits for the lease");
        assert_eq!(world.shown.drafts().concat(), "hello");
    }
}
