//! The servers of a run: one task for each listener.

use axum::Router;
use emulator::{
    doors::{self, Door, Limits as DoorLimits},
    dynamodb::Engine,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::settings::door_limits;

/// The servers of a run and the tokens that stop them.
pub(super) struct Servers {
    pub(super) tasks: TaskTracker,
    pub(super) limits: DoorLimits,
    /// Stops the servers that accept new work: the REST API and the page.
    pub(super) stop_intake: CancellationToken,
    /// Stops the other servers, which accepted work needs until it is finished.
    pub(super) stop_services: CancellationToken,
}

impl Servers {
    pub(super) fn new() -> Self {
        Self {
            tasks: TaskTracker::new(),
            limits: door_limits(),
            stop_intake: CancellationToken::new(),
            stop_services: CancellationToken::new(),
        }
    }

    /// Serves a router until the intake stops.
    pub(super) fn serve_intake(&self, listener: TcpListener, door: Door, router: Router) {
        self.tasks.spawn(doors::serve(listener, door, self.limits, router, self.stop_intake.clone()));
    }

    /// Serves a router until the services stop.
    pub(super) fn serve_service(&self, listener: TcpListener, door: Door, limits: DoorLimits, router: Router) {
        self.tasks.spawn(doors::serve(listener, door, limits, router, self.stop_services.clone()));
    }

    /// Serves DynamoDB to the user's programs, without permissions.
    pub(super) fn serve_dynamodb(&self, listener: TcpListener, engine: Engine) {
        let (limits, stop) = (self.limits, self.stop_services.clone());
        self.tasks.spawn(async move {
            if let Err(error) = engine.serve_all(listener, limits, stop).await {
                tracing::error!(%error, "DynamoDB ended");
            }
        });
    }

    /// Serves DynamoDB to the functions. `gate` checks their permissions.
    pub(super) fn serve_gate(&self, listener: TcpListener, engine: Engine, gate: Router) {
        let (limits, stop) = (self.limits, self.stop_services.clone());
        self.tasks.spawn(async move {
            if let Err(error) = engine.serve_front(listener, gate, limits, stop).await {
                tracing::error!(%error, "DynamoDB ended for the functions");
            }
        });
    }
}
