//! The embedded DynamoDB: writes are durable, streams report them, and a data directory has one owner.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use aws_sdk_dynamodb::types::AttributeValue;
use emulator::dynamodb::{Engine, Error, Options, Position, Storage};
use tempfile::TempDir;

use crate::database::{Database, TABLE, table};

fn refusal(storage: Storage) -> String {
    match Engine::open(storage, Options::default()) {
        Ok(_) => panic!("the data directory was taken"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_was_written_is_there_for_the_next_run_and_the_stream_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let storage = || Storage::Directory(directory.path().to_owned());
    let first = Database::open(storage()).await;
    for seq in 1..=3 {
        first.put("a", seq, "user").await;
    }
    let position = {
        let records = first.engine.stream(TABLE).unwrap().next(Position::TRIM_HORIZON, 10).await.unwrap();
        assert_eq!(records.len(), 3);
        records[1].position
    };
    drop(first);
    let second = Database::open_when_free(directory.path()).await;
    assert_eq!(second.count().await, 3);
    second.put("a", 4, "user").await;
    let records = second.engine.stream(TABLE).unwrap().next(position, 10).await.unwrap();
    let seqs: Vec<&str> = records.iter().map(|r| r.event["dynamodb"]["Keys"]["seq"]["N"].as_str().unwrap()).collect();
    assert_eq!(seqs, ["3", "4"]);
}

#[tokio::test]
async fn a_data_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let storage = || Storage::Directory(directory.path().to_owned());
    let owner = Engine::open(storage(), Options::default()).unwrap();
    let error = refusal(storage());
    assert!(error.contains("another local run") && error.contains(directory.path().to_str().unwrap()), "{error}");
    drop(owner);
    Engine::open(storage(), Options::default()).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_of_ours_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dynamodb.sqlite");
    let garbage = "not a database at all".repeat(1_000);
    fs::write(&file, &garbage).unwrap();
    let error = refusal(Storage::Directory(directory.path().to_owned()));
    assert!(error.contains("dynamodb.sqlite") && error.contains("delete it"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), garbage);

    fs::remove_file(&file).unwrap();
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let error = refusal(Storage::Directory(directory.path().to_owned()));
    assert!(error.contains("something else"), "{error}");
}

#[tokio::test]
async fn a_stored_table_must_be_the_one_that_the_template_describes() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(Storage::Directory(directory.path().to_owned()), Options::default()).unwrap();
    engine.ensure_tables(&[table()]).unwrap();
    engine.ensure_tables(&[table()]).unwrap();
    let mut other = table();
    other.create_request["KeySchema"][1]["AttributeName"] = "number".into();
    other.create_request["AttributeDefinitions"][1]["AttributeName"] = "number".into();
    let error = engine.ensure_tables(&[other]).unwrap_err();
    assert!(matches!(error, Error::SchemaDiffers { .. }), "{error}");
    assert!(error.to_string().contains("KeySchema"), "{error}");
}

#[tokio::test]
async fn expired_items_go_and_the_stream_says_who_removed_them() {
    let database = Database::open(Storage::InMemory).await;
    database.put_with("a", 1, &[("expires_at", AttributeValue::N("1700000000".into()))]).await;
    database.put_with("a", 2, &[("expires_at", AttributeValue::N("4000000000".into()))]).await;
    // The engine's own sweep may have run earlier.
    database.engine.sweep_expired().unwrap();
    assert_eq!(database.count().await, 1);
    let records = database.engine.stream(TABLE).unwrap().next(Position::TRIM_HORIZON, 10).await.unwrap();
    let removal = &records.last().unwrap().event;
    assert_eq!(removal["eventName"], "REMOVE");
    assert_eq!(removal["userIdentity"]["principalId"], "dynamodb.amazonaws.com");
    assert_eq!(removal["dynamodb"]["OldImage"]["seq"]["N"], "1");
}

#[tokio::test]
async fn old_stream_records_go_and_the_numbers_go_on() {
    let database = Database::open(Storage::InMemory).await;
    for seq in 1..=5 {
        database.put("a", seq, "user").await;
    }
    let removed = database.engine.trim_streams(jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).unwrap();
    assert_eq!(removed, 4);
    database.put("a", 6, "user").await;
    let records = database.engine.stream(TABLE).unwrap().next(Position::TRIM_HORIZON, 10).await.unwrap();
    assert_eq!(records.len(), 2);
    assert!(records[0].position < records[1].position);
}

/// Returns the error of a rejected directory. Fails if the attempt changed a file in it.
fn refusal_that_changes_nothing(directory: &Path) -> String {
    let files = || -> BTreeMap<OsString, Vec<u8>> {
        let files = fs::read_dir(directory).unwrap().flatten();
        files.map(|file| (file.file_name(), fs::read(file.path()).unwrap())).collect()
    };
    let mut before = files();
    before.entry("lock".into()).or_default();
    let error = refusal(Storage::Directory(directory.to_owned()));
    assert_eq!(files(), before, "{error}");
    error
}

/// Creates a directory with a database that contains items.
async fn written() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(Storage::Directory(directory.path().to_owned())).await;
    for seq in 1..=50 {
        database.put("a", seq, &"x".repeat(1_000)).await;
    }
    drop(database);
    closed(directory.path()).await;
    directory
}

/// Waits until the last owner has unlocked the directory and closed the database.
async fn closed(directory: &Path) {
    loop {
        match Engine::open(Storage::Directory(directory.to_owned()), Options::default()) {
            Ok(engine) => return drop(engine),
            Err(Error::InUse { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_database_that_is_empty_cut_off_or_garbage_is_not_begun_anew() {
    let directory = written().await;
    let file = directory.path().join("dynamodb.sqlite");
    let whole = fs::read(&file).unwrap();
    assert!(whole.len() > 50_000, "{}", whole.len());
    let garbled = |at: usize| {
        let mut garbled = whole.clone();
        garbled[at..at + 16].copy_from_slice(b"garbage garbage!");
        garbled
    };
    for (damage, content) in [
        ("empty", Vec::new()),
        ("one byte", whole[..1].to_vec()),
        ("half a header", whole[..50].to_vec()),
        ("a header alone", whole[..100].to_vec()),
        ("one page", whole[..4096].to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("all but a page", whole[..whole.len() - 4096].to_vec()),
        ("a garbage header", garbled(0)),
        ("zeros", vec![0; whole.len()]),
    ] {
        fs::write(&file, content).unwrap();
        let error = refusal_that_changes_nothing(directory.path());
        let names = error.contains(file.to_str().unwrap());
        assert!(names && error.contains("delete it") && error.contains("--data-dir"), "{damage}: {error}");
    }
    // A restored copy contains all items.
    fs::write(&file, &whole).unwrap();
    let database = Database::open(Storage::Directory(directory.path().to_owned())).await;
    assert_eq!(database.count().await, 50);
}

#[tokio::test]
async fn a_missing_database_is_made_unless_changes_of_it_are_left() {
    let directory = tempfile::tempdir().unwrap();
    let storage = || Storage::Directory(directory.path().to_owned());
    let log = directory.path().join("dynamodb.sqlite-wal");
    fs::write(&log, "changes").unwrap();
    let error = refusal_that_changes_nothing(directory.path());
    assert!(error.contains("dynamodb.sqlite-wal") && error.contains("delete it"), "{error}");
    fs::remove_file(&log).unwrap();
    drop(Engine::open(storage(), Options::default()).unwrap());
    drop(Engine::open(storage(), Options::default()).unwrap());
}

#[tokio::test]
async fn what_is_left_of_a_database_that_was_being_made_is_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    for content in ["", "SQLite format 3\0 and then the process was killed"] {
        for file in ["dynamodb.sqlite.new", "dynamodb.sqlite.new-wal", "dynamodb.sqlite.new-shm", "dynamodb.sqlite-shm"]
        {
            fs::write(directory.path().join(file), content).unwrap();
        }
        let database = Database::open(Storage::Directory(directory.path().to_owned())).await;
        database.put("a", 1, "user").await;
        assert_eq!(database.count().await, 1);
        drop(database);
        closed(directory.path()).await;
        assert!(!directory.path().join("dynamodb.sqlite.new").exists());
        fs::remove_file(directory.path().join("dynamodb.sqlite")).unwrap();
    }
}
