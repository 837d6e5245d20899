//! The internal extension that sees the process off ("Using the Lambda Extensions API to create extensions" in the Lambda
//! developer guide): it takes no events, but a process that has one gets a SIGTERM, and time to send what it still has.

use std::sync::Arc;

use lambda_extension::Extension;
use lambda_runtime::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    export::{Exporter, LAST_BUDGET},
    metrics::CloudWatch,
};

const NAME: &str = "switchboard-telemetry";

/// Registers the extension and runs it in the background.
///
/// To be called during init: after it, Lambda takes no more extensions.
pub(crate) async fn register(exporter: Arc<Exporter>, cloudwatch: CloudWatch) -> Result<(), Error> {
    let extension = Extension::new().with_extension_name(NAME).with_events(&[]).register().await?;
    let mut end = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        if let Err(error) = extension.run().await {
            tracing::error!(%error, "the extension that sends telemetry has ended");
        }
    });
    tokio::spawn(async move {
        // An internal extension gets this in place of a SHUTDOWN event.
        end.recv().await;
        exporter.finish(LAST_BUDGET).await;
        cloudwatch.flush();
        std::process::exit(0);
    });
    Ok(())
}
