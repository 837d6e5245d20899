//! Reactions and replies.

use chat::{
    model::{
        limits::{REACTIONS_PER_MESSAGE, USERS_PER_REACTION},
        message_ref::MessageRef,
        reaction::Toggle,
        text::emoji::Emoji,
    },
    ports::message_store::ReactionResult,
};

use super::*;

fn by(id: &str, seq: u64) -> MessageRef {
    MessageRef { channel_id: channel_id("c"), seq: Seq::new(seq), caller: user(id), trace: Some(super::trace()) }
}

#[tokio::test]
async fn a_user_reacts_once_in_each_way() {
    let tables = Tables::new().await;
    let messages = tables.messages();
    let channel = tables.channel("c", Visibility::Public).await;
    tables.put(&stored("c", 1)).await;
    let react = async |id: &str, emoji: &str, toggle| {
        messages.react(&reader(&channel), &by(id, 1), &emoji.parse().unwrap(), toggle, NOW).await.unwrap()
    };
    let message = async || messages.message(&key("c"), Seq::FIRST, NOW).await.unwrap().unwrap();
    let reactions = async || message().await.reactions;
    for _ in 0..2 {
        assert_eq!(react("alice", "👍", Toggle::Add).await, ReactionResult::Done);
    }
    assert_eq!(react("bob", "👍", Toggle::Add).await, ReactionResult::Done);
    assert_eq!(react("bob", "🎉", Toggle::Add).await, ReactionResult::Done);
    let expected = Reactions::from([
        ("👍".parse().unwrap(), [user("alice"), user("bob")].into()),
        ("🎉".parse().unwrap(), [user("bob")].into()),
    ]);
    assert_eq!(reactions().await, expected);
    assert_eq!(message().await.version, 4, "a repeated request adds no version");
    for _ in 0..2 {
        assert_eq!(react("bob", "🎉", Toggle::Remove).await, ReactionResult::Done);
    }
    assert_eq!(react("carol", "👍", Toggle::Remove).await, ReactionResult::Done);
    assert_eq!(reactions().await.keys().map(Emoji::as_str).collect::<Vec<_>>(), ["👍"]);
    let missing =
        messages.react(&reader(&channel), &by("bob", 2), &"👍".parse().unwrap(), Toggle::Add, NOW).await.unwrap();
    assert_eq!(missing, ReactionResult::MessageNotFound);

    // An edit keeps reactions, a deletion removes them.
    let current = message().await;
    assert_eq!(current.version, 5);
    let revise = async |message: Message| {
        let revised = StoredMessage { message, incarnation: life(1), trace: None, expires_at: None };
        messages.update_message(&reader(&channel), &revised).await.unwrap()
    };
    let late = Message { content: "late".into(), version: 5, ..current.clone() };
    assert_eq!(revise(late).await, UpdateResult::Stale, "a reaction came first");
    let edited = Message { content: "better".into(), ..current.revised() };
    assert_eq!(revise(edited.clone()).await, UpdateResult::Done);
    assert_eq!(reactions().await.len(), 1);
    let tombstone = Message { content: String::new(), deleted_at: Some(LATER), ..edited.revised() };
    assert_eq!(revise(tombstone).await, UpdateResult::Done);
    assert!(reactions().await.is_empty());
    assert_eq!(react("bob", "👍", Toggle::Add).await, ReactionResult::MessageNotFound);
    assert_eq!(message().await.version, 7);
}

#[tokio::test]
async fn reactions_are_bounded_in_kinds_and_in_users() {
    let tables = Tables::new().await;
    let messages = tables.messages();
    let channel = tables.channel("c", Visibility::Public).await;
    tables.put(&stored("c", 1)).await;
    let react = async |id: &str, emoji: &str, toggle| {
        messages.react(&reader(&channel), &by(id, 1), &emoji.parse().unwrap(), toggle, NOW).await.unwrap()
    };
    for number in 0..USERS_PER_REACTION {
        assert_eq!(react(&format!("u{number}"), "👍", Toggle::Add).await, ReactionResult::Done);
    }
    assert_eq!(react("more", "👍", Toggle::Add).await, ReactionResult::Full);
    assert_eq!(react("u0", "👍", Toggle::Add).await, ReactionResult::Done, "that reaction exists");
    let smileys: Vec<String> = ('😀'..).take(REACTIONS_PER_MESSAGE).map(String::from).collect();
    for smiley in &smileys[1..] {
        assert_eq!(react("more", smiley, Toggle::Add).await, ReactionResult::Done);
    }
    assert_eq!(react("more", "🎉", Toggle::Add).await, ReactionResult::Full);
    assert_eq!(react("other", &smileys[1], Toggle::Add).await, ReactionResult::Done);
    assert_eq!(react("more", &smileys[2], Toggle::Remove).await, ReactionResult::Done);
    assert_eq!(react("more", "🎉", Toggle::Add).await, ReactionResult::Done, "there is room");
}

#[tokio::test]
async fn answers_are_found_by_what_they_answer() {
    let tables = Tables::new().await;
    let messages = tables.messages();
    tables.channel("c", Visibility::Public).await;
    for (seq, reply_to) in [(1, None), (2, None), (3, Some(1)), (4, Some(2)), (5, Some(1)), (6, Some(1)), (7, Some(11))]
    {
        let mut message = stored("c", seq);
        message.message.reply_to = reply_to.map(Seq::new);
        // A reply that has expired when it is read.
        message.expires_at = (seq == 5).then_some(NOW);
        tables.put(&message).await;
    }
    let replies = async |seq, after, limit| -> Vec<u64> {
        let found = messages.replies(&key("c"), Seq::new(seq), Seq::new(after), limit, NOW).await.unwrap();
        found.into_iter().map(|message| message.seq.get()).collect()
    };
    assert_eq!(replies(1, 0, 9).await, [3, 6]);
    assert_eq!(replies(1, 0, 1).await, [3]);
    assert_eq!(replies(1, 3, 1).await, [6]);
    assert_eq!(replies(2, 0, 9).await, [4]);
    assert_eq!(replies(3, 0, 9).await, Vec::<u64>::new());
}
