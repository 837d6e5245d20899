//! Drafts of replies: their pieces, their leases, and the workers that continue them.

use chat::{
    model::{
        draft::DraftStatus,
        limits::{DRAFT_DURATION, LEASE_DURATION},
    },
    ports::reply_leases::{
        Acquire, CancelResult, DraftPiece, LeaseOwner, LeaseRenewal, MessageKey, PieceStored, ReplyLease, ReplyLeases,
        StoredDraft,
    },
};

use super::*;

const ONE: LeaseOwner = LeaseOwner::new(1);
const OTHER: LeaseOwner = LeaseOwner::new(2);

fn question() -> MessageKey {
    MessageKey { channel: key("c"), seq: Seq::FIRST }
}

fn draft_id() -> MessageId {
    MessageId::generate(SystemClock.seed())
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

fn piece(draft_id: MessageId, position: usize, text: &str) -> DraftPiece {
    DraftPiece { draft_id, position, text: text.to_owned() }
}

/// Acquires the lease for `owner` at `now`.
async fn acquire(channels: &DynamoChannels, owner: LeaseOwner, now: Timestamp) -> ReplyLease {
    match channels.acquire(&question(), owner, now.plus(LEASE_DURATION), now).await.unwrap() {
        Acquire::Acquired(lease) => lease,
        Acquire::Held { until } => panic!("the lease is held until {until}"),
    }
}

async fn store(channels: &DynamoChannels, owner: LeaseOwner, piece: &DraftPiece, now: Timestamp) -> PieceStored {
    channels.store_piece(&question(), owner, now.plus(LEASE_DURATION), piece, now).await.unwrap()
}

#[tokio::test]
async fn a_draft_is_read_as_it_was_stored_and_each_piece_is_one_request() {
    let (tables, calls) = Tables::new().await.counted();
    tables.channel("c", Visibility::Public).await;
    let (channels, id) = (tables.channels(), draft_id());
    assert_eq!(channels.draft(&question(), NOW).await.unwrap(), None);
    assert_eq!(acquire(&channels, ONE, NOW).await, ReplyLease::default());
    let mut expected = StoredDraft { draft_id: None, status: None, text: String::new(), held: true };
    assert_eq!(channels.draft(&question(), NOW).await.unwrap(), Some(expected.clone()));
    let until = NOW.plus(LEASE_DURATION);
    let renewed = channels.renew(&question(), ONE, until, LeaseRenewal::CallModel { draft_id: id }).await.unwrap();
    let lease = ReplyLease { calls: 1, cancelled: false, draft_id: Some(id), renewed_at: None };
    assert_eq!(renewed, Some(lease));
    expected.draft_id = Some(id);
    assert_eq!(channels.draft(&question(), NOW).await.unwrap(), Some(expected.clone()));
    calls.take();
    for position in 0..30 {
        assert_eq!(store(&channels, ONE, &piece(id, position, "ä"), NOW).await, PieceStored::Stored);
    }
    assert_eq!(calls.take(), ["TransactWriteItems of 2 with a token"; 30]);
    expected.text = "ä".repeat(30);
    assert_eq!(channels.draft(&question(), NOW).await.unwrap(), Some(expected.clone()));
    // A piece replaces one of the same position.
    assert_eq!(store(&channels, ONE, &piece(id, 29, "bcd"), NOW).await, PieceStored::Stored);
    expected.text = format!("{}bcd", "ä".repeat(29));
    assert_eq!(channels.draft(&question(), NOW).await.unwrap(), Some(expected.clone()));
    // Another draft has its own pieces.
    let next = draft_id();
    assert_eq!(store(&channels, ONE, &piece(next, 0, "anew"), NOW).await, PieceStored::Stored);
    let anew = StoredDraft { draft_id: Some(next), text: "anew".to_owned(), ..expected };
    assert_eq!(channels.draft(&question(), NOW).await.unwrap(), Some(anew.clone()));
    let gone = StoredDraft { text: String::new(), held: false, ..anew };
    assert_eq!(channels.draft(&question(), NOW.plus(DRAFT_DURATION)).await.unwrap(), Some(gone));
}

#[tokio::test]
async fn a_piece_renews_the_lease_and_is_stored_by_its_holder_only() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let (channels, id) = (tables.channels(), draft_id());
    acquire(&channels, ONE, NOW).await;
    assert_eq!(store(&channels, ONE, &piece(id, 0, "Hel"), at(5_000)).await, PieceStored::Stored);
    let before = tables.dump().await;
    assert_eq!(store(&channels, OTHER, &piece(id, 3, "lo"), at(5_000)).await, PieceStored::LeaseLost);
    assert_eq!(tables.dump().await, before, "another worker stores nothing");
    let held = channels.acquire(&question(), OTHER, LATER, at(19_999)).await.unwrap();
    assert_eq!(held, Acquire::Held { until: at(20_000) });
    // The holder stops. The next worker learns of the draft, and of the last renewal.
    let lease = acquire(&channels, OTHER, at(20_000)).await;
    let expected = ReplyLease { calls: 0, cancelled: false, draft_id: Some(id), renewed_at: Some(at(5_000)) };
    assert_eq!(lease, expected);
    let before = tables.dump().await;
    assert_eq!(store(&channels, ONE, &piece(id, 3, "p!"), at(20_000)).await, PieceStored::LeaseLost);
    assert_eq!(tables.dump().await, before, "the earlier holder stores nothing");
    assert_eq!(store(&channels, OTHER, &piece(id, 3, "lo"), at(20_000)).await, PieceStored::Stored);
    assert_eq!(channels.draft(&question(), at(20_000)).await.unwrap().unwrap().text, "Hello");
    channels.release(&question(), OTHER).await.unwrap();
    assert_eq!(acquire(&channels, ONE, at(20_001)).await, ReplyLease { renewed_at: None, ..expected });
}

#[tokio::test]
async fn nothing_is_stored_after_a_cancellation() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    let (channels, id) = (tables.channels(), draft_id());
    acquire(&channels, ONE, NOW).await;
    assert_eq!(store(&channels, ONE, &piece(id, 0, "Hel"), NOW).await, PieceStored::Stored);
    assert_eq!(channels.cancel(&reader(&channel), &question(), NOW).await.unwrap(), CancelResult::Done);
    let before = tables.dump().await;
    assert_eq!(store(&channels, ONE, &piece(id, 3, "lo"), NOW).await, PieceStored::Cancelled);
    assert_eq!(store(&channels, OTHER, &piece(id, 3, "lo"), NOW).await, PieceStored::LeaseLost);
    assert_eq!(tables.dump().await, before);
}

#[tokio::test]
async fn a_draft_that_ended_without_a_message_has_its_status_until_the_next_call_of_a_model() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let (channels, id) = (tables.channels(), draft_id());
    for status in [DraftStatus::Failed, DraftStatus::Cancelled] {
        acquire(&channels, ONE, NOW).await;
        assert_eq!(store(&channels, ONE, &piece(id, 0, "Hel"), NOW).await, PieceStored::Stored);
        let before = tables.dump().await;
        channels.end_draft(&question(), OTHER, status).await.unwrap();
        assert_eq!(tables.dump().await, before, "only the holder ends a draft");
        channels.end_draft(&question(), ONE, status).await.unwrap();
        let ended = StoredDraft { draft_id: Some(id), status: Some(status), text: "Hel".to_owned(), held: false };
        assert_eq!(channels.draft(&question(), NOW).await.unwrap(), Some(ended.clone()));
        acquire(&channels, OTHER, NOW).await;
        let again = LeaseRenewal::CallModel { draft_id: id };
        assert!(channels.renew(&question(), OTHER, NOW.plus(LEASE_DURATION), again).await.unwrap().is_some());
        let going_on = StoredDraft { status: None, held: true, ..ended };
        assert_eq!(channels.draft(&question(), NOW).await.unwrap(), Some(going_on));
        channels.release(&question(), OTHER).await.unwrap();
    }
}
