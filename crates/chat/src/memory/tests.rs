//! The stores in memory obey the laws of the ports, and the laws detect each removed rule.

use super::{
    MemoryStore, Reliable, Rule,
    conformance::{Ports, Violation, check, check_transfer, check_user_items},
};
use crate::model::time::Timestamp;

async fn conforms(store: &MemoryStore) -> Result<(), Violation> {
    let ports = Ports { channels: store, messages: store, connections: store, removal: store };
    check(&ports, Timestamp::from_secs(1_800_000_000)).await
}

#[tokio::test]
async fn the_stores_in_memory_keep_the_laws() {
    conforms(&MemoryStore::new(Reliable)).await.unwrap();
    conforms(&MemoryStore::new(Reliable).removing(2)).await.unwrap();
}

#[tokio::test]
async fn exports_and_imports_in_memory_keep_their_law() {
    let store = MemoryStore::new(Reliable);
    let ports = Ports { channels: &store, messages: &store, connections: &store, removal: &store };
    check_transfer(&ports, &store, Timestamp::from_secs(1_800_000_000)).await.unwrap();
}

#[tokio::test]
async fn the_scan_for_a_user_keeps_its_laws() {
    let store = MemoryStore::new(Reliable);
    let ports = Ports { channels: &store, messages: &store, connections: &store, removal: &store };
    check_user_items(&ports, &store, Timestamp::from_secs(1_800_000_000)).await.unwrap();
}

#[tokio::test]
async fn the_laws_notice_each_rule_that_is_taken_out() {
    let rules = [
        Rule::HeadNumber,
        Rule::HeadIncarnation,
        Rule::RecordKept,
        Rule::OwnMessage,
        Rule::SenderIsMember,
        Rule::QuestionHeld,
        Rule::RootHeld,
        Rule::RepliesCounted,
        Rule::ClaimHeld,
        Rule::DraftStored,
        Rule::SubscriptionsCurrent,
        Rule::SubscriptionIncarnation,
        Rule::RecordIncarnation,
        Rule::RemovalIncarnation,
        Rule::MemberAuthority,
        Rule::SettingsAuthority,
        Rule::MessageAuthority,
        Rule::MessageAsRead,
        Rule::ReactionVersion,
        Rule::ChangeNumbered,
        Rule::ChangeFollows,
        Rule::ChangeRecorded,
        Rule::MemberAsRead,
        Rule::ReadMarkOfMember,
        Rule::LastOwner,
        Rule::PendingRecorded,
        Rule::GateWritten,
        Rule::GateWithAudience,
        Rule::GateAlone,
        Rule::PageEnd,
        Rule::LeaseHeld,
        Rule::InvitationHeld,
        Rule::InvitationEnds,
        Rule::ChannelsCounted,
        Rule::ChosenFirst,
        Rule::ListenersKept,
        Rule::PresenceAsRead,
    ];
    for rule in rules {
        let found = conforms(&MemoryStore::new(Reliable).without(rule)).await;
        println!("{rule:?}: {}", found.as_ref().map_or_else(ToString::to_string, |()| "nothing".to_owned()));
        assert!(found.is_err(), "{rule:?}");
    }
}
