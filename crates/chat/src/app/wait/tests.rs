//! Requests that wait: until something is there, until the time is over, and as often as a user may.

use futures::future::join;

use super::*;
use crate::{
    app::{
        history::Shown,
        send::{SendCache, SendMessage, send},
    },
    model::{
        channel::Visibility,
        error::ChatError,
        message::{NewMessage, Role},
        message_ref::MessageRef,
        reaction::Toggle,
        seq::Seq,
    },
    ports::message_store::Selection,
    testing::{PausedClock, TestStore, channel_messages},
};

/// Private channel of alice and bob.
struct World {
    store: TestStore,
    clock: PausedClock,
}

/// Time after which something happens in the tests.
const MEANWHILE: Duration = Duration::from_millis(1_200);

const LONG: Duration = Duration::from_secs(20);

impl World {
    fn new() -> Self {
        let store = TestStore::seeded(1, 0)
            .with_channel("c", Visibility::Private)
            .with_member("c", "alice")
            .with_member("c", "bob");
        Self { store, clock: PausedClock::new(1) }
    }

    async fn send_in(&self, thread_seq: Option<u64>) {
        let message = SendMessage {
            channel_id: "c".parse().unwrap(),
            sender_id: "alice".parse().unwrap(),
            role: Role::User,
            draft: NewMessage {
                content: "hi".to_owned(),
                thread_seq: thread_seq.map(Seq::new),
                ..NewMessage::default()
            },
            agent: None,
            record_key: None,
            incarnation: None,
            bucket: None,
            trace: None,
        };
        send(&self.store, &self.clock, message, &mut SendCache::default()).await.unwrap();
    }

    async fn react(&self) {
        let revision = MessageRef {
            channel_id: "c".parse().unwrap(),
            seq: Seq::FIRST,
            caller: "alice".parse().unwrap(),
            trace: None,
        };
        let messages = channel_messages(&self.store, &self.clock);
        messages.react(&revision, &"👍".parse().unwrap(), Toggle::Add).await.unwrap();
    }

    async fn page(&self, request: PageRequest, wait: Duration) -> Result<HistoryPage> {
        let messages = channel_messages(&self.store, &self.clock);
        messages.page_or_wait(&"c".parse().unwrap(), &"bob".parse().unwrap(), request, wait).await
    }

    async fn changes(&self, after: u64, wait: Duration) -> Result<ChangesPage> {
        let messages = channel_messages(&self.store, &self.clock);
        messages.changes_or_wait(&"c".parse().unwrap(), &"bob".parse().unwrap(), Rev::new(after), 10, wait).await
    }
}

fn after(seq: u64) -> PageRequest {
    PageRequest::of_history(Range::After(Seq::new(seq)), 10)
}

fn seqs(page: &HistoryPage) -> Vec<u64> {
    page.messages.iter().map(|message| message.seq.get()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_when_a_message_or_a_change_is_there() {
    let world = World::new();
    let sent = async {
        world.clock.sleep(MEANWHILE).await;
        world.send_in(None).await;
    };
    let (page, ()) = join(world.page(after(0), LONG), sent).await;
    assert_eq!(seqs(&page.unwrap()), [1]);
    let took = world.clock.monotonic();
    assert!(took >= MEANWHILE && took <= MEANWHILE + Duration::from_millis(1_100), "{took:?}");

    let began = world.clock.monotonic();
    let reacted = async {
        world.clock.sleep(MEANWHILE).await;
        world.react().await;
    };
    let (page, ()) = join(world.changes(0, LONG), reacted).await;
    let page = page.unwrap();
    assert_eq!((page.changes.len(), page.changes[0].rev, page.rev), (1, Rev::FIRST, Rev::FIRST));
    let took = world.clock.monotonic().saturating_sub(began);
    assert!(took >= MEANWHILE && took <= MEANWHILE + Duration::from_millis(1_100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_something_does_not_wait() {
    let world = World::new();
    world.send_in(None).await;
    world.react().await;
    let began = world.clock.monotonic();
    assert_eq!(seqs(&world.page(after(0), LONG).await.unwrap()), [1]);
    assert_eq!(world.changes(0, LONG).await.unwrap().changes.len(), 1);
    let newest = PageRequest::of_history(Range::Before(Seq::FIRST), 10);
    assert_eq!(seqs(&world.page(newest, LONG).await.unwrap()), [0_u64; 0], "nothing comes before the first message");
    let unknown = world.changes(9, LONG).await;
    assert!(matches!(unknown, Err(ChatError::ChangesExpired)), "{unknown:?}");
    assert_eq!(world.clock.monotonic(), began);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_nothing_ends_with_its_time() {
    let world = World::new();
    for wait in [Duration::ZERO, Duration::from_millis(100), Duration::from_secs(3)] {
        for is_page in [true, false] {
            let began = world.clock.monotonic();
            if is_page {
                assert_eq!(seqs(&world.page(after(0), wait).await.unwrap()), [0_u64; 0]);
            } else {
                assert_eq!(world.changes(0, wait).await.unwrap(), ChangesPage::default());
            }
            let took = world.clock.monotonic().saturating_sub(began);
            assert!(took >= wait && took <= wait + Duration::from_millis(20), "{took:?} of {wait:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_page_does_not_show_ends_no_wait() {
    let world = World::new();
    world.send_in(None).await;
    let thread = PageRequest {
        shown: Shown::Part(Selection::Thread(Seq::FIRST)),
        place: Place::From(Range::After(Seq::ZERO)),
        limit: 10,
    };
    let sent = async {
        for thread_seq in [None, Some(1)] {
            world.clock.sleep(Duration::from_secs(2)).await;
            world.send_in(thread_seq).await;
        }
    };
    let (page, ()) = join(world.page(thread, LONG), sent).await;
    assert_eq!(seqs(&page.unwrap()), [3]);
    assert!(world.clock.monotonic() < Duration::from_secs(6), "{:?}", world.clock.monotonic());
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_permission() {
    for is_page in [true, false] {
        let world = World::new();
        let removed = async {
            world.clock.sleep(MEANWHILE).await;
            world.store.state().members.clear();
        };
        let waits = async {
            if is_page { world.page(after(0), LONG).await.map(drop) } else { world.changes(0, LONG).await.map(drop) }
        };
        let (refused, ()) = join(waits, removed).await;
        assert!(matches!(refused, Err(ChatError::ChannelNotFound)), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_request_that_waits_takes_a_token() {
    let world = World::new();
    world.send_in(None).await;
    world.react().await;
    for number in 0..WAIT_BUCKET.burst {
        if number % 2 == 0 {
            world.page(after(0), LONG).await.unwrap();
        } else {
            world.changes(0, LONG).await.unwrap();
        }
    }
    let refused = world.page(after(0), LONG).await.map(drop);
    let Err(ChatError::TooManyRequests(quota)) = refused else { panic!("{refused:?}") };
    assert_eq!((quota.action, quota.bucket), ("wait", WAIT_BUCKET));
    let refused = world.changes(0, LONG).await.map(drop);
    assert!(matches!(refused, Err(ChatError::TooManyRequests(_))), "{refused:?}");
    for _ in 0..20 {
        world.page(after(0), Duration::ZERO).await.unwrap();
        world.changes(0, Duration::ZERO).await.unwrap();
    }
    world.clock.sleep(WAIT_BUCKET.every).await;
    world.page(after(0), LONG).await.unwrap();
}
