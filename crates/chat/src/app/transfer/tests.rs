//! Exports of imports, and interruptions of both.

use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Counts, Existing, ExportProgress, Header, Import, ImportError, ImportState, Record, RecordError, export_channel,
};
use crate::{
    memory::{MemoryStore, Reliable},
    model::{
        id::{ChannelId, TenantId},
        rev::Rev,
        seq::Seq,
        time::Timestamp,
    },
    ports::channel_transfer::ChannelTransfer,
    testing::TestClock,
};

fn record(value: &Value) -> Record {
    Record::read(&value.to_string()).unwrap()
}

fn channel(id: &str, last_seq: u64) -> Record {
    record(&json!({
        "type": "channel", "channel_id": id, "name": id, "visibility": "private", "agent": { "mode": "mention" },
        "read_receipts": true, "created_by": "olga", "created_at": "2026-01-02T03:04:05.678Z", "version": 3,
        "last_seq": last_seq, "last_message_at": "2026-02-02T03:04:05.678Z", "last_rev": last_seq / 2,
    }))
}

fn member(user: &str, role: &str) -> Record {
    record(&json!({
        "type": "member", "user_id": user, "role": role, "joined_at": "2026-01-02T03:04:05.678Z", "read_seq": 1,
    }))
}

/// Returns a message of one of several kinds, by its number.
fn message(seq: u64) -> Record {
    let mut message = json!({
        "type": "message", "seq": seq, "message_id": format!("01ARZ3NDEKTSV4RRFFQ6{seq:06}"), "version": 1,
        "sender_id": "olga", "role": "user", "content": format!("message {seq} ✓"), "content_type": "text/plain",
        "created_at": "2026-02-02T03:04:05.678Z",
    });
    match seq % 5 {
        1 => {
            message["metadata"] = json!({ "z": [1, 2.5, -3e-7, null], "a": { "b": true } });
            message["thread"] =
                json!({ "reply_count": 1, "last_reply_seq": seq + 1, "last_reply_at": "2026-02-02T03:04:05.678Z" });
        }
        2 => {
            message["thread_seq"] = json!(seq - 1);
            message["reactions"] = json!([
                { "emoji": "🎉", "user_ids": ["bob"] }, { "emoji": "👍", "user_ids": ["alice", "bob", "olga"] },
            ]);
            message["version"] = json!(5);
            message["rev"] = json!(seq / 2);
        }
        3 => {
            message["edited_at"] = json!("2026-02-03T03:04:05.678Z");
            message["expires_at"] = json!("2036-02-03T03:04:05.000Z");
            message["reply_to"] = json!(1);
        }
        4 => {
            message["deleted_at"] = json!("2026-02-03T03:04:05.678Z");
            message["content"] = json!("");
        }
        _ => message["agent"] = json!({ "status": "complete", "model": "m", "input_tokens": 7 }),
    }
    record(&message)
}

/// Adds the first and the last record.
fn complete(records: Vec<Record>) -> Vec<Record> {
    let mut counts = Counts::default();
    for record in &records {
        counts.add(record);
    }
    let first = Record::Export(Header::default());
    std::iter::once(first).chain(records).chain([Record::End(counts)]).collect()
}

/// Returns the export of a channel with this number of messages, and of another one.
fn sample(messages: u64) -> Vec<Record> {
    let mut records = vec![
        channel("alpha", messages),
        member("bob", "member"),
        member("olga", "owner"),
        member("x=40y", "moderator"),
    ];
    records.extend((1..=messages).map(message));
    records.extend([channel("beta", 0), member("olga", "owner")]);
    complete(records)
}

fn text(records: &[Record]) -> String {
    records.iter().map(|record| record.line().unwrap()).collect()
}

async fn import_from(store: &MemoryStore, records: &[Record], state: ImportState) -> Result<ImportState, ImportError> {
    let stores = |_: Option<&TenantId>| store.clone();
    let skipped = usize::try_from(state.records).unwrap();
    let mut import = Import::new(stores, TestClock::new(1), Existing::Refused, state);
    for record in &records[skipped..] {
        import.add(record.clone()).await?;
    }
    import.finish()
}

fn import(store: &MemoryStore, records: &[Record]) -> Result<ImportState, ImportError> {
    block_on(import_from(store, records, ImportState::default()))
}

/// Returns the records of an export of these channels.
fn export(store: &MemoryStore, channels: &[&str]) -> Vec<Record> {
    let mut records = Vec::new();
    for id in channels {
        let id: ChannelId = id.parse().unwrap();
        let write = |record| {
            records.push(record);
            Ok::<_, RecordError>(())
        };
        block_on(export_channel(store, (None, &id), None, &TestClock::new(1), write)).unwrap();
    }
    complete(records)
}

#[test]
fn an_export_of_an_import_is_the_same() {
    let (one, two) = (MemoryStore::new(Reliable), MemoryStore::new(Reliable));
    let first = sample(333);
    let state = import(&one, &first).unwrap();
    assert_eq!(state.counts, Counts { channels: 2, members: 4, messages: 333 });
    let second = export(&one, &["alpha", "beta"]);
    assert_eq!(text(&second), text(&first));
    import(&two, &second).unwrap();
    assert_eq!(text(&export(&two, &["alpha", "beta"])), text(&first));
}

#[test]
fn an_interrupted_import_goes_on_and_loses_nothing() {
    let all = sample(700);
    for end in (1..all.len()).step_by(41) {
        let store = MemoryStore::new(Reliable);
        let stores = |_: Option<&TenantId>| store.clone();
        let mut import = Import::new(stores, TestClock::new(1), Existing::Refused, ImportState::default());
        let mut kept = ImportState::default();
        for record in &all[..end] {
            if block_on(import.add(record.clone())).unwrap() {
                kept = serde_json::from_str(&serde_json::to_string(import.state()).unwrap()).unwrap();
            }
        }
        drop(import);
        block_on(import_from(&store, &all, kept)).unwrap();
        assert_eq!(text(&export(&store, &["alpha", "beta"])), text(&all), "interrupted after {end}");
    }
}

#[test]
fn an_import_whose_progress_was_not_kept_in_time_writes_the_same_again() {
    let all = sample(600);
    let store = MemoryStore::new(Reliable);
    let stores = |_: Option<&TenantId>| store.clone();
    let mut import = Import::new(stores, TestClock::new(1), Existing::Refused, ImportState::default());
    let mut earlier = Vec::new();
    for record in &all {
        if block_on(import.add(record.clone())).unwrap() {
            earlier.push(import.state().clone());
        }
    }
    // The progress before the last two writes: the second channel is not published in it, and the first one is.
    let kept = earlier[earlier.len() - 2].clone();
    block_on(import_from(&store, &all, kept)).unwrap();
    assert_eq!(text(&export(&store, &["alpha", "beta"])), text(&all));
}

#[test]
fn an_interrupted_export_goes_on_after_its_last_complete_line() {
    let store = MemoryStore::new(Reliable);
    let all = sample(250);
    import(&store, &all).unwrap();
    let whole = text(&all);
    for end in (whole.len() / 7..whole.len()).step_by(whole.len() / 23) {
        let end = (0..=end).rev().find(|end| whole.is_char_boundary(*end)).unwrap();
        let cut = whole[..end].rfind('\n').map_or(0, |last| last + 1);
        let mut progress = ExportProgress::default();
        for line in whole[..cut].lines() {
            progress.add(Record::read(line).unwrap()).unwrap();
        }
        let position = progress.position.clone().unwrap();
        let mut resumed = whole[..cut].to_owned();
        let id = position.channel.channel_id.clone();
        let write = |record: Record| {
            resumed.push_str(&record.line()?);
            Ok::<_, RecordError>(())
        };
        block_on(export_channel(&store, (None, &id), Some(&position), &TestClock::new(1), write)).unwrap();
        assert!(whole.starts_with(&resumed), "cut at {cut}");
        let rest = &whole[resumed.len()..];
        let next = if id.as_str() == "alpha" { r#"{"type":"channel""# } else { r#"{"type":"end""# };
        assert!(rest.starts_with(next), "cut at {cut}: {rest:.40}");
    }
}

#[test]
fn no_id_leads_to_a_channel_before_all_of_it_is_stored() {
    let store = MemoryStore::new(Reliable);
    let stores = |_: Option<&TenantId>| store.clone();
    let mut import = Import::new(stores, TestClock::new(1), Existing::Refused, ImportState::default());
    let all = sample(400);
    let id: ChannelId = "alpha".parse().unwrap();
    for record in all {
        let is_next = matches!(&record, Record::Channel(channel) if channel.channel_id != id);
        block_on(import.add(record)).unwrap();
        let found = block_on(store.channel_to_export(&id)).unwrap();
        if is_next {
            assert_eq!(found.unwrap().0.last_seq, Seq::new(400));
            break;
        }
        assert_eq!(found, None);
    }
}

#[test]
fn a_taken_id_stops_an_import_or_is_left_out() {
    let store = MemoryStore::new(Reliable);
    import(&store, &complete(vec![channel("alpha", 1), member("olga", "owner"), message(1)])).unwrap();
    let all = sample(20);
    assert!(matches!(import(&store, &all), Err(ImportError::Taken(id)) if id.as_str() == "alpha"));
    let stores = |_: Option<&TenantId>| store.clone();
    let mut import = Import::new(stores, TestClock::new(2), Existing::Skipped, ImportState::default());
    for record in all {
        block_on(import.add(record)).unwrap();
    }
    assert_eq!(import.finish().unwrap().skipped, 1);
    let found = export(&store, &["alpha", "beta"]);
    let expected =
        [channel("alpha", 1), member("olga", "owner"), message(1), channel("beta", 0), member("olga", "owner")];
    assert_eq!(found, complete(expected.to_vec()));
}

#[test]
fn a_channel_has_at_least_the_number_of_its_messages_changes() {
    let store = MemoryStore::new(Reliable);
    let mut changed = message(2);
    if let Record::Message(message) = &mut changed {
        message.rev = Rev::new(99);
    }
    import(&store, &complete(vec![channel("alpha", 2), member("olga", "owner"), message(1), changed])).unwrap();
    let (_, rev) = block_on(store.channel_to_export(&"alpha".parse().unwrap())).unwrap().unwrap();
    assert_eq!(rev, Rev::new(99));
}

#[test]
fn records_out_of_place_are_refused_with_their_number() {
    let (alpha, olga) = (channel("alpha", 2), member("olga", "owner"));
    let wrong = |records: Vec<Record>| match import(&MemoryStore::new(Reliable), &records) {
        Err(ImportError::Record { number, problem }) => (number, problem.0),
        other => panic!("{other:?}"),
    };
    let first = Record::Export(Header::default());
    let version = Record::Export(Header { version: 2, ..Header::default() });
    for (records, number, part) in [
        (vec![alpha.clone()], 1, "the first record"),
        (vec![version], 1, "version 1"),
        (vec![first.clone(), olga.clone()], 2, "no channel"),
        (vec![first.clone(), alpha.clone(), message(1), olga.clone()], 4, "members precede"),
        (vec![first.clone(), alpha.clone(), olga.clone(), message(2), message(1)], 5, "seq must be after 2"),
        (vec![first.clone(), alpha.clone(), olga.clone(), message(3)], 4, "at most 2"),
        (vec![first.clone(), alpha.clone(), member("system", "owner")], 3, "name of the system"),
        (vec![first.clone(), alpha.clone(), member("bob", "member"), channel("beta", 0)], 4, "no owner"),
        (vec![first, alpha, olga, Record::End(Counts::default())], 4, "are expected"),
    ] {
        let found = wrong(records);
        assert!(found.0 == number && found.1.contains(part), "{found:?}, not {number}: {part}");
    }
}

#[test]
fn an_export_without_its_last_record_is_not_complete() {
    let store = MemoryStore::new(Reliable);
    let mut records = sample(3);
    records.pop();
    assert!(matches!(import(&store, &records), Err(ImportError::Incomplete)));
    assert_eq!(block_on(store.channel_to_export(&"beta".parse().unwrap())).unwrap(), None);
}

#[test]
fn unknown_fields_and_types_are_refused() {
    for line in [
        r#"{"type":"export","format":"switchboard","version":1,"more":1}"#,
        r#"{"type":"invitation"}"#,
        r#"{"type":"member","user_id":"a","role":"owner","joined_at":"2026-01-02T03:04:05.678Z","color":"red"}"#,
        r#"{"type":"end","channels":1,"members":1}"#,
        "",
    ] {
        assert!(Record::read(line).is_err(), "{line}");
    }
    assert!(Header { format: "other".into(), version: 1 }.check().is_err());
}

#[test]
fn an_expired_message_is_left_out() {
    let store = MemoryStore::new(Reliable);
    let mut expired = message(3);
    if let Record::Message(message) = &mut expired {
        message.expires_at = Some(Timestamp::from_secs(1));
    }
    import(&store, &complete(vec![channel("alpha", 5), member("olga", "owner"), message(1), expired])).unwrap();
    assert_eq!(export(&store, &["alpha"]), complete(vec![channel("alpha", 5), member("olga", "owner"), message(1)]));
}

proptest! {
    #[test]
    fn every_message_survives_an_import(
        content in "x.{0,80}",
        version in 1_u64..1_000_000,
        number in proptest::num::f64::NORMAL,
        key in "[a-zA-Z]{1,8}",
    ) {
        let mut changed = message(1);
        if let Record::Message(message) = &mut changed {
            message.content = content;
            message.version = version;
            message.metadata = json!({ key: number }).as_object().cloned();
        }
        let first = complete(vec![channel("alpha", 1), member("olga", "owner"), changed]);
        let read: Vec<Record> = text(&first).lines().map(|line| Record::read(line).unwrap()).collect();
        let store = MemoryStore::new(Reliable);
        import(&store, &read).unwrap();
        prop_assert_eq!(text(&export(&store, &["alpha"])), text(&first));
    }
}
