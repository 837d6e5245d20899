//! A running stack, from its start to its stop.

use std::{path::Path, sync::Arc, time::Duration};

use emulator::{
    dynamodb::Engine,
    lambda::{Invoke, Lambda},
    quotas::Quotas,
    websocket,
};
use serde_json::json;
use switchboard_client::{Api, Method};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Error, FIRST_CHANNEL,
    addresses::Addresses,
    functions::start_functions,
    gateways::{Backend, start_gateways},
    listen::listen,
    mappings::{prepare_mappings, start_mappings},
    servers::Servers,
    storage::open_storage,
};
use crate::{
    cli::RunOptions,
    runs::{Entry, Run},
    secret::Secret,
    token,
};

/// Maximum time for sockets, functions and mappings to finish their work, for each of the three.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running stack.
pub(super) struct Running {
    pub(super) addresses: Addresses,
    pub(super) secret: Secret,
    pub(super) quotas: Quotas,
    _entry: Option<Entry>,
    sockets: websocket::Gateway,
    lambda: Lambda,
    mappings: TaskTracker,
    servers: Servers,
    stop_mappings: CancellationToken,
    _engine: Engine,
}

impl Running {
    pub(super) async fn start(options: &RunOptions) -> Result<Self, Error> {
        let (listeners, mut addresses) = listen(options).await?;
        let opened = open_storage(options, &mut addresses)?;
        let dynamodb = format!("http://{}", listeners.gate.local_addr()?);
        let (lambda, queues) = start_functions(options, &addresses, &opened, &dynamodb).await?;
        let invoke: Arc<dyn Invoke> = Arc::new(lambda.clone());
        let ready = prepare_mappings(&opened.stack, &opened.engine, &invoke, &queues, options)?;
        let servers = Servers::new();
        let backend = Backend { opened: &opened, lambda: &lambda, invoke: &invoke, queues, mappings: &ready };
        let sockets = start_gateways(options, &addresses, listeners, &servers, backend)?;
        let stop_mappings = CancellationToken::new();
        let mappings = start_mappings(ready, &opened.stack, &invoke, &stop_mappings);
        servers.tasks.close();
        let entry = announce(&addresses, &opened.directory, &opened.secret);
        let running = Self {
            addresses,
            secret: opened.secret,
            quotas: opened.quotas,
            _entry: entry,
            sockets,
            lambda,
            mappings,
            servers,
            stop_mappings,
            _engine: opened.engine,
        };
        running.make_first_channel().await?;
        Ok(running)
    }

    /// Creates the first channel through the REST API. A response shows that all parts from the API to the table work.
    async fn make_first_channel(&self) -> Result<(), Error> {
        let token = token::sign(&self.secret, "switchboard", token::DEFAULT_TTL, jiff::Timestamp::now())?;
        let channel = json!({ "channel_id": FIRST_CHANNEL, "name": "Lobby", "visibility": "public" });
        let api = Api::new(&self.addresses.rest, &token)?;
        let response = api.ask(Method::POST, "/channels", &[], Some(&channel.to_string())).await?;
        match response.status.as_u16() {
            // 409: the channel exists from an earlier run.
            201 | 409 => Ok(()),
            status => Err(format!(
                "the stack does not work: creating the channel {FIRST_CHANNEL} answered {status}: {}; run with \
                 --log-level info to see why",
                response.text()
            )
            .into()),
        }
    }

    /// Stops the parts from the outside in, so that no new requests arrive while accepted ones finish.
    pub(super) async fn stop(self) {
        self.servers.stop_intake.cancel();
        self.sockets.shutdown(STOP_GRACE).await;
        self.stop_mappings.cancel();
        self.mappings.wait().await;
        self.lambda.shutdown(STOP_GRACE).await;
        self.servers.stop_services.cancel();
        // A client that keeps its connection open must not delay the end of the run.
        let _ = tokio::time::timeout(STOP_GRACE, self.servers.tasks.wait()).await;
    }
}

/// Registers the run for the other commands of this user. If that fails, the commands need the data directory.
fn announce(addresses: &Addresses, directory: &Path, secret: &Secret) -> Option<Entry> {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let run = Run { rest: addresses.rest.clone(), directory, secret: secret.clone() };
    run.announce()
        .inspect_err(|error| {
            tracing::warn!(%error, "the run could not be registered; name its --data-dir to cargo local -- token");
        })
        .ok()
}
