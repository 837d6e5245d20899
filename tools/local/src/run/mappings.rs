//! The event source mappings and schedules of a stack.

use std::sync::Arc;

use emulator::{
    dynamodb::Engine,
    event_source::{self, Checkpoints, Destination, Mapping},
    lambda::{Invoke, OnFailure, Queues},
    schedule,
    stack::Stack,
};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ACCOUNT_ID, Error, REGION, settings::seconds};
use crate::cli::RunOptions;

/// Opens the streams of the mappings. They start to read with [`start_mappings`].
pub(super) fn prepare_mappings(
    stack: &Stack,
    engine: &Engine,
    invoke: &Arc<dyn Invoke>,
    queues: &Arc<Queues>,
    options: &RunOptions,
) -> Result<Vec<Mapping>, Error> {
    let checkpoints = Checkpoints::open(&engine.directory())?;
    let destination: Destination = {
        let queues = queues.clone();
        Arc::new(move |arn: &str, body: Value| queues.send(arn, body))
    };
    let options = event_source::Options {
        region: REGION.into(),
        account_id: ACCOUNT_ID.into(),
        read_interval: options.stream_interval,
        out_of_phase: options.out_of_phase,
        ..Default::default()
    };
    let mut mappings = Vec::new();
    for config in &stack.event_source_mappings {
        let reader = engine.stream(&config.table)?;
        let (invoke, destination, options) = (invoke.clone(), destination.clone(), options.clone());
        mappings.push(Mapping::new(config.clone(), reader, invoke, destination, checkpoints.clone(), options)?);
    }
    Ok(mappings)
}

/// Starts the mappings and schedules. They run until `stop`.
pub(super) fn start_mappings(
    ready: Vec<Mapping>,
    stack: &Stack,
    invoke: &Arc<dyn Invoke>,
    stop: &CancellationToken,
) -> TaskTracker {
    let mappings = TaskTracker::new();
    for mapping in ready {
        mappings.spawn(mapping.run(stop.clone()));
    }
    for schedule in stack.schedules.clone() {
        let every = seconds("SWITCHBOARD_LOCAL_SCHEDULE_SECONDS").unwrap_or(schedule.every);
        mappings.spawn(schedule::run(schedule, every, (REGION, ACCOUNT_ID), invoke.clone(), stop.clone()));
    }
    mappings.close();
    mappings
}
