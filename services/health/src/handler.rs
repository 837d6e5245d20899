//! Health checks with a call for each table.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_sdk_dynamodb::{Client, types::TableStatus};
use futures::future::join3;
use http::{Response, StatusCode};
use http_api::{Problem, response};
use lambda_http::Body;
use serde::Serialize;

/// Time-out of all checks together, so that a load balancer gets a response early.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for which the result of a check is the answer. The route needs no token, and a check costs three calls.
const LIFETIME: Duration = Duration::from_secs(5);

/// The table of each check, in the order of the handler's tables.
const CHECKS: [&str; 3] = ["chat_events", "chat_channels", "chat_connections"];

/// The handler of health checks.
pub(crate) struct Handler {
    pub(crate) client: Client,
    pub(crate) tables: [String; 3],
    /// The last check of this environment.
    pub(crate) last: Mutex<Option<Check>>,
}

/// The result of a check.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    at: SystemTime,
    active: [bool; 3],
}

impl Check {
    /// Returns whether the result is the answer at `now`. A clock that was set back ends the time.
    fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.at).is_ok_and(|age| age < LIFETIME)
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    checks: BTreeMap<&'static str, &'static str>,
}

impl Handler {
    pub(crate) async fn handle(&self) -> Result<Response<Body>, Problem> {
        let active = self.active().await;
        let healthy = active.iter().all(|active| *active);
        let words = |active: bool| if active { "ok" } else { "failing" };
        let health = Health {
            status: words(healthy),
            version: env!("CARGO_PKG_VERSION"),
            checks: CHECKS.into_iter().zip(active.into_iter().map(words)).collect(),
        };
        response::json(if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
    }

    /// Returns whether each table is active, by a check that is at most [`LIFETIME`] old.
    async fn active(&self) -> [bool; 3] {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(check) = last.filter(|check| check.is_fresh(SystemTime::now())) {
            return check.active;
        }
        let [events, channels, connections] = &self.tables;
        let checks = join3(self.is_active(events), self.is_active(channels), self.is_active(connections));
        let active = <[bool; 3]>::from(checks.await);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Check { at: SystemTime::now(), active });
        active
    }

    async fn is_active(&self, table: &str) -> bool {
        let described = self.client.describe_table().table_name(table).send();
        match tokio::time::timeout(CHECK_TIMEOUT, described).await {
            Ok(Ok(found)) => {
                let status = found.table.and_then(|table| table.table_status);
                // DynamoDB serves requests while it updates a table.
                matches!(status, Some(TableStatus::Active | TableStatus::Updating))
            }
            Ok(Err(error)) => {
                let error = aws_sdk_dynamodb::error::DisplayErrorContext(error).to_string();
                tracing::error!(table, error, "table could not be described");
                false
            }
            Err(_) => {
                tracing::error!(table, "description of a table timed out");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_the_answer_for_five_seconds() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let check = Check { at, active: [true; 3] };
        assert!(check.is_fresh(at));
        assert!(check.is_fresh(at + Duration::from_millis(4999)));
        assert!(!check.is_fresh(at + LIFETIME));
        assert!(!check.is_fresh(at - Duration::from_millis(1)));
    }
}
