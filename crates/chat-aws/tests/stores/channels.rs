//! Channels: members, owners and settings.

use super::*;

#[tokio::test]
async fn channels_have_members() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let created = tables.channel("a", Visibility::Public).await;
    assert_eq!(
        channels.create(&created, &member("a", "bob", MemberRole::Owner), None, MANY).await.unwrap(),
        ChannelCreated::Taken
    );
    assert_eq!(channels.channel(&created.channel_id).await.unwrap(), Some(created.clone()));
    tables.channel("b", Visibility::Private).await;
    tables.channel("c", Visibility::Public).await;

    let bob = member("a", "bob", MemberRole::Member);
    tables.join(&created, &bob).await;
    let again = channels.add_member(&reader(&created), &bob, Seq::ZERO).await.unwrap();
    assert_eq!(again, MemberAdded::Already(bob.clone()));
    assert_eq!(channels.member(&key("a"), &bob.user_id).await.unwrap(), Some(bob.clone()));

    let own = tables.own("alice").await;
    assert_eq!(own.iter().map(|channel| channel.channel_id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(tables.own("nobody").await.is_empty());
    let of_bob = channels.memberships_among(&bob.user_id, &["a", "b", "a"].map(key)).await.unwrap();
    assert_eq!(of_bob, std::slice::from_ref(&bob), "a channel may be named twice");

    assert_eq!(channels.memberships(&user("alice"), 9).await.unwrap().channels, ["a", "b", "c"].map(key));
    // Channels that a user chose at the same time have no order.
    let some = channels.memberships(&user("alice"), 1).await.unwrap();
    assert_eq!((some.channels, some.left_out), (vec![key("c")], 2));

    let first = channels.members(&key("a"), None, 1).await.unwrap();
    assert_eq!(first.members, [member("a", "alice", MemberRole::Owner)]);
    let rest = channels.members(&key("a"), first.next_after.as_ref(), 1).await.unwrap();
    assert_eq!((rest.members, rest.next_after), (vec![bob.clone()], None));
    let among = ["bob", "alice", "nobody", "bob"].map(user);
    let mut among = channels.members_among(&key("a"), &among).await.unwrap();
    among.sort_unstable_by(|one, other| one.user_id.cmp(&other.user_id));
    assert_eq!(among, [member("a", "alice", MemberRole::Owner), bob.clone()]);
    assert!(channels.members_among(&key("a"), &[]).await.unwrap().is_empty());

    let remove = async || channels.remove_member(&with(&created, &bob), &bob, &removal(&bob), NOW).await.unwrap();
    assert_eq!(remove().await, MemberChanged::Done);
    assert_eq!(remove().await, MemberChanged::Stale);
    assert!(channels.memberships(&user("bob"), 9).await.unwrap().channels.is_empty());
}

#[tokio::test]
async fn a_channel_keeps_an_owner_when_all_leave_at_once() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let channel = tables.channel("a", Visibility::Public).await;
    let alice = member("a", "alice", MemberRole::Owner);
    let remove = async |owner: &Member| {
        channels.remove_member(&with(&channel, owner), owner, &removal(owner), NOW).await.unwrap()
    };
    let change =
        async |by: &Member, of: &Member, role| channels.change_role(&with(&channel, by), of, role).await.unwrap();
    assert_eq!(remove(&alice).await, MemberChanged::LastOwner);
    assert_eq!(change(&alice, &alice, MemberRole::Member).await, MemberChanged::LastOwner);

    let bob = member("a", "bob", MemberRole::Member);
    tables.join(&channel, &bob).await;
    assert_eq!(change(&alice, &bob, MemberRole::Owner).await, MemberChanged::Done);
    assert_eq!(change(&alice, &bob, MemberRole::Owner).await, MemberChanged::Stale, "no longer a member");
    let carol = member("a", "carol", MemberRole::Owner);
    assert_eq!(channels.add_member(&with(&channel, &alice), &carol, Seq::ZERO).await.unwrap(), MemberAdded::Added);

    let owners = [alice, member("a", "bob", MemberRole::Owner), carol];
    let mut left = Vec::new();
    while left.len() < 2 {
        let ends = futures::future::join_all(owners.iter().map(&remove)).await;
        left.extend(ends.into_iter().filter(|end| *end == MemberChanged::Done));
    }
    assert_eq!(left.len(), 2);
    let last = channels.members(&key("a"), None, 9).await.unwrap().members;
    assert_eq!(last.len(), 1);
    assert_eq!(remove(&last[0]).await, MemberChanged::LastOwner);
}

#[tokio::test]
async fn settings_change_from_one_version_to_the_next_and_appends_notice() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let created = tables.channel("c", Visibility::Public).await;
    let head = head("c", 0, Visibility::Public);
    let changed = Channel {
        name: "Changed".into(),
        visibility: Visibility::Private,
        archived_at: Some(NOW),
        read_receipts: true,
        retention_days: Some(7),
        ..created.clone()
    };
    let changed = tables.change(&created, changed).await;
    assert!(!channels.update(&reader(&created), &changed, None, NOW).await.unwrap(), "the version is stale");
    assert_eq!(channels.channel(&created.channel_id).await.unwrap(), Some(changed.clone()));
    let AppendResult::Stale { head: Some(now), .. } = tables.append(&head, "a", None, NOW).await else {
        panic!("appended")
    };
    assert_eq!(now, ChannelHead::from(&changed));
    assert!(now.archived);

    let restored = tables
        .change(&changed, Channel { archived_at: None, read_receipts: false, retention_days: None, ..changed.clone() })
        .await;
    assert_eq!(channels.channel(&created.channel_id).await.unwrap(), Some(restored));
}

/// Returns the only channel with its instructions.
async fn told(channels: &DynamoChannels, id: &str) -> Channel {
    let found = channels.channel(&channel_id(id)).await.unwrap().unwrap();
    channels.with_instructions(vec![found]).await.unwrap().pop().unwrap()
}

#[tokio::test]
async fn instructions_in_the_item_of_a_channel_count_until_its_settings_change() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    tables.channel("c", Visibility::Public).await;
    // An earlier version of the functions wrote them there.
    let attributes = [("mode", "mention"), ("instructions", "be brief")];
    let agent = attributes.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())));
    let update =
        tables.client.update_item().table_name("chat_channels").key("channel_id", AttributeValue::S("c".into()));
    update
        .key("sk", AttributeValue::S("meta".into()))
        .update_expression("SET #agent = :agent REMOVE has_instructions")
        .expression_attribute_names("#agent", "agent")
        .expression_attribute_values(":agent", AttributeValue::M(HashMap::from(agent)))
        .send()
        .await
        .unwrap();
    let found = channels.channel(&channel_id("c")).await.unwrap().unwrap();
    assert_eq!(found.agent.instructions, Instructions::Text("be brief".to_owned()));
    assert_eq!(told(&channels, "c").await, found, "nothing is left to read");

    let renamed = tables.change(&found, Channel { name: "Other".to_owned(), ..found.clone() }).await;
    let items = tables.dump().await;
    let item = |sk: &str| items.get(&("chat_channels", "c".to_owned(), sk.to_owned()));
    assert!(!format!("{:?}", item("meta")).contains("be brief"), "they are stored twice");
    assert_eq!(channels.channel(&channel_id("c")).await.unwrap(), Some(renamed.clone().without_instructions()));
    assert_eq!(told(&channels, "c").await, renamed);

    let agent = AgentSettings { instructions: Instructions::None, ..renamed.agent.clone() };
    let removed = tables.change(&renamed, Channel { agent, ..renamed.clone() }).await;
    assert_eq!(told(&channels, "c").await, removed);
    assert!(tables.dump().await.keys().all(|(_, _, sk)| sk != "instructions"), "they stay beside the channel");
}
