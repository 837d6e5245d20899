//! Pending ends: recorded with their cause, processed by one function at a time.

use std::time::Duration;

use chat::{
    model::id::TenantId,
    ports::{due_ends::DueEnds, pending_ends::PendingEnds},
};
use chat_aws::DynamoDeletedChannels;

use super::*;

const LEASE: Duration = Duration::from_secs(20);

impl Tables {
    pub(crate) fn deleted_channels(&self) -> DynamoDeletedChannels {
        DynamoDeletedChannels::new(self.client.clone(), "chat_events", "chat_channels")
    }

    /// Returns the pending ends that are due at a time, without the tenants.
    pub(crate) async fn due(&self, now: Timestamp) -> Vec<PendingEnd> {
        self.deleted_channels().due(now, 99).await.unwrap().into_iter().map(|(_, pending)| pending).collect()
    }
}

/// Records a pending end in the table.
async fn recorded(tables: &Tables) -> PendingEnd {
    let channel = tables.channel("c", Visibility::Public).await;
    let end = pending(7, key("c"), EndCause::MadePrivate);
    let private = Channel { visibility: Visibility::Private, version: 2, ..channel.clone() };
    assert!(tables.channels().update(&reader(&channel), &private, Some(&end), NOW).await.unwrap());
    end
}

#[tokio::test]
async fn every_cause_is_recorded_in_its_own_transaction() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let channel = tables.channel("c", Visibility::Public).await;
    let bob = member("c", "bob", MemberRole::Member);
    tables.join(&channel, &bob).await;
    let removed = pending(1, key("c"), EndCause::MemberRemoved { user_id: user("bob") });
    let private = pending(2, key("c"), EndCause::MadePrivate);
    let deleted = pending(3, key("c"), EndCause::ChannelDeleted);
    // Recorded in another order than that of their ids, which follow their creation.
    let changed = Channel { visibility: Visibility::Private, version: 2, ..channel.clone() };
    assert!(channels.update(&reader(&channel), &changed, Some(&private), NOW).await.unwrap());
    let done = channels.remove_member(&with(&changed, &bob), &bob, &removed, NOW).await.unwrap();
    assert_eq!(done, MemberChanged::Done);
    assert!(channels.delete(&reader(&changed), &deleted, NOW).await.unwrap());
    assert_eq!(tables.due(NOW).await, [removed.clone(), private.clone(), deleted.clone()]);
    assert!(tables.due(Timestamp::from_millis(NOW.as_millis() - 1)).await.is_empty(), "leased until that time");
    let due = tables.deleted_channels().due(NOW, 2).await.unwrap();
    assert_eq!(due, [(None, removed), (None, private)]);
}

#[tokio::test]
async fn of_many_workers_one_has_a_lease() {
    let tables = Tables::new().await;
    let end = recorded(&tables).await;
    let channels = tables.channels();
    let until = NOW.plus(LEASE);
    let leases = futures::future::join_all((0..8).map(|_| channels.lease(&end, until, NOW))).await;
    let leases: Vec<PendingEnd> = leases.into_iter().filter_map(Result::unwrap).collect();
    let leased = PendingEnd { lease_until: until, ..end.clone() };
    assert_eq!(leases, std::slice::from_ref(&leased));
    assert!(tables.due(NOW).await.is_empty());
    assert_eq!(
        channels.lease(&end, until.plus(LEASE), Timestamp::from_millis(until.as_millis() - 1)).await.unwrap(),
        None
    );

    // The first function stopped. The next one continues at its position.
    let progress = PendingEnd { after: Some("x=".parse().unwrap()), lease_until: until.plus(LEASE), ..leased };
    channels.advance(&progress).await.unwrap();
    assert!(tables.due(until).await.is_empty(), "the lease was extended");
    assert_eq!(tables.due(progress.lease_until).await, std::slice::from_ref(&progress));
    let (from, to) = (progress.lease_until, progress.lease_until.plus(LEASE));
    let taken_over = channels.lease(&end, to, from).await.unwrap();
    assert_eq!(taken_over, Some(PendingEnd { lease_until: to, ..progress.clone() }));
    let afresh = PendingEnd { after: None, lease_until: Timestamp::from_millis(0), ..progress };
    channels.advance(&afresh).await.unwrap();
    assert_eq!(tables.due(NOW).await, std::slice::from_ref(&afresh));
}

#[tokio::test]
async fn what_is_done_stays_done() {
    let tables = Tables::new().await;
    let end = recorded(&tables).await;
    let channels = tables.channels();
    for _ in 0..2 {
        channels.finish(&end).await.unwrap();
    }
    let before = tables.dump().await;
    channels.advance(&end).await.unwrap();
    assert_eq!(channels.lease(&end, LATER, NOW).await.unwrap(), None);
    assert_eq!(tables.dump().await, before, "a late function restores nothing");
}

#[tokio::test]
async fn ends_of_all_tenants_are_found_together_and_worked_off_in_their_own() {
    let tables = Tables::new().await;
    let tenants: [Option<TenantId>; 3] = [None, Some("acme".parse().unwrap()), Some("globex".parse().unwrap())];
    let mut expected = Vec::new();
    for (number, tenant) in (1..).zip(&tenants) {
        let channels = tables.channels().for_tenant(tenant.as_ref());
        let channel = sample("c", Visibility::Public);
        assert_eq!(
            channels.create(&channel, &member("c", "alice", MemberRole::Owner), None, MANY).await.unwrap(),
            ChannelCreated::Done
        );
        let end = pending(number, key("c"), EndCause::ChannelDeleted);
        assert!(channels.delete(&reader(&channel), &end, NOW).await.unwrap());
        expected.push((tenant.clone(), end));
    }
    assert_eq!(tables.deleted_channels().due(NOW, 9).await.unwrap(), expected);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_holds_up_no_other() {
    let tables = Tables::new().await;
    let end = recorded(&tables).await;
    let put = tables.client.put_item().table_name("chat_channels");
    let put = put.item("channel_id", AttributeValue::S("pending#".into()));
    let put = put.item("sk", AttributeValue::S("0".into())).item("lease_until", AttributeValue::N("0".into()));
    put.send().await.unwrap();
    assert_eq!(tables.due(NOW).await, [end]);
}
