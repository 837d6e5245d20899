//! A mapping that reads its stream on its own clock.

use std::{sync::Arc, time::Duration};

use emulator::{
    dynamodb::Storage,
    event_source::{Checkpoints, Mapping, Options},
    stack::{EventSourceMapping, StartingPosition},
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, TABLE},
    event_source::{Function, PATIENCE, Seen, mapping, ok, seqs},
};

#[tokio::test]
async fn a_mapping_out_of_phase_starts_late_and_delivers_several_records_at_once() {
    let database = Database::open(Storage::InMemory).await;
    let checkpoints = tempfile::tempdir().unwrap();
    let (batches, mut noted) = mpsc::unbounded_channel();
    let config = EventSourceMapping { starting_position: StartingPosition::Latest, ..mapping() };
    let mapping = Mapping::new(
        config,
        database.engine.stream(TABLE).unwrap(),
        Arc::new(Function { batches, answer: |_: &[Seen]| ok() }),
        Arc::new(|_: &str, _: Value| Ok::<(), std::io::Error>(())),
        Checkpoints::open(checkpoints.path()).unwrap(),
        Options { out_of_phase: Some(1), ..Options::default() },
    )
    .unwrap();
    // Written before the first poll, so that a mapping with LATEST misses it.
    database.put("a", 1, "user").await;
    let stop = CancellationToken::new();
    let task = tokio::spawn(mapping.run(stop.clone()));
    // Written until one is delivered: the mapping misses all of them before its first poll.
    let mut last = 1;
    let mut seen = loop {
        last += 1;
        database.put("a", last, "user").await;
        if let Ok(batch) = tokio::time::timeout(Duration::from_millis(200), noted.recv()).await {
            break seqs(&batch.unwrap());
        }
    };
    assert!(!seen.contains(&1), "{seen:?}");
    let mut batches = 1;
    // On a slow machine each poll may find one record only, so more are written then.
    while batches == seen.len() {
        assert!(last < 100, "each batch had one record");
        for _ in 0..9 {
            last += 1;
            database.put("a", last, "user").await;
        }
        while seen.last() != Some(&last) {
            let batch = tokio::time::timeout(PATIENCE, noted.recv()).await.unwrap().unwrap();
            batches += 1;
            seen.extend(seqs(&batch));
        }
    }
    assert_eq!(seen, (seen[0]..=seen[seen.len() - 1]).collect::<Vec<u64>>());
    stop.cancel();
    task.await.unwrap();
}
