//! Progress of a reply in each of its states.

use super::surroundings::{CHANGES, Change};
use super::*;
use crate::{app::agent::progress::ReplyProgress, model::limits::QUESTION_DURATION};

fn writing() -> Vec<Step> {
    vec![Wait(300), Say("größer "), Wait(5_000), Say("als 👍")]
}

impl World {
    async fn progress(&self) -> Result<ReplyProgress> {
        let (channel, user) = ("c".parse().unwrap(), "bob".parse().unwrap());
        self.channel_messages().reply_progress(&channel, &user, Seq::FIRST).await
    }

    /// Delivers the question, and returns the progress after some milliseconds.
    async fn progress_after(&self, millis: u64) -> ReplyProgress {
        let read = async {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            self.progress().await.unwrap()
        };
        let (_, progress) = futures::future::join(self.answer(), read).await;
        progress
    }

    fn last_shown(&self) -> Delta {
        self.shown.deltas.lock().unwrap().last().unwrap().clone()
    }
}

fn progress(status: DraftStatus, draft_id: Option<MessageId>, text: &str, seq: Option<Seq>) -> ReplyProgress {
    ReplyProgress { status, draft_id, position: text.chars().count(), text: text.to_owned(), seq }
}

#[tokio::test(start_paused = true)]
async fn a_reader_finds_the_reply_as_far_as_it_is_stored() {
    let world = World::new([writing()]).await;
    let early = world.progress().await;
    assert!(matches!(early, Err(ChatError::ReplyNotFound)), "{early:?}");

    let thinking = world.progress_after(200).await;
    let last = world.last_shown();
    let draft_id = Some(last.draft_id);
    assert_eq!(thinking, progress(DraftStatus::Thinking, draft_id, "", None));
    let stored = progress(DraftStatus::Done, draft_id, "größer als 👍", last.seq);
    assert_eq!((stored.position, last.seq), (12, Some(Seq::new(2))));
    assert_eq!(world.progress().await.unwrap(), stored);

    let world = World::new([writing()]).await;
    let written = world.progress_after(1_000).await;
    assert_eq!(written, progress(DraftStatus::Writing, Some(world.last_shown().draft_id), "größer ", None));
    assert_eq!(written.position, 7);

    let world = World::new([writing()]).await;
    let question = MessageKey { channel: world.question.channel(), seq: Seq::FIRST };
    let now = world.clock.now();
    world.store.acquire(&question, LeaseOwner::new(1), now.plus(LEASE_DURATION), now).await.unwrap();
    assert_eq!(world.progress().await.unwrap(), progress(DraftStatus::Thinking, None, "", None));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_reply_has_its_status() {
    let world = World::new([vec![Say("half"), Cut]]).await;
    world.answer().await.unwrap();
    let truncated = world.progress().await.unwrap();
    assert_eq!((truncated.status, truncated.text.as_str()), (DraftStatus::Done, "half"));

    let world = World::new([vec![Fail(ModelError::Refused("401".into()))]]).await;
    world.answer().await.unwrap();
    let notice = world.ends(Seq::FIRST)[0].seq;
    assert_eq!(world.progress().await.unwrap(), progress(DraftStatus::Failed, None, "", Some(notice)));

    let mut world = World::new([vec![Say("never")]]).await;
    world.budgets.tokens_per_day = 0;
    world.answer().await.unwrap();
    assert_eq!(world.progress().await.unwrap().status, DraftStatus::Failed);

    let world = World::new([writing()]).await;
    let stop = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        cancel(&world.channel_messages(), &world.asked()).await.unwrap();
    };
    futures::future::join(world.answer(), stop).await.0.unwrap();
    let last = world.last_shown();
    assert_eq!(
        world.progress().await.unwrap(),
        progress(DraftStatus::Cancelled, Some(last.draft_id), "größer ", last.seq)
    );
    let deleted = |item: &mut crate::memory::MessageItem| {
        item.stored.message.agent = None;
        item.stored.message.deleted_at = Some(world.clock.now());
    };
    let seq = last.seq.unwrap();
    world.store.state().messages.values_mut().filter_map(|all| all.get_mut(&seq)).for_each(deleted);
    assert_eq!(world.progress().await.unwrap(), progress(DraftStatus::Done, None, "", Some(seq)), "a deleted reply");
}

#[tokio::test(start_paused = true)]
async fn a_draft_without_a_message_has_its_status() {
    for (change, status) in CHANGES {
        let world = World::new([writing()]).await;
        let (outcome, ()) = futures::future::join(world.answer(), world.undergo(change, 1_500)).await;
        assert_eq!(outcome.unwrap(), ReplyOutcome::NotWanted);
        let found = world.progress().await;
        match change {
            Change::QuestionDeleted => assert!(matches!(found, Err(ChatError::MessageNotFound)), "{found:?}"),
            Change::ChannelDeleted => assert!(matches!(found, Err(ChatError::ChannelNotFound)), "{found:?}"),
            Change::AgentOff | Change::ChannelArchived => {
                let draft_id = Some(world.last_shown().draft_id);
                assert_eq!(found.unwrap(), progress(status.unwrap(), draft_id, "größer ", None), "{change:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_no_worker_has_finished_in_time_does_not_exist() {
    let world = World::new([writing()]).await;
    let died = tokio::time::timeout(Duration::from_secs(1), world.answer()).await;
    assert!(died.is_err());
    let until_old = world.clock.now().until(world.question.message.created_at.plus(QUESTION_DURATION));
    tokio::time::sleep(until_old.saturating_sub(Duration::from_millis(1))).await;
    assert_eq!(world.progress().await.unwrap().status, DraftStatus::Thinking, "the pieces have expired");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let late = world.progress().await;
    assert!(matches!(late, Err(ChatError::ReplyNotFound)), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn only_readers_of_the_channel_see_a_reply() {
    let world = World::new([vec![Say("hello")]]).await;
    world.answer().await.unwrap();
    let of = async |channel: &str, seq: u64| {
        let (channel, user) = (channel.parse().unwrap(), "bob".parse().unwrap());
        world.channel_messages().reply_progress(&channel, &user, Seq::new(seq)).await
    };
    assert!(of("c", 1).await.is_ok());
    assert!(matches!(of("c", 9).await, Err(ChatError::MessageNotFound)));
    assert!(matches!(of("other", 1).await, Err(ChatError::ChannelNotFound)));
    let channel = "c".parse::<crate::model::id::ChannelId>().unwrap();
    world.store.state().channels.get_mut(&channel).unwrap().visibility = Visibility::Private;
    assert!(matches!(of("c", 1).await, Err(ChatError::ChannelNotFound)));
}
