//! Reactions and threads.

use chat::{
    model::{
        limits::{REACTIONS_PER_MESSAGE, USERS_PER_REACTION},
        message_ref::MessageRef,
        reaction::Toggle,
        text::emoji::Emoji,
    },
    ports::message_store::{Excerpt, ReactionResult, Selection},
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
        let number = tables.next_number("c").await;
        messages.react(&reader(&channel), &by(id, 1), &emoji.parse().unwrap(), toggle, number, NOW).await.unwrap()
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
    assert_eq!(tables.last_rev("c").await, Rev::new(4), "a repeated request takes no number");
    let (number, thumb) = (tables.next_number("c").await, "👍".parse().unwrap());
    let missing = messages.react(&reader(&channel), &by("bob", 2), &thumb, Toggle::Add, number, NOW).await.unwrap();
    assert_eq!(missing, ReactionResult::MessageNotFound);

    // An edit keeps reactions, a deletion removes them.
    let current = message().await;
    assert_eq!(current.version, 5);
    let revise = async |message: Message| {
        let revised = StoredMessage { message, trace: None, ..stored("c", 1) };
        messages.update_message(&reader(&channel), &revised, tables.next_number("c").await).await.unwrap()
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
        let number = tables.next_number("c").await;
        messages.react(&reader(&channel), &by(id, 1), &emoji.parse().unwrap(), toggle, number, NOW).await.unwrap()
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

/// Stores messages: the roots of their threads, or 0.
async fn threads(tables: &Tables, roots: impl IntoIterator<Item = u64>) {
    for (seq, root) in (1..).zip(roots) {
        let mut message = stored("c", seq);
        message.message.thread_seq = (root > 0).then_some(Seq::new(root));
        // A reply that has expired when it is read.
        message.expires_at = (seq == 5).then_some(NOW);
        tables.put(&message).await;
    }
}

/// Returns the numbers of an excerpt, and its rest.
fn numbers(excerpt: Excerpt) -> (Vec<u64>, Option<u64>) {
    (excerpt.messages.into_iter().map(|message| message.seq.get()).collect(), excerpt.rest.map(Seq::get))
}

#[tokio::test]
async fn a_thread_is_found_by_its_root() {
    let tables = Tables::new().await;
    let messages = tables.messages();
    tables.channel("c", Visibility::Public).await;
    threads(&tables, [0, 0, 1, 2, 1, 1, 0, 1]).await;
    let thread = async |root, range, limit| {
        let thread = Selection::Thread(Seq::new(root));
        numbers(messages.selected(&key("c"), thread, range, limit, NOW).await.unwrap())
    };
    let after = |seq| Range::After(Seq::new(seq));
    assert_eq!(thread(1, Range::Newest, 9).await, (vec![8, 6, 3], None));
    assert_eq!(thread(1, Range::Newest, 2).await, (vec![8, 6], Some(6)));
    assert_eq!(thread(1, after(0), 9).await, (vec![3, 6, 8], None), "the fifth has expired");
    assert_eq!(thread(1, after(0), 1).await, (vec![3], Some(3)));
    assert_eq!(thread(1, after(3), 1).await, (vec![6], Some(6)));
    assert_eq!(thread(2, Range::Newest, 9).await, (vec![4], None));
    assert_eq!(thread(3, Range::Newest, 9).await, (vec![], None));
    let roots = messages.selected(&key("c"), Selection::Roots, Range::Newest, 9, NOW).await.unwrap();
    let counts: Vec<u64> = roots.messages.iter().map(|root| root.thread.unwrap().reply_count).collect();
    assert_eq!((numbers(roots).0, counts), (vec![2, 1], vec![1, 4]));
}

#[tokio::test]
async fn a_message_is_stored_in_the_thread_of_an_existing_root_only() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    threads(&tables, [0, 1]).await;
    let before = tables.dump().await;
    for (root, wanted) in [(2, AppendResult::NotARoot), (9, AppendResult::RootNotFound)] {
        let mut message = stored("c", 3);
        message.message.thread_seq = Some(Seq::new(root));
        let head = head("c", 2, Visibility::Public);
        assert_eq!(tables.messages().append(unkeyed(&head, &message)).await.unwrap(), wanted);
    }
    assert_eq!(tables.dump().await, before, "nothing is stored");
}

#[tokio::test]
async fn a_quote_is_in_no_thread() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    tables.put(&stored("c", 1)).await;
    let items = tables.dump().await.len();
    let mut quote = stored("c", 2);
    quote.message.reply_to = Some(Seq::FIRST);
    let head = head("c", 1, Visibility::Public);
    assert_eq!(tables.messages().append(unkeyed(&head, &quote)).await.unwrap(), AppendResult::Stored);
    assert_eq!(tables.dump().await.len(), items + 1, "the message is the only further item");
    let root = tables.messages().message(&key("c"), Seq::FIRST, NOW).await.unwrap().unwrap();
    assert_eq!(root.thread, None);
}

#[tokio::test]
async fn messages_outside_of_threads_are_found_in_few_reads() {
    let (tables, calls) = Tables::new().await.counted();
    let messages = tables.messages();
    tables.channel("c", Visibility::Public).await;
    // Two messages with 150 replies between them.
    threads(&tables, [0].into_iter().chain([1; 150]).chain([0])).await;
    calls.take();
    let outside = async |range, limit| {
        numbers(messages.selected(&key("c"), Selection::OutsideThreads, range, limit, NOW).await.unwrap())
    };
    assert_eq!(outside(Range::Newest, 1).await, (vec![152], Some(152)));
    // 2, 8, 32 and 128 messages at once.
    assert_eq!(calls.take(), ["Query"; 4]);
    assert_eq!(outside(Range::Before(Seq::new(152)), 50).await, (vec![1], None));
    assert_eq!(calls.take(), ["Query"; 2]);
    assert_eq!(outside(Range::After(Seq::ZERO), 1).await, (vec![1], Some(1)));
}
