//! Events of changes of channels and members: the sockets that receive them, and the last frames of those that end.

use serde_json::json;

use super::*;
use crate::{
    app::channels::{Changes, ChosenChannelIds, Created, CreationRules},
    memory::StoredGate,
    testing::OpenSockets,
};

/// Channel of alice, with sockets of several users. Most of them have the names of their users.
struct Room {
    store: TestStore,
    sockets: OpenSockets,
    clock: PausedClock,
}

impl Room {
    async fn new(visibility: Visibility) -> Self {
        let store = TestStore::seeded(1, 0).with_channel(CHANNEL, visibility);
        let store = store.with_role(CHANNEL, "alice", MemberRole::Owner);
        let room = Self { store, sockets: OpenSockets::default(), clock: PausedClock::new(1) };
        room.open("alice", "alice", Asked::Memberships).await;
        room
    }

    async fn open(&self, id: &str, user: &str, asked: Asked) {
        self.sockets.open(&self.store, &self.clock, id, user, asked).await;
    }

    fn membership(&self) -> Membership<'_, TestStore, TestStore, OpenSockets, OpenSockets, PausedClock> {
        let Self { store, sockets, clock } = self;
        let deadline = clock.now().plus(Duration::from_mins(1));
        Membership { channels: store, connections: store, sockets, fan_out: sockets, clock, deadline }
    }

    async fn add(&self, caller: &str, who: &str, role: Option<MemberRole>) -> Added {
        let (channel, caller, user) = (CHANNEL.parse().unwrap(), caller.parse().unwrap(), who.parse().unwrap());
        self.membership().add(&channel, &caller, &user, role, Addition::Outright).await.unwrap()
    }

    async fn remove(&self, caller: &str, who: &str) {
        let (channel, caller, user) = (CHANNEL.parse().unwrap(), caller.parse().unwrap(), who.parse().unwrap());
        self.membership().remove(&channel, &caller, &user).await.unwrap();
    }

    async fn change(&self, changes: Changes) -> Channel {
        let (channel, alice) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap());
        self.membership().change_channel(&channel, &alice, None, &changes).await.unwrap().0
    }
}

#[tokio::test(start_paused = true)]
async fn members_of_a_channel_hear_of_members_and_so_does_the_new_one() {
    let room = Room::new(Visibility::Private).await;
    for who in ["bob", "carol"] {
        room.open(who, who, Asked::Memberships).await;
    }
    let Added::Joined { member, added: true } = room.add("alice", "bob", None).await else { panic!() };
    for who in ["alice", "bob"] {
        let [frame] = <[_; 1]>::try_from(room.sockets.frames(who)).unwrap();
        let expected = json!({ "type": "member.joined", "channel_id": CHANNEL, "member": member });
        assert_eq!(frame, expected, "{who}");
    }
    room.add("alice", "bob", None).await;
    assert_eq!(room.sockets.types("alice"), [""; 0], "nothing was changed");
    room.add("alice", "bob", Some(MemberRole::Moderator)).await;
    for who in ["alice", "bob"] {
        let [frame] = <[_; 1]>::try_from(room.sockets.frames(who)).unwrap();
        assert_eq!(
            (&frame["type"], &frame["member"]["role"]),
            (&"member.updated".into(), &"moderator".into()),
            "{who}"
        );
    }
    assert_eq!(room.sockets.types("carol"), [""; 0], "no member");
}

#[tokio::test(start_paused = true)]
async fn a_removed_user_hears_of_it_and_why_the_socket_ends() {
    let room = Room::new(Visibility::Private).await;
    room.open("bob", "bob", Asked::Memberships).await;
    room.add("alice", "bob", None).await;
    room.sockets.frames("alice");
    room.sockets.frames("bob");
    room.remove("alice", "bob").await;
    let removed = json!({ "type": "member.removed", "channel_id": CHANNEL, "user_id": "bob" });
    let closing = json!({ "type": "closing", "reason": "removed", "reconnect": true });
    assert_eq!(room.sockets.frames("bob"), [removed.clone(), closing]);
    assert_eq!(room.sockets.frames("alice"), [removed]);
    assert!(room.sockets.is_closed("bob") && !room.sockets.is_closed("alice"));

    // The next socket of the user receives nothing of the channel.
    room.open("bob2", "bob", Asked::Memberships).await;
    room.change(Changes { name: Some("Renamed".to_owned()), ..Changes::default() }).await;
    assert_eq!((room.sockets.types("alice").len(), room.sockets.types("bob2").len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_settings_is_for_all_who_may_still_see_the_channel() {
    let room = Room::new(Visibility::Public).await;
    room.open("bob", "bob", Asked::Channels(vec![CHANNEL.parse().unwrap()])).await;
    let changed = room.change(Changes { name: Some("Renamed".to_owned()), ..Changes::default() }).await;
    for who in ["alice", "bob"] {
        let [frame] = <[_; 1]>::try_from(room.sockets.frames(who)).unwrap();
        let expected = json!({ "type": "channel.updated", "channel_id": CHANNEL, "channel": changed });
        assert_eq!(frame, expected, "{who}");
    }
    room.change(Changes { name: Some("Renamed".to_owned()), ..Changes::default() }).await;
    assert_eq!(room.sockets.types("alice"), [""; 0], "nothing was changed");
    room.change(Changes { visibility: Some(Visibility::Private), ..Changes::default() }).await;
    assert_eq!(room.sockets.types("alice"), ["channel.updated"]);
    assert_eq!(room.sockets.types("bob"), ["closing"], "a stranger");
    assert!(room.sockets.is_closed("bob"));
}

#[tokio::test(start_paused = true)]
async fn every_socket_of_a_deleted_channel_hears_of_it_before_it_is_closed() {
    let room = Room::new(Visibility::Public).await;
    room.open("bob", "bob", Asked::Channels(vec![CHANNEL.parse().unwrap()])).await;
    room.membership().delete_channel(&CHANNEL.parse().unwrap(), &"alice".parse().unwrap(), None).await.unwrap();
    for who in ["alice", "bob"] {
        assert_eq!(room.sockets.types(who), ["channel.deleted", "closing"]);
        assert!(room.sockets.is_closed(who));
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_whom_the_gate_refused_before_a_deletion_does_not_hear_of_it() {
    let room = Room::new(Visibility::Public).await;
    room.open("bob", "bob", Asked::Channels(vec![CHANNEL.parse().unwrap()])).await;
    room.add("alice", "carol", None).await;
    room.open("carol", "carol", Asked::Memberships).await;
    // The subscriptions of a stranger and of a former member are still to be ended.
    let expires_at = room.clock.now().plus(Duration::from_hours(1));
    let gate = StoredGate { closed: false, private: true, expires_at };
    room.store.state().gates.insert(key(CHANNEL), gate);
    room.store.state().blocked.entry(key(CHANNEL)).or_default().insert("carol".parse().unwrap(), expires_at);
    for who in ["alice", "bob", "carol"] {
        room.sockets.frames(who);
    }
    room.membership().delete_channel(&CHANNEL.parse().unwrap(), &"alice".parse().unwrap(), None).await.unwrap();
    assert_eq!(room.sockets.types("alice"), ["channel.deleted", "closing"]);
    for who in ["bob", "carol"] {
        assert_eq!(room.sockets.types(who), ["closing"], "{who}");
        assert!(room.sockets.is_closed(who), "{who}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_closed_without_receiving_the_channel_learns_nothing_of_it() {
    let room = Room::new(Visibility::Private).await;
    room.add("alice", "bob", None).await;
    // Its handshake may not have ended.
    room.open("bob", "bob", Asked::Channels(Vec::new())).await;
    room.remove("alice", "bob").await;
    assert_eq!(room.sockets.types("bob"), ["closing"]);
    assert!(room.sockets.is_closed("bob"));
}

#[tokio::test(start_paused = true)]
async fn a_creator_hears_of_the_channel_on_every_socket_that_follows() {
    let room = Room::new(Visibility::Private).await;
    room.open("bob", "bob", Asked::Memberships).await;
    let new = invited::room(Some("made"), Visibility::Public);
    let rules = CreationRules { chosen_ids: ChosenChannelIds::Any, channels_per_user: 9 };
    let created = room.membership().create_channel(&"alice".parse().unwrap(), new, None, rules).await.unwrap();
    let Created::New { channel, .. } = created else { panic!("{created:?}") };
    let expected = json!({ "type": "channel.created", "channel_id": "made", "channel": channel });
    assert_eq!(room.sockets.frames("alice"), [expected]);
    assert_eq!(room.sockets.types("bob"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_change_succeeds_though_its_event_cannot_be_sent() {
    let room = Room::new(Visibility::Public).await;
    room.sockets.break_down();
    room.add("bob", "bob", None).await;
    let changed = room.change(Changes { name: Some("Renamed".to_owned()), ..Changes::default() }).await;
    assert_eq!(changed.name, "Renamed");
    assert_eq!(room.sockets.types("alice"), [""; 0]);
}
