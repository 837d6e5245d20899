//! The scan for the data of a user, and whole erasures: a dump of all tables shows the rest.

use std::time::Duration;

use chat::{
    app::{
        channel_messages::ChannelMessages,
        erasure::{Erasure, ErasureRequest, Progress, Step},
        membership::Membership,
    },
    memory::conformance::{Ports, check_user_items},
    model::{
        error::StoreError,
        id::TenantId,
        limits::CHANGE_DURATION,
        message_ref::MessageRef,
        reaction::Toggle,
        ticket_digest::TicketDigest,
        token_bucket::Bucket,
        user_item::{Extent, UserData, alias},
    },
    ports::{
        fan_out::{FanOut, PushBatch},
        message_store::ReactionResult,
        presence_store::PresenceStore,
        rate_limiter::{LimitedAction, RateLimiter},
        socket_gateway::{Pushed, SocketGateway},
        ticket_store::{Ticket, TicketStore},
        user_items::UserItems,
    },
};
use chat_aws::DynamoUserItems;

use super::*;

/// Text that only messages of alice have.
const SECRET: &str = "4711-secret";

/// Gateway without sockets.
struct NoSockets;

impl SocketGateway for NoSockets {
    async fn push(&self, _: &ConnectionId, _: &str) -> Result<Pushed, StoreError> {
        Ok(Pushed::Gone)
    }

    async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        Ok(false)
    }
}

impl FanOut for NoSockets {
    async fn dispatch(&self, _: &PushBatch) -> Result<(), StoreError> {
        panic!("so few recipients need no dispatch");
    }
}

impl Tables {
    fn user_items(&self) -> DynamoUserItems {
        DynamoUserItems::new(self.client.clone(), "chat_events", "chat_channels", "chat_connections")
    }
}

#[tokio::test]
async fn the_scan_keeps_the_laws() {
    let tables = Tables::new().await;
    let ports = Ports {
        channels: &tables.channels(),
        messages: &tables.messages(),
        connections: &tables.connections(),
        removal: &tables.deleted_channels(),
    };
    check_user_items(&ports, &tables.user_items(), NOW).await.unwrap();
}

/// Makes two channels of alice and bob with messages of both, and what else is stored of alice.
async fn fill(tables: &Tables) {
    for id in ["one", "two"] {
        let channel = tables.channel(id, Visibility::Private).await;
        tables.join(&channel, &Member { added_by: Some(user("alice")), ..member(id, "bob", MemberRole::Member) }).await;
        for seq in 1..=40 {
            let mut message = stored(id, seq);
            if seq % 4 == 0 {
                message.message.sender_id = user("bob");
                "ask @alice".clone_into(&mut message.message.content);
                message.message.metadata = json!({ "to": ["alice"] }).as_object().cloned();
            } else if seq % 4 == 3 {
                message.message.role = Role::Agent;
                message.message.sender_id = user("agent");
                message.message.reply_to = Some(Seq::new(seq - 1));
                message.message.content = format!("you said {SECRET}");
            } else {
                message.message.content = format!("{SECRET} {seq}");
            }
            tables.put(&message).await;
        }
        let reaction = MessageRef { channel_id: channel_id(id), seq: Seq::new(4), caller: user("alice"), trace: None };
        let number = tables.next_number(id).await;
        let emoji = "👍".parse().unwrap();
        let react = tables.messages();
        let reacted = react.react(&reader(&channel), &reaction, &emoji, Toggle::Add, number, NOW).await;
        assert_eq!(reacted.unwrap(), ReactionResult::Done);
    }
    let opened = connection("a=", 0, NOW);
    let opened = Connection { channels: vec![key("one"), key("two")], ..opened };
    tables.connections().register_pending(&opened).await.unwrap();
    tables.connections().activate(&opened, &opened.channels.iter().cloned().collect()).await.unwrap();
    let listener = announced(&opened).subscription(&user("alice"));
    let mark = Incarnation::generate(SystemClock.seed());
    assert!(tables.connections().set_listeners(&key("one"), None, &[listener], mark, NOW).await.unwrap());
    let ticket = Ticket {
        user_id: user("alice"),
        tenant: None,
        channels: Some(vec![key("one")]),
        allowed_channels: None,
        token_expires_at: LATER,
        expires_at: LATER,
    };
    tables.connections().keep(&TicketDigest::of("t"), &ticket).await.unwrap();
    let bucket = Bucket { every: Duration::from_secs(9), burst: 1 };
    tables.channels().take(&user("alice"), &LimitedAction::Create, bucket, NOW).await.unwrap().unwrap();
}

async fn erase(tables: &Tables, extent: Extent) -> Progress {
    let (channels, messages, connections) = (&tables.channels(), &tables.messages(), &tables.connections());
    let (sockets, clock, items) = (&NoSockets, &SystemClock, &tables.user_items());
    let erasure = Erasure {
        membership: Membership { channels, connections, sockets, fan_out: sockets, clock, deadline: LATER },
        messages: ChannelMessages { channels, messages, clock, change_duration: CHANGE_DURATION },
        items,
    };
    let alias = alias(MessageId::generate(SystemClock.seed())).unwrap();
    let mut progress = Progress::new(ErasureRequest { user_id: user("alice"), alias, extent, heir: None });
    loop {
        // As a process does that was killed after each step.
        progress = serde_json::from_str(&serde_json::to_string(&progress).unwrap()).unwrap();
        match erasure.step(&mut progress).await.unwrap() {
            Step::More => {}
            step => {
                assert_eq!((step, progress.is_clean()), (Step::Done, true), "{progress:?}");
                return progress;
            }
        }
    }
}

#[tokio::test]
async fn no_byte_of_the_content_or_of_the_id_is_left() {
    for extent in [Extent::Content, Extent::ContentAndId] {
        let tables = Tables::new().await;
        fill(&tables).await;
        let last = tables.last_rev("one").await;
        let progress = erase(&tables, extent).await;
        assert_eq!((progress.erased.messages, progress.erased.replies, progress.erased.reactions), (40, 20, 2));
        for ((table, partition, sort), item) in tables.dump().await {
            let text = format!("{table} {partition} {sort} {item:?}");
            assert!(!text.contains(SECRET), "{extent:?}: {text}");
            assert!(extent == Extent::Content || !text.contains("alice"), "{extent:?}: {text}");
        }
        let history = tables.messages().messages(&key("one"), Range::After(Seq::ZERO), 100, NOW).await.unwrap();
        assert_eq!(history.iter().map(|one| one.seq.get()).collect::<Vec<_>>(), (1..=40).collect::<Vec<u64>>());
        let live = history.iter().filter(|one| one.deleted_at.is_none()).count();
        assert_eq!(live, 10, "the messages of bob");
        let changes = if extent == Extent::Content { 31 } else { 41 };
        assert_eq!(tables.last_rev("one").await.get() - last.get(), changes, "tombstones, a reaction, and mentions");
        let bob = tables.channels().member(&key("one"), &user("bob")).await.unwrap().unwrap();
        assert_eq!(bob.role, MemberRole::Owner, "he takes over");
    }
}

#[tokio::test]
async fn a_scan_finds_nothing_of_the_same_id_in_another_tenant() {
    let tables = Tables::new().await;
    fill(&tables).await;
    let acme: TenantId = "acme".parse().unwrap();
    let (own, other) = (tables.user_items(), tables.user_items().for_tenant(Some(&acme)));
    for extent in [Extent::Content, Extent::ContentAndId] {
        for (items, is_found) in [(&own, true), (&other, false)] {
            let (mut found, mut from) = (Vec::new(), None);
            loop {
                let page = items.scan(&user("alice"), extent, from.as_ref(), NOW).await.unwrap();
                found.extend(page.items);
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
            assert_eq!(!found.is_empty(), is_found, "{found:?}");
            assert!(found.iter().all(|item| item.data != UserData::Word), "{found:?}");
        }
    }
}
