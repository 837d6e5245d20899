//! EventBridge rules that invoke functions at a fixed rate.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{lambda::Invoke, stack::Schedule};

/// Invokes the functions of a schedule until `stop`. The first invocation is after one interval `every`.
pub async fn run(
    schedule: Schedule,
    every: Duration,
    (region, account_id): (&'static str, &'static str),
    invoke: Arc<dyn Invoke>,
    stop: CancellationToken,
) {
    let mut ticks = interval(every);
    // After the machine was suspended, one invocation replaces the missed ones.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let event = event(&schedule, region, account_id);
        for function in &schedule.functions {
            let outcome = invoke.invoke(function, Bytes::from(event.to_string())).await;
            let failed = match outcome {
                Ok(invocation) => invocation.outcome.err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = failed {
                tracing::error!(rule = schedule.logical_id, function, error, "a scheduled invocation failed");
            }
        }
    }
}

/// Returns a scheduled event ("Events from AWS services" in the EventBridge guide).
fn event(schedule: &Schedule, region: &str, account_id: &str) -> Value {
    json!({
        "version": "0",
        "id": uuid::Uuid::new_v4().to_string(),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account_id,
        "time": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "region": region,
        "resources": [schedule.arn],
        "detail": {},
    })
}
