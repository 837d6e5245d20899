//! Whole erasures: what is gone, what stays, what live clients see, and that an interrupted erasure ends the same way.

use std::time::Duration;

use super::*;
use crate::{
    app::{
        audit::testing::Audit,
        connect::Asked,
        send::{SendCache, SendMessage, send},
    },
    memory::{CallFault, Hook, MemoryStore},
    model::{
        channel::{MemberRole, Visibility},
        error::ChatError,
        id::MessageId,
        message::{Change, NewMessage},
        message_ref::MessageRef,
        reaction::Toggle,
        ticket_digest::TicketDigest,
        user_item::{Extent, alias},
    },
    ports::{
        message_store::RecordKey,
        ticket_store::{Ticket, TicketStore},
    },
    testing::{OpenSockets, PausedClock, TestStore, channel_messages, key},
};

/// Text that only messages of alice, and replies to them, have.
const SECRET: &str = "4711-secret";

struct World {
    store: TestStore,
    sockets: OpenSockets,
    clock: PausedClock,
}

async fn say<H: Hook>(
    store: &MemoryStore<H>,
    clock: &PausedClock,
    role: Role,
    sender: &str,
    text: &str,
    to: Option<u64>,
) {
    let key = RecordKey::Request {
        sender_id: sender.parse().unwrap(),
        key: format!("{:x}", clock.random()).parse().unwrap(),
    };
    let message = SendMessage {
        channel_id: "c".parse().unwrap(),
        sender_id: sender.parse().unwrap(),
        role,
        draft: NewMessage { content: text.to_owned(), reply_to: to.map(Seq::new), ..NewMessage::default() },
        agent: None,
        record_key: (role == Role::User).then_some(key),
        incarnation: None,
        bucket: None,
        trace: None,
    };
    send(store, clock, message, &mut SendCache::default()).await.unwrap();
}

/// Makes a channel in which alice, bob and the agent have written: messages 1, 3 and 6 are of alice.
async fn world() -> World {
    let store = TestStore::seeded(1, 0)
        .with_channel("c", Visibility::Private)
        .with_role("c", "olga", MemberRole::Owner)
        .with_member("c", "alice")
        .with_member("c", "bob");
    store.state().channels.values_mut().for_each(|channel| channel.created_by = "alice".parse().unwrap());
    let (sockets, clock) = (OpenSockets::default(), PausedClock::new(1));
    say(&store, &clock, Role::User, "alice", SECRET, None).await;
    say(&store, &clock, Role::Agent, "agent", &format!("you said {SECRET}"), Some(1)).await;
    say(&store, &clock, Role::User, "alice", &format!("again {SECRET}"), None).await;
    say(&store, &clock, Role::User, "bob", "hi @alice", None).await;
    say(&store, &clock, Role::Agent, "agent", "hi bob", Some(4)).await;
    say(&store, &clock, Role::User, "alice", &format!("last {SECRET}"), Some(4)).await;
    let revision = MessageRef {
        channel_id: "c".parse().unwrap(),
        seq: Seq::new(4),
        caller: "alice".parse().unwrap(),
        trace: None,
    };
    for emoji in ["👍", "🎉"] {
        channel_messages(&store, &clock).react(&revision, &emoji.parse().unwrap(), Toggle::Add).await.unwrap();
    }
    sockets.open(&store, &clock, "a=", "alice", Asked::Memberships).await;
    sockets.open(&store, &clock, "b=", "bob", Asked::Memberships).await;
    let later = clock.now().plus(Duration::from_hours(1));
    let ticket = Ticket {
        user_id: "alice".parse().unwrap(),
        tenant: None,
        channels: None,
        allowed_channels: None,
        token_expires_at: later,
        expires_at: later,
    };
    store.keep(&TicketDigest::of("t"), &ticket).await.unwrap();
    World { store, sockets, clock }
}

fn request(world: &World, extent: Extent) -> ErasureRequest {
    let alias = alias(MessageId::generate(world.clock.seed())).unwrap();
    ErasureRequest { user_id: "alice".parse().unwrap(), alias, extent, heir: None }
}

type InMemory<'a, H> =
    Erasure<'a, MemoryStore<H>, MemoryStore<H>, MemoryStore<H>, OpenSockets, OpenSockets, MemoryStore<H>, PausedClock>;

fn erasure<'a, H: Hook>(store: &'a MemoryStore<H>, world: &'a World) -> InMemory<'a, H> {
    let (sockets, clock) = (&world.sockets, &world.clock);
    let deadline = clock.now().plus(Duration::from_hours(1));
    Erasure {
        membership: Membership { channels: store, connections: store, sockets, fan_out: sockets, clock, deadline },
        messages: channel_messages(store, clock),
        items: store,
    }
}

/// Runs an erasure to its end. A step that fails is repeated, from the stored progress.
async fn erase<H: Hook>(store: &MemoryStore<H>, world: &World, request: ErasureRequest) -> (Progress, Step) {
    let mut stored = serde_json::to_string(&Progress::new(request)).unwrap();
    for _ in 0..10_000 {
        let mut progress: Progress = serde_json::from_str(&stored).unwrap();
        let step = erasure(store, world).step(&mut progress).await;
        stored = serde_json::to_string(&progress).unwrap();
        match step {
            Ok(Step::More) | Err(ChatError::Store(_) | ChatError::Contended { .. }) => {}
            Ok(step) => return (progress, step),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the erasure does not end");
}

/// Returns the whole state as text: without the stream, which keeps what was written, without pending ends, which the
/// maintenance function finishes, and without empty maps, which a table does not have.
fn dump(world: &World) -> String {
    let mut state = world.store.state().clone();
    state.stream.clear();
    state.pending.clear();
    state.user_connections.retain(|_, all| !all.is_empty());
    state.listed.retain(|_, all| !all.is_empty());
    format!("{state:?}")
}

#[tokio::test(start_paused = true)]
async fn the_content_is_gone_and_numbers_and_others_stay() {
    let world = world().await;
    let before = world.store.all();
    let (progress, step) = erase(&world.store, &world, request(&world, Extent::Content)).await;
    assert_eq!((step, progress.is_clean()), (Step::Done, true));
    assert!(!dump(&world).contains(SECRET));
    let expected = Erased { messages: 3, replies: 1, reactions: 2, memberships: 1, connections: 1, ..progress.erased };
    assert_eq!(progress.erased, expected);
    assert!(progress.erased.items >= 4, "the ticket and three idempotency records: {:?}", progress.erased);
    let after = world.store.all();
    let numbers = |messages: &[crate::model::message::Message]| messages.iter().map(|one| one.seq).collect::<Vec<_>>();
    assert_eq!(numbers(&after), numbers(&before));
    let live: Vec<&str> = after.iter().filter(|one| one.deleted_at.is_none()).map(|one| one.content.as_str()).collect();
    assert_eq!(live, ["hi @alice", "hi bob"], "the message of another that names her stays, and so does its reply");
    assert!(after.iter().filter(|one| one.deleted_at.is_some()).all(|one| one.content.is_empty()));
    assert_eq!(after[3].reactions.len(), 0);
    let state = world.store.state();
    assert!(state.member(&key("c"), &"alice".parse().unwrap()).is_none());
    assert!(state.member(&key("c"), &"bob".parse().unwrap()).is_some());
    assert!(state.tickets.is_empty() && state.connections.len() == 1);
}

#[tokio::test(start_paused = true)]
async fn live_clients_receive_tombstones_as_changes_without_a_gap() {
    let world = world().await;
    let from = world.store.state().stream.len();
    let last = world.store.state().last_change(&key("c"));
    erase(&world.store, &world, request(&world, Extent::Content)).await;
    let state = world.store.state();
    let changes: Vec<_> = state.stream[from..].iter().map(|record| &record.event).collect();
    let deleted = changes.iter().filter(|event| event.change == Change::Deleted).count();
    let reacted = changes.iter().filter(|event| matches!(event.change, Change::Reacted(_))).count();
    assert_eq!((deleted, reacted, changes.len()), (4, 2, 6));
    let revs: Vec<u64> = changes.iter().map(|event| event.stored.rev.get()).collect();
    let expected: Vec<u64> = (1..=6).map(|step| last.get() + step).collect();
    assert_eq!(revs, expected);
    drop(state);
    let frames = world.sockets.types("a=");
    assert_eq!(frames.last().map(String::as_str), Some("closing"), "the erased user's own socket: {frames:?}");
    assert!(world.sockets.types("b=").contains(&"member.removed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_id_is_gone_too_if_it_is_asked_for() {
    let world = world().await;
    let request = request(&world, Extent::ContentAndId);
    let (progress, step) = erase(&world.store, &world, request.clone()).await;
    assert_eq!((step, progress.is_clean(), progress.erased.mentions), (Step::Done, true, 1));
    assert!(!dump(&world).contains("alice"), "{}", dump(&world));
    let all = world.store.all();
    assert_eq!(all[0].sender_id, request.alias);
    assert_eq!(all[3].content, format!("hi @{}", request.alias));
    assert_eq!(world.store.state().channels.values().next().unwrap().created_by, request.alias);
}

/// Hook that fails every few calls, before or after their effect.
struct Failing(std::sync::Mutex<u32>, u32);

impl Hook for Failing {
    async fn before(&self, _: crate::memory::Call) -> CallFault {
        let mut calls = self.0.lock().unwrap();
        *calls += 1;
        if calls.is_multiple_of(self.1) { CallFault::Fails } else { CallFault::Arrives }
    }

    async fn after(&self, _: crate::memory::Call) -> bool {
        !(*self.0.lock().unwrap() + 1).is_multiple_of(self.1)
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_erasure_continues_and_erases_the_same() {
    for every in [23, 41, 97] {
        let world = world().await;
        let last = world.store.state().last_change(&key("c"));
        let failing = world.store.through(Failing(std::sync::Mutex::new(0), every));
        let (progress, step) = erase(&failing, &world, request(&world, Extent::ContentAndId)).await;
        assert_eq!((step, progress.is_clean()), (Step::Done, true), "every {every}");
        let text = dump(&world);
        assert!(!text.contains("alice") && !text.contains(SECRET), "every {every}: {text}");
        let changes = world.store.state().last_change(&key("c")).get() - last.get();
        assert_eq!(changes, 7, "every {every}: each change once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_writes_during_the_erasure_is_reported() {
    let world = world().await;
    let mut progress = Progress::new(request(&world, Extent::Content));
    let step = loop {
        match erasure(&world.store, &world).step(&mut progress).await.unwrap() {
            // A pass has ended, and the next one finds the message.
            Step::More if progress.position.is_none() => {
                // Public, so that a token which is still valid suffices.
                world.store.state().channels.values_mut().for_each(|one| one.visibility = Visibility::Public);
                let text = format!("{SECRET} {} {}", progress.pass, progress.read);
                say(&world.store, &world.clock, Role::User, "alice", &text, None).await;
            }
            Step::More => {}
            step => break step,
        }
    };
    assert_eq!((step, progress.pass), (Step::StillWritten, ERASURE_PASSES));
}

#[tokio::test(start_paused = true)]
async fn an_only_owner_is_replaced_and_the_change_is_recorded() {
    let world = world().await;
    let (audit, olga, alice) = (Audit::default(), "olga".parse().unwrap(), "alice".parse().unwrap());
    {
        let mut state = world.store.state();
        let members = state.members.get_mut(&key("c")).unwrap();
        members.get_mut(&alice).unwrap().role = MemberRole::Owner;
        members.get_mut(&olga).unwrap().role = MemberRole::Member;
    }
    let recording = audit.begin();
    erase(&world.store, &world, request(&world, Extent::Content)).await;
    drop(recording);
    let bob = "bob".parse().unwrap();
    let state = world.store.state();
    assert_eq!(state.member(&key("c"), &bob).map(|member| member.role), Some(MemberRole::Owner), "by the id");
    assert_eq!(state.member(&key("c"), &alice), None);
    assert_eq!(audit.take().len(), 2, "the role of bob, and the end of the membership");
}

#[tokio::test(start_paused = true)]
async fn a_channel_of_the_user_alone_is_deleted_or_gets_an_heir() {
    for (visibility, heir, is_left, owner) in [
        (Visibility::Private, None, false, None),
        (Visibility::Public, None, true, Some("alice")),
        (Visibility::Public, Some("hella"), false, Some("hella")),
    ] {
        let store = TestStore::seeded(1, 0).with_channel("c", visibility).with_role("c", "alice", MemberRole::Owner);
        let world = World { store, sockets: OpenSockets::default(), clock: PausedClock::new(1) };
        say(&world.store, &world.clock, Role::User, "alice", SECRET, None).await;
        let heir = heir.map(|heir: &str| heir.parse().unwrap());
        let request = ErasureRequest { heir, ..request(&world, Extent::Content) };
        let (progress, step) = erase(&world.store, &world, request).await;
        assert_eq!((step, progress.ownerless.len() == 1), (Step::Done, is_left), "{visibility:?}");
        assert!(!dump(&world).contains(SECRET), "{visibility:?}");
        let state = world.store.state();
        let found = state.members.get(&key("c")).into_iter().flatten().next();
        assert_eq!(found.map(|(user, _)| user.as_str()), owner, "{visibility:?}");
        assert_eq!(state.channels.is_empty(), visibility == Visibility::Private);
    }
}

#[tokio::test(start_paused = true)]
async fn an_export_has_each_thing_of_the_user_once() {
    let world = world().await;
    let exporter = Exporter { items: &world.store, clock: &world.clock };
    let alice = "alice".parse().unwrap();
    let (mut lines, mut from) = (vec![exporter.header(&alice)], None);
    loop {
        let page = exporter.page(&alice, from.as_ref()).await.unwrap();
        lines.extend(page.lines);
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    let json: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::to_value(line).unwrap()).collect();
    let kinds: Vec<&str> = json.iter().map(|line| line["type"].as_str().unwrap()).collect();
    let expected =
        ["user", "connection", "read_mark", "membership", "message", "message", "reaction", "reaction", "message"];
    let sorted = |kinds: &[&str]| {
        let mut kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(sorted(&kinds), sorted(&expected), "{json:?}");
    assert_eq!(json[0]["version"], 1);
    let messages: Vec<&str> = json
        .iter()
        .filter_map(|line| line["message"]["content"].as_str())
        .filter(|text| text.contains(SECRET))
        .collect();
    assert_eq!(messages.len(), 3);
}
