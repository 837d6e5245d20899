//! Token buckets.

use std::time::Duration;

use chat::{
    model::token_bucket::Bucket,
    ports::{
        message_store::Token,
        rate_limiter::{LimitedAction, RateLimiter},
    },
};

use super::*;

#[tokio::test]
async fn a_bucket_gives_its_burst_and_then_its_rate() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let bucket = Bucket { every: Duration::from_millis(500), burst: 3 };
    let take = async |user_id: &str, action: &LimitedAction<'_>, millis: i64| {
        let now = Timestamp::from_millis(NOW.as_millis() + millis);
        channels.take(&user(user_id), action, bucket, now).await.unwrap()
    };
    let full = |millis: i64| Ok(Timestamp::from_millis(NOW.as_millis() + millis));
    let empty = |millis: u64| Err(Duration::from_millis(millis));
    for taken in 1..=3 {
        assert_eq!(take("alice", &LimitedAction::Send, 0).await, full(taken * 500));
    }
    assert_eq!(take("alice", &LimitedAction::Send, 100).await, empty(400));
    assert_eq!(take("alice", &LimitedAction::Send, 499).await, empty(1));
    assert_eq!(take("alice", &LimitedAction::Send, 500).await, full(2_000));
    assert_eq!(take("alice", &LimitedAction::Send, 500).await, empty(500));
    // Other users and other actions have their own buckets.
    assert_eq!(take("bob", &LimitedAction::Send, 500).await, full(1_000));
    assert_eq!(take("alice", &LimitedAction::Connect, 500).await, full(1_000));
    assert_eq!(take("alice", &LimitedAction::Typing(&key("c")), 500).await, full(1_000));
    // After a pause the bucket is full, but not fuller.
    for taken in 1..=3 {
        assert_eq!(take("alice", &LimitedAction::Send, 60_000).await, full(60_000 + taken * 500));
    }
    assert!(take("alice", &LimitedAction::Send, 60_000).await.is_err());
}

#[tokio::test]
async fn replies_in_a_channel_are_counted_for_all_of_its_users_and_for_one_life_of_it() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let bucket = Bucket { every: Duration::from_mins(1), burst: 1 };
    let take = async |user_id: &str, channel: &ChannelKey| {
        channels.take(&user(user_id), &LimitedAction::Reply(channel), bucket, NOW).await.unwrap().is_ok()
    };
    assert!(take("alice", &key("c")).await);
    assert!(!take("bob", &key("c")).await, "the bucket is the channel's");
    assert!(take("bob", &key("d")).await);
    assert!(take("bob", &ChannelKey { incarnation: life(2), ..key("c") }).await);
}

#[tokio::test]
async fn those_who_take_at_once_get_no_more() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let bucket = Bucket { every: Duration::from_mins(1), burst: 5 };
    let (alice, action) = (user("alice"), LimitedAction::Send);
    let takes = futures::future::join_all((0..20).map(|_| channels.take(&alice, &action, bucket, NOW))).await;
    assert_eq!(takes.into_iter().filter(|taken| taken.as_ref().unwrap().is_ok()).count(), 5);
}

#[tokio::test]
async fn a_sender_who_is_behind_in_both_learns_of_both_at_once() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let messages = tables.messages();
    let bucket = Bucket { every: Duration::from_mins(1), burst: 5 };
    let append = async |seq: u64, full_at: Option<Timestamp>, key: &str| {
        let (head, message) = (head("c", seq - 1, Visibility::Public), stored("c", seq));
        let (record, next) = (record(&message, key), bucket.take(full_at, NOW).unwrap());
        let token = Some(Token { full_at, next });
        let attempt = Append { record: Some(&record), token, ..unkeyed(&head, &message) };
        (messages.append(attempt).await.unwrap(), next)
    };
    let (first, full_at) = append(1, None, "a").await;
    assert_eq!(first, AppendResult::Stored);
    let now = head("c", 1, Visibility::Public);
    assert_eq!(
        append(1, None, "b").await.0,
        AppendResult::Stale { head: Some(now.clone()), bucket_full_at: Some(full_at) }
    );
    assert_eq!(append(1, Some(full_at), "b").await.0, AppendResult::Stale { head: Some(now), bucket_full_at: None });
    assert_eq!(append(2, None, "b").await.0, AppendResult::Stale { head: None, bucket_full_at: Some(full_at) });
    assert_eq!(append(2, Some(full_at), "b").await.0, AppendResult::Stored);
}
