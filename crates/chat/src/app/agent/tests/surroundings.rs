//! Replies whose question or channel changes while they are generated.

use super::*;
use crate::{app::edit::Edit, model::id::ChannelId, ports::reply_leases::StoredDraft};

/// Change of the world during a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    QuestionDeleted,
    AgentOff,
    ChannelArchived,
    ChannelDeleted,
}

pub(super) const CHANGES: [(Change, Option<DraftStatus>); 4] = [
    (Change::QuestionDeleted, Some(DraftStatus::Cancelled)),
    (Change::AgentOff, Some(DraftStatus::Cancelled)),
    (Change::ChannelArchived, Some(DraftStatus::Failed)),
    (Change::ChannelDeleted, None),
];

impl World {
    pub(super) fn asked(&self) -> MessageRef {
        let Message { channel_id, seq, sender_id, .. } = self.question.message.clone();
        MessageRef { channel_id, seq, caller: sender_id, trace: None }
    }

    /// Makes a change after some milliseconds.
    pub(super) async fn undergo(&self, change: Change, after: u64) {
        tokio::time::sleep(Duration::from_millis(after)).await;
        match change {
            Change::QuestionDeleted => self.channel_messages().delete(&self.asked(), None).await.unwrap(),
            Change::AgentOff => self.store.set_agent("c", AgentMode::Off),
            Change::ChannelArchived => self.store.archive("c"),
            Change::ChannelDeleted => {
                self.store.state().channels.remove(&"c".parse::<ChannelId>().unwrap());
            }
        }
    }

    /// Returns the draft of the reply to the question.
    pub(super) async fn stored_draft(&self) -> StoredDraft {
        let question = MessageKey { channel: self.question.channel(), seq: self.question.message.seq };
        self.store.draft(&question, self.clock.now()).await.unwrap().unwrap()
    }

    /// Returns the final statuses of each draft that subscribers have seen.
    pub(super) fn finals(&self) -> Vec<Vec<(DraftStatus, Option<Seq>)>> {
        let mut drafts: BTreeMap<MessageId, Vec<(DraftStatus, Option<Seq>)>> = BTreeMap::new();
        for delta in self.shown.deltas.lock().unwrap().iter() {
            let finals = drafts.entry(delta.draft_id).or_default();
            if !matches!(delta.status, DraftStatus::Thinking | DraftStatus::Writing) {
                finals.push((delta.status, delta.seq));
            }
        }
        drafts.into_values().collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_unwanted_ends_without_a_message() {
    for (change, status) in CHANGES {
        let world = World::new([vec![Say("once upon"), Wait(10_000), Say(" a time")]]).await;
        let (outcome, ()) = futures::future::join(world.answer(), world.undergo(change, 1_500)).await;
        assert_eq!(outcome.unwrap(), ReplyOutcome::NotWanted, "{change:?}");
        assert!(world.ends(Seq::FIRST).is_empty(), "{change:?}");
        let wanted: Vec<_> = status.into_iter().map(|status| (status, None)).collect();
        assert_eq!(world.finals(), [wanted], "{change:?}");
        if status.is_some() {
            assert_eq!(world.stored_draft().await.status, status, "{change:?}");
        }
        assert!(world.clock.start.elapsed() < Duration::from_secs(4), "{change:?}: soon");
        let spent = world.store.tokens_used(&"alice".parse().unwrap(), world.clock.now()).await.unwrap();
        assert!(spent > 0, "{change:?}: the model was called");
    }
}

#[tokio::test(start_paused = true)]
async fn the_append_refuses_an_unwanted_reply() {
    // The reply is complete before the question is read again, so only the append can notice the change.
    for (change, status) in CHANGES {
        let world = World::new([vec![Say("once upon"), Wait(800), Say(" a time")]]).await;
        let (outcome, ()) = futures::future::join(world.answer(), world.undergo(change, 300)).await;
        assert_eq!(outcome.unwrap(), ReplyOutcome::NotWanted, "{change:?}");
        assert!(world.ends(Seq::FIRST).is_empty(), "{change:?}");
        let wanted: Vec<_> = status.into_iter().map(|status| (status, None)).collect();
        assert_eq!(world.finals(), [wanted], "{change:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unwanted_reply_that_fails_gets_no_notice() {
    for (change, _) in CHANGES {
        let world = World::new([vec![Wait(150), Fail(ModelError::Unavailable("x".into()))]]).await;
        let (outcome, ()) = futures::future::join(world.answer(), world.undergo(change, 120)).await;
        assert_eq!(outcome.unwrap(), ReplyOutcome::NotWanted, "{change:?}");
        assert!(world.ends(Seq::FIRST).is_empty(), "{change:?}");
        assert_eq!(world.model.calls(), 1, "{change:?}: the model is not called again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_reply_stays_and_an_edited_question_gets_its_reply() {
    let world = World::new([vec![Say("hello")]]).await;
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Replied(_)));
    world.undergo(Change::QuestionDeleted, 0).await;
    assert_eq!(world.answer().await.unwrap(), ReplyOutcome::Answered);
    assert_eq!(world.ends(Seq::FIRST)[0].content, "hello");

    let world = World::new([vec![Say("once upon"), Wait(3_000), Say(" a time")]]).await;
    let edit = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let edit = Edit { content: Some("hi there".to_owned()), ..Edit::default() };
        world.channel_messages().edit(&world.asked(), None, &edit).await.unwrap();
    };
    let (outcome, ()) = futures::future::join(world.answer(), edit).await;
    let ReplyOutcome::Replied(reply) = outcome.unwrap() else { panic!("a reply") };
    assert_eq!(reply.content, "once upon a time");
}

#[tokio::test(start_paused = true)]
async fn each_draft_has_one_final_status_and_done_has_a_message() {
    let broken = || vec![Wait(150), Say("half"), Wait(150), Fail(ModelError::Unavailable("x".into()))];
    let endless = || (0..40).flat_map(|_| [Wait(10_000), Say("on ")]).collect::<Vec<_>>();
    for (what, script, drafts) in [
        ("complete", vec![vec![Wait(150), Say("good")]], 1),
        ("broken, then complete", vec![broken(), vec![Wait(150), Say("good")]], 2),
        ("always broken", vec![broken()], 3),
        ("silent, then complete", vec![vec![Wait(1_000_000)], vec![Wait(150), Say("good")]], 2),
        ("without end", vec![endless()], 1),
        ("without text", vec![vec![Wait(150), Say(" ")]], 3),
    ] {
        let world = World::new(script).await;
        world.answer().await.unwrap();
        let finals = world.finals();
        assert_eq!(finals.len(), drafts, "{what}");
        for of_draft in finals {
            let [(status, seq)] = of_draft[..] else { panic!("{what}: {of_draft:?}") };
            let stored = seq.is_some_and(|seq| world.ends(Seq::FIRST).iter().any(|message| message.seq == seq));
            assert_eq!(status == DraftStatus::Done, stored, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_draft_of_a_worker_without_its_lease_fails() {
    let world = World::new([vec![Say("once upon"), Wait(5_000), Say(" a time")]]).await;
    let question = MessageKey { channel: world.question.channel(), seq: Seq::FIRST };
    let take = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let (owner, until) = (LeaseOwner::new(1), world.clock.now().plus(Duration::from_mins(10)));
        // The lease of the first worker counts as expired.
        let later = world.clock.now().plus(Duration::from_mins(1));
        assert!(matches!(world.store.acquire(&question, owner, until, later).await.unwrap(), Acquire::Acquired(_)));
    };
    let (outcome, ()) = futures::future::join(world.answer(), take).await;
    assert!(matches!(outcome, Err(ChatError::Contended { .. })), "{outcome:?}");
    assert_eq!(world.finals(), [[(DraftStatus::Failed, None)]]);
}

#[tokio::test(start_paused = true)]
async fn a_draft_that_another_worker_can_continue_does_not_fail() {
    let world = World::continuing([vec![Say("once upon"), Wait(5_000), Say(" a time")]]).await;
    let question = MessageKey { channel: world.question.channel(), seq: Seq::FIRST };
    let take = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let (owner, until) = (LeaseOwner::new(1), world.clock.now().plus(LEASE_DURATION));
        let later = world.clock.now().plus(Duration::from_mins(1));
        assert!(matches!(world.store.acquire(&question, owner, until, later).await.unwrap(), Acquire::Acquired(_)));
    };
    let (outcome, ()) = futures::future::join(world.answer(), take).await;
    assert!(matches!(outcome, Err(ChatError::Contended { .. })), "{outcome:?}");
    assert!(world.finals().concat().is_empty());
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Replied(_)));
    assert_eq!(world.shown.drafts(), ["once upon a time"]);
    assert_eq!(world.finals().concat().len(), 1);
}
