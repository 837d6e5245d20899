//! Health checks with a call for each table.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_dynamodb::{Client, types::TableStatus};
use futures::future::join_all;
use http::{Response, StatusCode};
use http_api::{Problem, response};
use lambda_http::Body;
use serde::Serialize;

/// Time-out of all checks together, so that a load balancer gets a response early.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The table of each check, in the order of the handler's tables.
const CHECKS: [&str; 3] = ["chat_events", "chat_channels", "chat_connections"];

/// The handler of health checks.
pub(crate) struct Handler {
    pub(crate) client: Client,
    pub(crate) tables: [String; 3],
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    checks: BTreeMap<&'static str, &'static str>,
}

impl Handler {
    pub(crate) async fn handle(&self) -> Result<Response<Body>, Problem> {
        let checks = join_all(self.tables.iter().map(|table| self.is_active(table))).await;
        let healthy = checks.iter().all(|active| *active);
        let words = |active: bool| if active { "ok" } else { "failing" };
        let health = Health {
            status: words(healthy),
            version: env!("CARGO_PKG_VERSION"),
            checks: CHECKS.into_iter().zip(checks.into_iter().map(words)).collect(),
        };
        response::json(if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
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
