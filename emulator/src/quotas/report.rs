//! Counts of a run, for people and for programs.

use axum::{Json, Router, extract::State, routing::get};
use serde::Serialize;

use super::{Limits, Quotas};

/// Admitted and refused requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Requests that were admitted.
    pub admitted: u64,
    /// Requests that were refused.
    pub refused: u64,
}

impl Count {
    pub(super) fn add(&mut self, admitted: bool) {
        *(if admitted { &mut self.admitted } else { &mut self.refused }) += 1;
    }
}

/// Units of all partitions together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Units {
    /// Units that were consumed.
    pub consumed: f64,
    /// Items and queries that were refused.
    pub refused: u64,
}

/// Units of one partition.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Busiest {
    /// Table, index if any, and partition key.
    pub partition: String,
    /// Read units.
    pub reads: f64,
    /// Write units.
    pub writes: f64,
    /// Read units of its busiest second.
    pub peak_reads: f64,
    /// Write units of its busiest second.
    pub peak_writes: f64,
}

/// Counts since the start of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Limits of the run.
    pub limits: Limits,
    /// Requests to the REST API.
    pub rest: Count,
    /// Messages of clients.
    pub messages: Count,
    /// Requests to `@connections`.
    pub management: Count,
    /// Admitted requests of the busiest second, from all three sources.
    pub peak_requests: f64,
    /// Handshakes of WebSocket connections.
    pub connects: Count,
    /// Admitted handshakes of the busiest second.
    pub peak_connects: f64,
    /// Invocations of functions.
    pub invocations: Count,
    /// Most concurrent executions.
    pub peak_concurrency: usize,
    /// Read units.
    pub reads: Units,
    /// Write units.
    pub writes: Units,
    /// Partitions with the most units.
    pub busiest: Vec<Busiest>,
}

impl Report {
    /// Returns the refused requests by their kind, without kinds that have none.
    #[must_use]
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("requests to the REST API", self.rest.refused),
            ("messages of clients", self.messages.refused),
            ("requests to @connections", self.management.refused),
            ("handshakes", self.connects.refused),
            ("invocations", self.invocations.refused),
            ("reads of partitions", self.reads.refused),
            ("writes of partitions", self.writes.refused),
        ];
        all.into_iter().filter(|(_, refused)| *refused > 0).collect()
    }
}

/// Serves the [`Report`] of `quotas` on `GET /quotas.json`.
pub fn router(quotas: Quotas) -> Router {
    Router::new().route("/quotas.json", get(report)).with_state(quotas)
}

async fn report(State(quotas): State<Quotas>) -> Json<Report> {
    Json(quotas.report())
}
