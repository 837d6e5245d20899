//! The internal extension that delays the end of the process ("Using the Lambda Extensions API to create extensions" in
//! the Lambda developer guide). It receives no events, but a process with an extension gets a SIGTERM and time to send
//! the rest.

use std::sync::Arc;

use lambda_extension::Extension;
use lambda_runtime::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    export::{Exporter, LAST_BUDGET},
    metrics::CloudWatch,
    output::write_waiting,
};

const NAME: &str = "switchboard-telemetry";

/// Registers the extension and runs it in the background.
///
/// Must be called during init, because Lambda accepts no extensions afterwards.
pub(crate) async fn register(exporter: Arc<Exporter>, cloudwatch: CloudWatch) -> Result<(), Error> {
    let extension = Extension::new().with_extension_name(NAME).with_events(&[]).register().await?;
    let mut end = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        if let Err(error) = extension.run().await {
            tracing::error!(%error, "the telemetry extension ended");
        }
    });
    tokio::spawn(async move {
        // An internal extension receives this signal instead of a SHUTDOWN event.
        end.recv().await;
        exporter.finish(LAST_BUDGET).await;
        let _ = write_waiting();
        cloudwatch.flush();
        std::process::exit(0);
    });
    Ok(())
}
