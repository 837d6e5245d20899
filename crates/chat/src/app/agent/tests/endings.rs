//! Failures, time-outs, cancellations and budgets.

use super::*;
use crate::model::{error::Forbidden, limits::CONTENT_BYTES};

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
            assert_eq!((ends[0].content.as_str(), ends[0].role), (content, Role::Agent), "{what}");
        } else {
            assert!(matches!(outcome, ReplyOutcome::Failed(_)), "{what}");
            assert_eq!(
                (ends[0].role, &ends[0].agent),
                (Role::System, &Some(AgentData::of_status(ReplyStatus::Failed)))
            );
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
async fn a_model_that_thinks_is_not_silent_but_speaks_in_time() {
    let thinking = |seconds: u64| (0..seconds / 5).flat_map(|_| [Wait(5_000), Live]);
    let world = World::new([thinking(75).chain([Say("whole")]).collect()]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.as_str(), world.model.calls()), ("whole", 1));

    let world = World::new([thinking(1_000).collect()]).await;
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Failed(_)));
    assert_eq!(world.model.calls(), 1, "another call would cost the same");

    let blank = (0..200).flat_map(|_| [Wait(5_000), Say(" ")]);
    let world = World::new([blank.collect()]).await;
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Failed(_)));
    assert_eq!(world.model.calls(), 1, "blanks are no words");
}

#[tokio::test(start_paused = true)]
async fn a_reply_at_the_limit_of_the_model_says_so() {
    let world = World::new([vec![Say("half"), Cut]]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.as_str(), reply.agent.unwrap().status), ("half", ReplyStatus::Truncated));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_does_not_end_in_time_is_kept_or_given_up_before_its_record_is() {
    // Text arrives without an end.
    let endless = || [(0..40).flat_map(|_| [Wait(10_000), Say("on ")]).collect::<Vec<_>>()];
    let world = World::new(endless()).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.len(), reply.agent.unwrap().status), (29 * 3, ReplyStatus::Truncated));

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
        let Err(ChatError::Forbidden(Forbidden::NotPermitted(detail))) = refused else { panic!("{refused:?}") };
        assert!(detail.contains("stops its reply"), "{detail}");
        cancel(&world.channel_messages(), &revision("alice")).await.unwrap();
    };
    let (outcome, ()) = futures::future::join(world.answer(), stop).await;
    let ReplyOutcome::Replied(reply) = outcome.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.as_str(), reply.agent.unwrap().status), ("once upon", ReplyStatus::Cancelled));
    assert_eq!(world.shown.all().last().unwrap().0, DraftStatus::Cancelled);
    assert!(world.clock.start.elapsed() < Duration::from_secs(4), "soon");

    let late = cancel(&world.channel_messages(), &revision("alice")).await;
    assert!(matches!(late, Err(ChatError::ReplyNotFound)), "{late:?}");
    assert_eq!(world.ends(Seq::FIRST).len(), 1);

    let world = World::new([vec![Say("good")]]).await;
    let early = cancel(&world.channel_messages(), &revision("alice")).await;
    assert!(matches!(early, Err(ChatError::ReplyNotFound)), "{early:?}");
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!(reply.content, "good", "a reply that begins later is not stopped");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_stopped_while_its_worker_dies_is_not_written_by_the_next_one() {
    let world = World::new([vec![Say("never")]]).await;
    let (question, now) = (MessageKey { channel: world.question.channel(), seq: Seq::FIRST }, world.clock.now());
    world.store.acquire(&question, LeaseOwner::new(1), now.plus(LEASE_DURATION), now).await.unwrap();
    let alice =
        MessageRef { channel_id: "c".parse().unwrap(), seq: Seq::FIRST, caller: "alice".parse().unwrap(), trace: None };
    cancel(&world.channel_messages(), &alice).await.unwrap();
    assert!(matches!(world.answer().await.unwrap(), ReplyOutcome::Failed(_)));
    assert_eq!(world.model.calls(), 0);
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
async fn an_endless_reply_is_cut_and_says_so() {
    let piece: &'static str = "0123456789abcdef".repeat(512).leak();
    let world = World::new([vec![Say(piece); 8]]).await;
    let ReplyOutcome::Replied(reply) = world.answer().await.unwrap() else { panic!("a reply") };
    assert_eq!((reply.content.len(), reply.agent.unwrap().status), (CONTENT_BYTES, ReplyStatus::Truncated));
}
