//! Appends, pages of history and changes of messages.

use super::*;

#[tokio::test]
async fn an_append_reads_back_as_it_was_and_moves_the_head() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let (message, messages) = (stored("c", 1), tables.messages());
    let (head, record) = (head("c", 0, Visibility::Public), record(&message, "k"));
    let attempt = Append { record: Some(&record), ..unkeyed(&head, &message) };
    assert_eq!(messages.append(attempt).await.unwrap(), AppendResult::Stored);
    assert_eq!(messages.message(&head.key(), Seq::FIRST, NOW).await.unwrap().unwrap(), message.message);
    assert_eq!(
        messages.head(&head.channel_id).await.unwrap().unwrap(),
        (ChannelHead { last_seq: Seq::FIRST, ..head.clone() }, Rev::ZERO)
    );
    let kept = messages.idempotency_record(&head.key(), &record.key).await.unwrap();
    assert_eq!(kept, Some(record));
    assert_eq!(messages.head(&channel_id("nowhere")).await.unwrap(), None);
    assert_eq!(messages.message(&head.key(), Seq::new(2), NOW).await.unwrap(), None);
}

#[tokio::test]
async fn a_refused_append_changes_nothing_and_tells_how_things_are() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let start = head("c", 0, Visibility::Public);
    assert_eq!(tables.append(&start, "a", None, NOW).await, AppendResult::Stored);
    let now = head("c", 1, Visibility::Public);
    // With an earlier `seq`, the current head is returned.
    assert_eq!(
        tables.append(&start, "b", None, NOW).await,
        AppendResult::Stale { head: Some(now.clone()), bucket_full_at: None }
    );
    // With other settings than the current ones.
    let other = ChannelHead { version: 2, visibility: Visibility::Private, ..now.clone() };
    assert_eq!(
        tables.append(&other, "b", None, NOW).await,
        AppendResult::Stale { head: Some(now.clone()), bucket_full_at: None }
    );
    // The channel does not exist.
    assert_eq!(tables.append(&head("x", 0, Visibility::Public), "b", None, NOW).await, AppendResult::ChannelNotFound);
    // A used key decides, even if the head is stale too.
    for believed in [&now, &start] {
        let AppendResult::KeyTaken(taken) = tables.append(believed, "a", None, NOW).await else { panic!("not taken") };
        assert_eq!(taken.seq, Seq::FIRST);
    }
    assert_eq!(tables.messages().head(&now.channel_id).await.unwrap(), Some((now.clone(), Rev::ZERO)));
    // An expired record counts as absent, even if it is still stored.
    assert_eq!(tables.append(&now, "a", None, LATER).await, AppendResult::Stored);
}

#[tokio::test]
async fn a_message_that_is_there_already_is_known_again_without_a_record() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let (messages, start) = (tables.messages(), head("c", 0, Visibility::Public));
    let (ours, theirs) = (stored("c", 1), stored("c", 1));
    // Like the SDK after a lost response: this message itself has moved the head.
    for _ in 0..2 {
        assert_eq!(messages.append(unkeyed(&start, &ours)).await.unwrap(), AppendResult::Stored);
    }
    let moved = messages.append(unkeyed(&start, &theirs)).await.unwrap();
    assert_eq!(moved, AppendResult::Stale { head: Some(head("c", 1, Visibility::Public)), bucket_full_at: None });
    assert_eq!(messages.message(&start.key(), Seq::FIRST, NOW).await.unwrap(), Some(ours.message));
}

#[tokio::test]
async fn what_the_agent_need_not_see_is_marked() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    for (seq, for_agent) in [(1, true), (2, false)] {
        let (before, message) = (head("c", seq - 1, Visibility::Public), stored("c", seq));
        let append = Append { for_agent, ..unkeyed(&before, &message) };
        assert_eq!(tables.messages().append(append).await.unwrap(), AppendResult::Stored);
        let (channel, number) = (AttributeValue::S(key("c").to_string()), AttributeValue::N(seq.to_string()));
        let get = tables.client.get_item().table_name("chat_events").key("channel_id", channel).key("seq", number);
        let item = get.send().await.unwrap().item.unwrap();
        assert_eq!(item.get("no_agent"), (!for_agent).then(|| AttributeValue::S("1".to_owned())).as_ref());
        // The attribute is for the mapping and not part of the message.
        assert_eq!(tables.messages().message(&key("c"), Seq::new(seq), NOW).await.unwrap(), Some(message.message));
    }
}

#[tokio::test]
async fn only_members_append_to_private_channels() {
    let tables = Tables::new().await;
    tables.channel("p", Visibility::Private).await;
    let head = head("p", 0, Visibility::Private);
    assert_eq!(tables.append(&head, "a", Some("mallory"), NOW).await, AppendResult::NotAMember);
    assert_eq!(tables.append(&head, "a", Some("alice"), NOW).await, AppendResult::Stored);
}

#[tokio::test]
async fn of_many_appends_at_once_one_wins() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let head = head("c", 0, Visibility::Public);
    let keys: Vec<String> = (0..16).map(|number| format!("k{number}")).collect();
    let outcomes = futures::future::join_all(keys.iter().map(|key| tables.append(&head, key, None, NOW))).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AppendResult::Stored).count(), 1);
}

#[tokio::test]
async fn history_pages_both_ways() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    for seq in 0..5 {
        tables.append(&head("c", seq, Visibility::Public), &format!("k{seq}"), None, NOW).await;
    }
    let page = async |range, limit| -> Vec<u64> {
        let page = tables.messages().messages(&key("c"), range, limit, NOW).await.unwrap();
        page.into_iter().map(|message| message.seq.get()).collect()
    };
    assert_eq!(page(Range::Newest, 2).await, [5, 4]);
    assert_eq!(page(Range::Before(Seq::new(4)), 9).await, [3, 2, 1]);
    assert_eq!(page(Range::After(Seq::new(2)), 2).await, [3, 4]);
    assert_eq!(page(Range::After(Seq::new(5)), 2).await, Vec::<u64>::new());
}

#[tokio::test]
async fn a_message_past_its_retention_is_not_read_though_it_is_still_there() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let message = StoredMessage { expires_at: Some(LATER), ..stored("c", 1) };
    let (head, record, messages) = (head("c", 0, Visibility::Public), record(&message, "k"), tables.messages());
    let attempt = Append { record: Some(&record), ..unkeyed(&head, &message) };
    assert_eq!(messages.append(attempt).await.unwrap(), AppendResult::Stored);
    for (now, there) in [(NOW, 1), (LATER, 0)] {
        assert_eq!(messages.messages(&head.key(), Range::Newest, 9, now).await.unwrap().len(), there);
        assert_eq!(messages.message(&head.key(), Seq::FIRST, now).await.unwrap().is_some(), there == 1);
    }
}

#[tokio::test]
async fn a_revision_replaces_what_a_message_holds_until_it_is_deleted() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    let (message, messages) = (stored("c", 1), tables.messages());
    let (head, record) = (head("c", 0, Visibility::Public), record(&message, "k"));
    let attempt = Append { record: Some(&record), ..unkeyed(&head, &message) };
    assert_eq!(messages.append(attempt).await.unwrap(), AppendResult::Stored);
    let revise = async |message: Message| {
        let revised = StoredMessage { message, trace: None, ..stored("c", 1) };
        messages.update_message(&reader(&channel), &revised, tables.next_number("c").await).await.unwrap()
    };

    let edited = Message { content: "better".into(), edited_at: Some(LATER), ..message.message.revised() };
    assert_eq!(revise(edited.clone()).await, UpdateResult::Done);
    assert_eq!(messages.message(&head.key(), Seq::FIRST, NOW).await.unwrap(), Some(edited.clone()));
    let late = Message { content: "late".into(), ..edited.clone() };
    assert_eq!(revise(late).await, UpdateResult::Stale, "another edit came first");
    assert_eq!(messages.message(&head.key(), Seq::FIRST, NOW).await.unwrap(), Some(edited.clone()));
    let tombstone = Message { content: String::new(), metadata: None, deleted_at: Some(LATER), ..edited.revised() };
    assert_eq!(revise(tombstone.clone()).await, UpdateResult::Done);
    assert_eq!(revise(tombstone.revised()).await, UpdateResult::MessageNotFound, "the message is deleted");
    assert_eq!(messages.message(&head.key(), Seq::FIRST, NOW).await.unwrap(), Some(tombstone));
    assert_eq!(
        revise(Message { seq: Seq::new(2), ..edited }).await,
        UpdateResult::MessageNotFound,
        "the message does not exist"
    );
    assert_eq!(messages.message(&head.key(), Seq::new(2), NOW).await.unwrap(), None);
}
