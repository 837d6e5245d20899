//! Workers that die, and workers that go on with their drafts.

use std::{collections::BTreeSet, task::Poll};

use super::surroundings::{CHANGES, Change};
use super::*;

const WORDS: [&str; 8] = ["Once ", "upon ", "a ", "time ", "there ", "wäs ", "a ", "fox."];

/// Interval between two words, in milliseconds.
const INTERVAL: u64 = 400;

/// Returns the script of a story. The model ends it a while after its last word.
fn story() -> Vec<Step> {
    let words = WORDS.into_iter().flat_map(|word| [Wait(INTERVAL), Say(word)]);
    words.chain([Wait(1_500)]).collect()
}

impl World {
    /// Delivers the question to a worker that dies after some milliseconds.
    async fn die_after(&self, millis: u64) {
        let died = tokio::time::timeout(Duration::from_millis(millis), self.answer()).await;
        assert!(died.is_err(), "{died:?}");
    }

    fn prefixes(&self) -> Vec<Option<String>> {
        self.model.prompts.lock().unwrap().iter().map(|prompt| prompt.prefix.clone()).collect()
    }

    /// Returns the drafts of which subscribers have seen text.
    fn drafts_with_text(&self) -> BTreeSet<MessageId> {
        let deltas = self.shown.deltas.lock().unwrap();
        deltas.iter().filter(|delta| !delta.text.is_empty()).map(|delta| delta.draft_id).collect()
    }
}

/// Runs a delivery that dies after some polls. Returns its result, if it ends before.
async fn dies_after<F: Future>(mut polls: u32, delivery: F) -> Option<F::Output> {
    let mut delivery = Box::pin(delivery);
    std::future::poll_fn(move |context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        delivery.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_draft_outlives_a_worker_that_dies_at_any_word() {
    for words in 1..=WORDS.len() {
        let world = World::continuing([story()]).await;
        world.die_after(INTERVAL * u64::try_from(words).unwrap() + 250).await;
        let before = world.shown.drafts().concat();
        let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
        assert_eq!(reply.content, WORDS.concat(), "{words} words");
        // The positions are unbroken, in one draft.
        assert_eq!(world.shown.drafts(), [WORDS.concat()], "{words} words");
        assert_eq!(world.finals(), [[(DraftStatus::Done, Some(reply.seq))]], "{words} words");
        assert_eq!(world.drafts_with_text(), BTreeSet::from_iter(reply.agent.unwrap().draft_id), "{words} words");
        assert_eq!(world.prefixes(), [None, Some(before.clone())], "{words} words");
        let resumed = world.shown.resumed.lock().unwrap().clone();
        let [(_, text, renewed_at)] = &resumed[..] else { panic!("{resumed:?}") };
        assert_eq!(*text, before);
        let dead_for = renewed_at.until(world.question.message.created_at.plus(Duration::from_mins(1)));
        assert!(dead_for < Duration::from_mins(1), "the last renewal is known");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_the_same_if_its_worker_dies_at_any_moment() {
    let mut polls = 1;
    loop {
        let world = World::continuing([story()]).await;
        if dies_after(polls, world.answer()).await.is_some() {
            break;
        }
        let outcome = world.answer().await.unwrap();
        let ends = world.ends(Seq::FIRST);
        assert_eq!(ends.len(), 1, "{polls} polls");
        assert_eq!(ends[0].content, WORDS.concat(), "{polls} polls");
        assert!(world.drafts_with_text().len() <= 1, "{polls} polls");
        let read = world.shown.read(Seq::FIRST);
        match outcome {
            // A worker that dies after the append does not show the rest. The message has it.
            ReplyOutcome::Answered => assert!(ends[0].content.starts_with(&read), "{polls} polls: {read}"),
            ReplyOutcome::Replied(_) => assert_eq!(read, ends[0].content, "{polls} polls"),
            other => panic!("{polls} polls: {other:?}"),
        }
        polls += 1;
    }
    assert!(polls > 50, "{polls} polls are a whole reply");
}

#[tokio::test(start_paused = true)]
async fn a_draft_outlives_several_workers() {
    let world = World::continuing([story()]).await;
    for _ in 1..MODEL_CALLS {
        world.die_after(INTERVAL + 250).await;
        tokio::time::sleep(LEASE_DURATION + Duration::from_secs(1)).await;
    }
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content, world.model.calls()), (WORDS.concat(), MODEL_CALLS));
    assert_eq!(world.drafts_with_text().len(), 1);
    assert_eq!(world.shown.read(Seq::FIRST), WORDS.concat());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_continue_begins_another_draft() {
    let world = World::new([story()]).await;
    world.die_after(2 * INTERVAL + 250).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!(reply.content, WORDS.concat());
    assert_eq!(world.shown.drafts(), ["Once upon ".to_owned(), WORDS.concat()]);
    assert_eq!(world.prefixes(), [None, None]);
    assert_eq!(world.finals(), [vec![], vec![(DraftStatus::Done, Some(reply.seq))]]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_refuses_a_prefix_begins_another_draft() {
    let refuses = || [Refuse].into_iter().chain(story()).collect::<Vec<_>>();
    let world = World::continuing([story(), refuses(), story()]).await;
    world.die_after(2 * INTERVAL + 250).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!(reply.content, WORDS.concat());
    assert_eq!(world.shown.drafts(), ["Once upon ".to_owned(), WORDS.concat()]);
    assert_eq!(world.prefixes(), [None, Some("Once upon ".to_owned()), None]);
    assert_eq!(world.finals(), [[(DraftStatus::Failed, None)], [(DraftStatus::Done, Some(reply.seq))]]);
}

#[tokio::test(start_paused = true)]
async fn a_draft_is_of_one_beginning_if_the_model_refuses_another_reply_meanwhile() {
    let refuses = || [Refuse].into_iter().chain(story()).collect::<Vec<_>>();
    for answers in 0..4 {
        for scripts in [vec![story()], vec![story(), refuses(), story()]] {
            let world = World::continuing(scripts).await;
            world.die_after(2 * INTERVAL + 250).await;
            *world.model.refused_after.lock().unwrap() = Some(answers);
            let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
            assert_eq!(reply.content, WORDS.concat(), "{answers} answers");
            let drafts = world.shown.drafts();
            assert!(drafts.iter().all(|text| reply.content.starts_with(text)), "{answers} answers: {drafts:?}");
            assert_eq!(drafts.last(), Some(&reply.content), "{answers} answers");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_goes_on_with_its_draft_after_a_transient_error() {
    let broken = vec![Wait(150), Say("half "), Wait(150), Say("a wo"), Fail(ModelError::Unavailable("x".into()))];
    let whole = vec![Say("half "), Say("a wo"), Wait(150), Say("rd")];
    let world = World::continuing([broken.clone(), whole]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.as_str(), world.model.calls()), ("half a word", 2));
    assert_eq!(world.prefixes(), [None, Some("half a wo".to_owned())]);
    assert_eq!(world.shown.drafts(), ["half a word"]);
    assert_eq!(world.finals(), [[(DraftStatus::Done, Some(reply.seq))]]);
    assert!(world.shown.resumed.lock().unwrap().is_empty(), "the same worker shows it");

    let again = vec![Say("half "), Say("a wo"), Wait(150), Fail(ModelError::Unavailable("x".into()))];
    let world = World::continuing([broken, again]).await;
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Failed(_)));
    assert_eq!(world.finals(), [[(DraftStatus::Failed, None)]], "a draft ends when its reply fails");
}

#[tokio::test(start_paused = true)]
async fn a_draft_outlives_the_invocation() {
    let slow = (0..10).flat_map(|_| [Wait(5_000), Say("on ")]).collect::<Vec<_>>();
    let world = World::continuing([slow]).await;
    let hurried = Agent { deadline: world.clock.now().plus(Duration::from_secs(30)), ..world.agent() };
    let outcome = hurried.answer(&world.question, &mut None).await;
    assert!(matches!(outcome, Err(ChatError::Contended { .. })), "{outcome:?}");
    assert!(world.finals().concat().is_empty(), "the draft is not abandoned");
    let before = world.shown.drafts().concat();
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!(reply.content, "on ".repeat(10));
    assert_eq!(world.shown.drafts(), [reply.content]);
    assert_eq!(world.prefixes(), [None, Some(before.clone())]);
    let draft_id = reply.agent.unwrap().draft_id.unwrap();
    // The lease was released, so each socket gets the whole text.
    assert_eq!(*world.shown.resumed.lock().unwrap(), [(draft_id, before, Timestamp::from_millis(0))]);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_has_stored_of_a_stopped_reply_is_kept() {
    for continues in [true, false] {
        let world = World::new([story()]).await;
        world.model.continues.store(continues, Ordering::SeqCst);
        world.die_after(2 * INTERVAL + 250).await;
        let alice = MessageRef {
            channel_id: "c".parse().unwrap(),
            seq: Seq::FIRST,
            caller: "alice".parse().unwrap(),
            trace: None,
        };
        cancel(&world.channel_messages(), &alice).await.unwrap();
        let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
        let data = reply.agent.unwrap();
        assert_eq!((reply.content.as_str(), data.status), ("Once upon ", ReplyStatus::Cancelled));
        assert_eq!(world.drafts_with_text(), BTreeSet::from_iter(data.draft_id));
        assert_eq!(world.finals(), [[(DraftStatus::Cancelled, Some(reply.seq))]]);
        assert_eq!(world.model.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_draft_without_a_worker_ends_when_its_reply_becomes_unwanted() {
    let unwanted = CHANGES.into_iter().filter(|(change, _)| *change != Change::ChannelDeleted);
    for ((change, status), continues, after) in unwanted
        .flat_map(|of_change| [true, false].map(|continues| (of_change, continues)))
        // The lease of the dead worker is still held, or has expired.
        .flat_map(|(of_change, continues)| [0, 20_000].map(|after| (of_change, continues, after)))
    {
        let world = World::new([story()]).await;
        world.model.continues.store(continues, Ordering::SeqCst);
        world.die_after(2 * INTERVAL + 250).await;
        world.undergo(change, after).await;
        assert_eq!(world.answer().await.unwrap(), ReplyOutcome::NotWanted, "{change:?} {after}");
        assert!(world.ends(Seq::FIRST).is_empty(), "{change:?} {after}");
        assert_eq!(world.shown.drafts(), ["Once upon "], "{change:?} {after}");
        assert_eq!(world.finals(), [[(status.unwrap(), None)]], "{change:?} {after}");
        let draft = world.stored_draft().await;
        assert_eq!((draft.status, draft.held), (status, false), "{change:?} {after}");
        assert_eq!(world.answer().await.unwrap(), ReplyOutcome::NotWanted, "{change:?} {after}");
        assert_eq!(world.finals(), [[(status.unwrap(), None)]], "{change:?} {after}: once");
        assert_eq!(world.model.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_draft_without_a_worker_ends_when_the_agent_replies_only_to_mentions() {
    let world = World::new([story()]).await;
    world.die_after(2 * INTERVAL + 250).await;
    world.store.set_agent("c", AgentMode::Mention);
    tokio::time::sleep(LEASE_DURATION).await;
    assert_eq!(world.answer().await.unwrap(), ReplyOutcome::NotWanted);
    assert_eq!(world.finals(), [[(DraftStatus::Cancelled, None)]]);
    let draft = world.stored_draft().await;
    assert_eq!((draft.status, draft.held), (Some(DraftStatus::Cancelled), false));
    assert_eq!(world.model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_worker_goes_on_with_reasoning_that_another_has_discarded() {
    let script = vec![Wait(150), Say("hm"), Wait(200), Retract, Wait(5_000), Say("so")];
    let world = World::continuing([script]).await;
    world.die_after(1_000).await;
    assert_eq!(world.shown.drafts(), ["hm", ""]);
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.as_str(), world.prefixes()), ("so", vec![None, None]));
    assert_eq!(world.shown.read(Seq::FIRST), "so");
}
