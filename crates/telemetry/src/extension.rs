//! The internal extension that sends telemetry ("Using the Lambda Extensions API to create extensions" in the Lambda
//! developer guide): the caller has its response while the extension still works, and the environment is not frozen
//! before the extension has asked for its next event.

use std::sync::Arc;

use lambda_extension::{Extension, LambdaEvent, NextEvent, service_fn};
use lambda_runtime::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, mpsc},
};

use crate::{
    export::{BUDGET, Exporter, LAST_BUDGET},
    metrics::CloudWatch,
};

const NAME: &str = "switchboard-telemetry";

/// Registers the extension and runs it in the background. `over` tells of each invocation whose response has been sent.
///
/// To be called during init: after it, Lambda takes no more extensions.
pub(crate) async fn register(
    exporter: Arc<Exporter>,
    cloudwatch: CloudWatch,
    over: mpsc::UnboundedReceiver<()>,
) -> Result<(), Error> {
    let over = Arc::new(Mutex::new(over));
    let flushing = Arc::clone(&exporter);
    let after_invocation = service_fn(move |event: LambdaEvent| {
        let (exporter, over) = (Arc::clone(&flushing), Arc::clone(&over));
        async move {
            if matches!(event.next, NextEvent::Invoke(_)) && over.lock().await.recv().await.is_some() {
                exporter.flush(BUDGET).await;
            }
            Ok::<_, Error>(())
        }
    });
    let extension = Extension::new()
        .with_extension_name(NAME)
        .with_events(&["INVOKE"])
        .with_events_processor(after_invocation)
        .register()
        .await?;
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
        cloudwatch.tell();
        std::process::exit(0);
    });
    Ok(())
}
