//! Closing of sockets whose token has expired.

use std::{pin::pin, time::Duration};

use futures::StreamExt;

use super::Maintenance;
use crate::{
    app::closing::push_last_frames,
    model::{
        error::StoreError,
        frame::{ClosingReason, closing_frame},
        id::ConnectionId,
        limits::PUSH_CONCURRENCY,
        time::Timestamp,
    },
    ports::{
        clock::Clock,
        connection_store::ConnectionStore,
        expiry_store::ExpiryStore,
        socket_gateway::{CONNECTION_DURATION, SocketGateway},
        tenant_stores::TenantStores,
    },
};

/// Maximum number of minutes that are listed side by side.
const LISTED_AT_ONCE: usize = 16;

/// Result of the sockets of one minute.
struct Closed {
    count: usize,
    /// First failure.
    failed: Option<StoreError>,
    /// The time was up before the last socket.
    is_interrupted: bool,
}

impl<Tenants, Expiry, Ends, Sockets, Time> Maintenance<'_, Tenants, Expiry, Ends, Sockets, Time>
where
    Tenants: TenantStores,
    Tenants::Connections: ConnectionStore,
    Expiry: ExpiryStore,
    Sockets: SocketGateway,
    Time: Clock,
{
    /// Closes sockets whose token has expired, until [`Clock::monotonic`] has reached `until`. Returns their number.
    ///
    /// A socket that cannot be closed delays no other one. The next runs retry it, since the recorded minute stays
    /// before it, until the gateway itself has ended it.
    pub(super) async fn close_expired(&self, until: Duration) -> Result<usize, StoreError> {
        let (mut closed, mut failed, mut worked_off, mut is_open) = (0, None, None, false);
        let minutes = self.expiry.ended_minutes(self.clock.now()).await?;
        // Most minutes are empty, so they are listed side by side.
        let listing = async |minute| (minute, self.expiry.expired_in_minute(minute).await);
        let mut listed = pin!(futures::stream::iter(minutes).map(listing).buffered(LISTED_AT_ONCE));
        while let Some((minute, listed)) = listed.next().await {
            let of_minute = self.close_minute(minute, listed, until).await;
            closed += of_minute.count;
            is_open |= of_minute.is_interrupted || of_minute.failed.is_some();
            if !is_open {
                worked_off = Some(minute);
            }
            failed = failed.or(of_minute.failed);
            if of_minute.is_interrupted {
                break;
            }
        }
        // Recorded once per run, because most minutes were recorded by earlier runs. An interrupted run only repeats
        // queries.
        if let Some(minute) = worked_off {
            self.expiry.worked_off(minute).await?;
        }
        failed.map_or(Ok(closed), Err)
    }

    /// Closes the sockets that are `listed` under a minute, all but those that fail.
    async fn close_minute(
        &self,
        minute: Timestamp,
        listed: Result<Vec<ConnectionId>, StoreError>,
        until: Duration,
    ) -> Closed {
        let mut of_minute = Closed { count: 0, failed: None, is_interrupted: self.clock.monotonic() >= until };
        if of_minute.is_interrupted {
            return of_minute;
        }
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                tracing::error!(%error, minute = minute.minute(), "sockets with expired tokens were not listed");
                return Closed { failed: Some(error), ..of_minute };
            }
        };
        let mut outcomes = futures::stream::iter(listed)
            .map(async |id: ConnectionId| {
                let is_late = self.clock.monotonic() >= until;
                (if is_late { None } else { Some(self.close_one(minute, &id).await) }, id)
            })
            .buffer_unordered(PUSH_CONCURRENCY);
        while let Some((outcome, connection_id)) = outcomes.next().await {
            match outcome {
                Some(Ok(is_closed)) => of_minute.count += usize::from(is_closed),
                Some(Err(error)) => {
                    tracing::error!(%error, %connection_id, "socket with an expired token was not closed");
                    of_minute.failed.get_or_insert(error);
                }
                None => of_minute.is_interrupted = true,
            }
        }
        of_minute
    }

    /// Closes a socket that is listed under a minute, and removes its connection. Returns `false` if the connection has
    /// not expired, because its token was renewed.
    async fn close_one(&self, minute: Timestamp, id: &ConnectionId) -> Result<bool, StoreError> {
        let found = self.expiry.find(id).await?;
        if let Some((_, connection)) = found.as_ref().filter(|(_, one)| one.expires_at > self.clock.now()) {
            // A connection with a newer token is listed under the end of that token.
            if connection.expires_at.minute() != minute.minute() {
                self.expiry.remove_expiry_entry(minute, id).await?;
            }
            return Ok(false);
        }
        push_last_frames(self.sockets, self.clock, id, &[closing_frame(ClosingReason::TokenExpired)]).await;
        // The store may have expired the connection's items before the socket was closed, so the socket is closed
        // without them too.
        if let Err(error) = self.sockets.close(id).await {
            if self.clock.now() < minute.plus(CONNECTION_DURATION) {
                return Err(error);
            }
            // The gateway has ended every socket of this minute itself by then, so the entry has no further use.
            tracing::warn!(%error, connection_id = %id, "socket was not closed before the gateway's own limit");
        }
        if let Some((tenant, connection)) = found {
            self.tenants.connections(tenant.as_ref()).close_found(&connection).await?;
        }
        self.expiry.remove_expiry_entry(minute, id).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        app::maintenance::Finished,
        model::connection::{Connection, ConnectionKey},
        ports::socket_gateway::Pushed,
        testing::{TestClock, TestStore, broken},
    };

    /// Gateway that records the sockets that it closes, and fails for one of them.
    #[derive(Default)]
    struct Gateway {
        /// Sockets that have received the reason, of which some are closed.
        told: Mutex<Vec<String>>,
        closed: Mutex<Vec<String>>,
        fails_for: Mutex<Option<&'static str>>,
    }

    impl SocketGateway for Gateway {
        async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
            assert_eq!(frame, closing_frame(ClosingReason::TokenExpired));
            self.told.lock().unwrap().push(id.to_string());
            Ok(Pushed::Delivered)
        }

        async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
            unreachable!("maintenance asks for no socket")
        }

        async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
            if *self.fails_for.lock().unwrap() == Some(id.as_str()) {
                return Err(broken());
            }
            assert_eq!(self.told.lock().unwrap().last().map(String::as_str), Some(id.as_str()), "told before");
            self.closed.lock().unwrap().push(id.to_string());
            Ok(true)
        }
    }

    async fn open(store: &TestStore, clock: &TestClock, id: &str, lasts: Duration) -> Connection {
        let expires_at = clock.now().plus(lasts);
        let connection = Connection {
            key: ConnectionKey { id: id.parse().unwrap(), connected_at: clock.now() },
            user_id: "alice".parse().unwrap(),
            channels: Vec::new(),
            auto_subscribe: false,
            allowed_channels: None,
            left_out: 0,
            token_expires_at: expires_at,
            expires_at,
        };
        store.register_pending(&connection).await.unwrap();
        store.activate(&connection, &[].into()).await.unwrap();
        connection
    }

    #[tokio::test]
    async fn sockets_are_closed_when_their_last_token_has_ended() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Gateway::default());
        let maintenance =
            Maintenance { tenants: &store, expiry: &store, ends: &store, sockets: &sockets, clock: &clock };
        let minute = Duration::from_mins(1);
        open(&store, &clock, "ended=", minute).await;
        open(&store, &clock, "stuck=", minute).await;
        let renewed = open(&store, &clock, "renewed=", minute).await;
        let end = clock.now().plus(minute * 10);
        store.renew(&Connection { token_expires_at: end, expires_at: end, ..renewed }).await.unwrap();

        let until = clock.monotonic() + minute * 60;
        assert_eq!(maintenance.run(until).await.unwrap(), Finished { closed: 0, ended: 0 });
        clock.sleep(minute * 2).await;
        *sockets.fails_for.lock().unwrap() = Some("stuck=");
        assert!(maintenance.run(until).await.is_err());
        assert_eq!(*sockets.closed.lock().unwrap(), ["ended="]);
        assert_eq!(store.state().worked_off, None, "a socket of the minute is open");

        *sockets.fails_for.lock().unwrap() = None;
        assert_eq!(maintenance.run(until).await.unwrap().closed, 1);
        clock.sleep(minute * 10).await;
        assert_eq!(maintenance.run(until).await.unwrap().closed, 1);
        assert_eq!(*sockets.closed.lock().unwrap(), ["ended=", "stuck=", "renewed="]);
        let state = store.state();
        assert!(state.connections.is_empty() && state.token_ends.is_empty() && state.worked_off.is_some());
    }
    #[tokio::test]
    async fn a_socket_that_cannot_be_closed_delays_no_other_one() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Gateway::default());
        let maintenance =
            Maintenance { tenants: &store, expiry: &store, ends: &store, sockets: &sockets, clock: &clock };
        let minute = Duration::from_mins(1);
        let until = clock.monotonic() + minute * 600;
        open(&store, &clock, "stuck=", minute).await;
        open(&store, &clock, "first=", minute).await;
        open(&store, &clock, "later=", minute * 5).await;
        *sockets.fails_for.lock().unwrap() = Some("stuck=");
        clock.sleep(minute * 10).await;
        assert!(maintenance.run(until).await.is_err());
        assert_eq!(*sockets.closed.lock().unwrap(), ["first=", "later="]);

        // It is tried again much later too, since the recorded minute waits for it.
        clock.sleep(minute * 60).await;
        assert!(maintenance.run(until).await.is_err());
        assert_eq!(store.state().token_ends.len(), 1);

        // The gateway has ended it, so it holds the recorded minute no longer.
        clock.sleep(minute * 60).await;
        assert_eq!(maintenance.run(until).await.unwrap().closed, 1);
        let state = store.state();
        assert!(state.connections.is_empty() && state.token_ends.is_empty() && state.worked_off.is_some());
    }

    #[tokio::test]
    async fn maintenance_that_did_not_run_for_an_hour_finds_every_socket() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Gateway::default());
        let maintenance =
            Maintenance { tenants: &store, expiry: &store, ends: &store, sockets: &sockets, clock: &clock };
        let minute = Duration::from_mins(1);
        let until = clock.monotonic() + minute * 600;
        open(&store, &clock, "before=", minute).await;
        clock.sleep(minute * 2).await;
        assert_eq!(maintenance.run(until).await.unwrap().closed, 1);
        for (id, lasts) in [("early=", 5), ("middle=", 20), ("late=", 55)] {
            open(&store, &clock, id, minute * lasts).await;
        }
        clock.sleep(minute * 60).await;
        assert_eq!(maintenance.run(until).await.unwrap().closed, 3);
        assert_eq!(*sockets.closed.lock().unwrap(), ["before=", "early=", "middle=", "late="]);
    }

    #[tokio::test]
    async fn a_run_without_time_leaves_its_sockets_to_the_next() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Gateway::default());
        let maintenance =
            Maintenance { tenants: &store, expiry: &store, ends: &store, sockets: &sockets, clock: &clock };
        let minute = Duration::from_mins(1);
        open(&store, &clock, "ended=", minute).await;
        clock.sleep(minute * 2).await;
        assert_eq!(maintenance.run(clock.monotonic()).await.unwrap().closed, 0);
        assert_eq!(store.state().worked_off, None);
        assert_eq!(maintenance.run(clock.monotonic() + minute).await.unwrap().closed, 1);
    }
}
