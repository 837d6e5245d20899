//! Lists of channels, and read marks.

use super::*;

async fn named(tables: &Tables, id: &str, name: &str, visibility: Visibility) -> Channel {
    let channel = Channel { name: name.into(), ..sample(id, visibility) };
    assert_eq!(
        tables.channels().create(&channel, &member(id, "alice", MemberRole::Owner), None, MANY).await.unwrap(),
        ChannelCreated::Done
    );
    channel
}

#[tokio::test]
async fn public_channels_are_found_by_the_beginning_of_their_names() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    for (id, name) in [("3", "General"), ("1", "general #2"), ("2", "Genie"), ("4", "Other"), ("5", "Ärzte")] {
        named(&tables, id, name, Visibility::Public).await;
    }
    named(&tables, "6", "General secrets", Visibility::Private).await;
    let find = async |prefix: &str, after: Option<&str>, limit| {
        let page = channels.public_channels(prefix, after, limit).await.unwrap();
        let ids: Vec<String> = page.channels.iter().map(|channel| channel.channel_id.to_string()).collect();
        (ids.join(""), page.next_after)
    };
    assert_eq!(find("", None, 9).await, ("13245".into(), None));
    assert_eq!(find("gen", None, 9).await.0, "132");
    assert_eq!(find("GENERAL", None, 9).await.0, "13");
    assert_eq!(find("ä", None, 9).await.0, "5");
    assert_eq!(find("x", None, 9).await.0, "");
    let (first, next) = find("gen", None, 2).await;
    assert_eq!((first.as_str(), find("gen", next.as_deref(), 2).await), ("13", ("2".into(), None)));
    assert_eq!(find("gen", Some("what nobody gave out"), 9).await.0, "132");
    for never_given_out in ["", "gen", "gen\u{10ffff}\u{10ffff}", &format!("gen{}", "x".repeat(2_000))] {
        assert_eq!(find("gen", Some(never_given_out), 9).await.0, "132", "{never_given_out:?}");
    }
    assert_eq!(find("gen", Some("gen\u{10ffff}"), 9).await.0, "132");
    assert_eq!(find("", Some(""), 9).await.0, "13245");
}

#[tokio::test]
async fn the_public_list_follows_names_and_visibility() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let created = named(&tables, "c", "Before", Visibility::Public).await;
    let names = async || -> Vec<String> {
        let page = channels.public_channels("", None, 9).await.unwrap();
        page.channels.into_iter().map(|channel| channel.name).collect()
    };
    let renamed = tables.change(&created, Channel { name: "After".into(), ..created.clone() }).await;
    assert_eq!(names().await, ["After"]);
    let hidden = tables.change(&renamed, Channel { visibility: Visibility::Private, ..renamed.clone() }).await;
    assert!(names().await.is_empty());
    tables.change(&hidden, Channel { visibility: Visibility::Public, ..hidden.clone() }).await;
    assert_eq!(names().await, ["After"]);
}

#[tokio::test]
async fn a_read_mark_never_goes_back() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let channel = tables.channel("c", Visibility::Public).await;
    for seq in 1..=5 {
        tables.put(&stored("c", seq)).await;
    }
    let bob = member("c", "bob", MemberRole::Member);
    assert_eq!(channels.add_member(&reader(&channel), &bob, Seq::new(2)).await.unwrap(), MemberAdded::Added);
    let place = (key("c"), user("bob"));
    let read = async || {
        let marks = channels.read_marks(&[place.clone(), place.clone()]).await.unwrap();
        assert_eq!(marks.len(), 1);
        marks[&place].get()
    };
    assert_eq!(read().await, 2);
    let mark =
        async |id: &str, seq| channels.mark_read(&key("c"), &user(id), Seq::new(seq)).await.unwrap().map(Seq::get);
    assert_eq!(mark("bob", 4).await, Some(4));
    assert_eq!(mark("bob", 3).await, Some(4));
    assert_eq!(mark("bob", 4).await, Some(4));
    assert_eq!(read().await, 4);
    assert_eq!(mark("mallory", 1).await, None);
    let marks = futures::future::join_all((1..=5).map(|seq| mark("alice", seq))).await;
    assert!(marks.iter().all(Option::is_some));
    assert_eq!(mark("alice", 0).await, Some(5), "the highest of concurrent marks");
}
