//! Events of read marks: the sockets that receive them.

use std::time::Duration;

use super::*;
use crate::{
    app::connect::Asked,
    model::{channel::Visibility, time::Timestamp},
    testing::{OpenSockets, PausedClock, TestStore, key},
};

const CHANNEL: &str = "c";

/// Channel of alice and bob, with two messages.
struct Room {
    store: TestStore,
    sockets: OpenSockets,
    clock: PausedClock,
}

impl Room {
    async fn new(read_receipts: bool) -> Self {
        let store = TestStore::seeded(1, 0).with_channel(CHANNEL, Visibility::Private);
        let store = store.with_channel("other", Visibility::Public);
        let store = store.with_member(CHANNEL, "alice").with_member(CHANNEL, "bob");
        let named = || Asked::Channels(vec![CHANNEL.parse().unwrap()]);
        store.state().channels.get_mut(&CHANNEL.parse::<ChannelId>().unwrap()).unwrap().read_receipts = read_receipts;
        store.state().channels.get_mut(&CHANNEL.parse::<ChannelId>().unwrap()).unwrap().last_seq = Seq::new(2);
        let room = Self { store, sockets: OpenSockets::default(), clock: PausedClock::new(1) };
        room.open("follows=", "bob", Asked::Memberships).await;
        room.open("named=", "bob", named()).await;
        room.open("elsewhere=", "bob", Asked::Channels(vec!["other".parse().unwrap()])).await;
        room.open("alices=", "alice", named()).await;
        room
    }

    async fn open(&self, id: &str, user: &str, asked: Asked) {
        self.sockets.open(&self.store, &self.clock, id, user, asked).await;
    }

    async fn mark(&self, seq: u64, most: usize) -> Result<Seq> {
        let Self { store, sockets, clock } = self;
        let deadline: Timestamp = clock.now().plus(Duration::from_mins(1));
        let delivery = Delivery { connections: store, sockets, fan_out: sockets, clock, deadline };
        let (channel, bob) = (CHANNEL.parse().unwrap(), "bob".parse().unwrap());
        mark_read(store, &delivery, &channel, &bob, Seq::new(seq), most).await
    }

    /// Returns the sockets that have received the mark `seq` of bob, and nothing else, since the last call.
    fn told(&self, seq: u64) -> Vec<&'static str> {
        let expected = serde_json::json!({
            "type": "read.updated", "channel_id": CHANNEL, "user_id": "bob", "read_seq": seq,
        });
        let mut told = Vec::new();
        for id in ["follows=", "named=", "elsewhere=", "alices="] {
            let frames = self.sockets.frames(id);
            assert!(frames.iter().all(|frame| *frame == expected), "{id}: {frames:?}");
            told.extend((frames.len() == 1).then_some(id));
        }
        told
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_is_for_the_users_own_sockets_that_receive_the_channel() {
    let room = Room::new(false).await;
    room.mark(2, 200).await.unwrap();
    assert_eq!(room.told(2), ["follows=", "named="]);
    assert_eq!(room.mark(1, 200).await.unwrap(), Seq::new(2));
    assert_eq!(room.told(1), [""; 0], "the mark has not moved");
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_for_the_whole_audience_unless_it_is_large() {
    let room = Room::new(true).await;
    room.mark(1, 3).await.unwrap();
    assert_eq!(room.told(1), ["follows=", "named=", "alices="]);
    room.mark(2, 2).await.unwrap();
    assert_eq!(room.told(2), ["follows=", "named="], "three sockets are too many");
}

#[tokio::test(start_paused = true)]
async fn a_mark_is_kept_though_it_cannot_be_sent() {
    let room = Room::new(true).await;
    room.sockets.break_down();
    assert_eq!(room.mark(2, 200).await.unwrap(), Seq::new(2));
    let kept = room.store.mark_read(&key(CHANNEL), &"bob".parse().unwrap(), Seq::ZERO).await.unwrap();
    assert_eq!(kept, Some(Seq::new(2)));
}
