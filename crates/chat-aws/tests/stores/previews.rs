//! Parts of messages that lists of channels show and count.

use super::*;

#[tokio::test]
async fn outlines_go_on_beyond_a_page_of_one_megabyte_and_end_at_the_limit() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    for seq in 1..=60 {
        let mut message = stored("c", seq);
        message.message.content = "x".repeat(30_000);
        tables.put(&message).await;
    }
    let (messages, key) = (tables.messages(), key("c"));
    let read = async |after, before, limit| -> Vec<u64> {
        let found = messages.outlines(&key, Seq::new(after), Seq::new(before), limit, NOW).await.unwrap();
        found.iter().map(|outline| outline.seq.get()).collect()
    };
    assert_eq!(read(0, 61, 100).await, (1..=60).rev().collect::<Vec<_>>());
    assert_eq!(read(10, 60, 45).await, (15..=59).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_preview_is_of_the_channel_that_it_was_asked_for() {
    let tables = Tables::new().await;
    let ids: Vec<String> = (0..100).map(|number| format!("c{number:03}")).collect();
    for id in &ids {
        tables.channel(id, Visibility::Public).await;
        let mut message = stored(id, 1);
        message.message.content.clone_from(id);
        tables.put(&message).await;
    }
    let mut wanted: Vec<(ChannelKey, Seq)> = ids.iter().map(|id| (key(id), Seq::FIRST)).collect();
    wanted[0] = (key("nowhere"), Seq::FIRST);
    // A list of channels that changes while it is read may have a channel twice.
    wanted[1] = wanted[2].clone();
    let found = tables.messages().previews(&wanted, NOW).await.unwrap();
    assert_eq!(found.len(), 98);
    assert!(found.iter().all(|(channel, preview)| channel.channel_id.as_str() == preview.content));
}
