//! Laws of the store of expiry entries, in addition to those of [`conformance`](super::conformance).

use std::{collections::BTreeSet, time::Duration};

use super::conformance::Violation;
use crate::{
    model::{
        connection::{Connection, UserConnection},
        error::StoreError,
        id::{ConnectionId, IdError, UserId},
        time::Timestamp,
    },
    ports::{
        connection_store::ConnectionStore,
        expiry_store::{ENDED_SOCKETS_MINUTES, ExpiryStore},
    },
};

const LAW: &str = "a connection is listed under each minute in which a token of it ends, until it is worked off";

/// Duration of the first token.
const TOKEN: Duration = Duration::from_mins(10);

/// Runs the laws at the time `now`, with a connection of their own.
///
/// # Errors
/// The first law that does not hold.
pub async fn check(connections: &(impl ConnectionStore + ExpiryStore), now: Timestamp) -> Result<(), Violation> {
    let (id, user): (ConnectionId, UserId) = (text("expires=")?, text("expiring")?);
    let (first, second) = (now.plus(TOKEN), now.plus(TOKEN * 2));
    let connection = Connection {
        connection_id: id.clone(),
        user_id: user,
        channels: Vec::new(),
        auto_subscribe: false,
        allowed_channels: None,
        left_out: 0,
        connected_at: now,
        token_expires_at: first,
        expires_at: first,
    };
    let failed = |error: StoreError| broken(format!("the store fails: {error}"));
    connections.register_pending(&connection.user_id, &UserConnection::from(&connection)).await.map_err(failed)?;
    connections.activate(&connection, &BTreeSet::new()).await.map_err(failed)?;
    let renewed = Connection { token_expires_at: second, expires_at: second, ..connection.clone() };
    connections.renew(&renewed).await.map_err(failed)?;

    for end in [first, second] {
        let listed = connections.expired_in_minute(end).await.map_err(failed)?;
        require(listed.contains(&id), "a token that ends is not listed")?;
        let minutes = connections.ended_minutes(end).await.map_err(failed)?;
        require(minutes.is_sorted(), "minutes are out of order")?;
        require(minutes.iter().any(|one| one.minute() == end.minute()), "a minute with an entry is left out")?;
        require(minutes.iter().all(|one| one.minute() <= end.minute()), "a minute has not ended")?;
    }
    connections.remove_expiry_entry(first, &id).await.map_err(failed)?;
    let listed = connections.expired_in_minute(first).await.map_err(failed)?;
    require(!listed.contains(&id), "a removed entry is listed")?;

    let found = connections.find(&id).await.map_err(failed)?.map(|(_, connection)| connection);
    require(found.as_ref() == Some(&renewed), "a connection is not found as it was stored")?;
    connections.close(&id, now).await.map_err(failed)?;
    require(connections.find(&id).await.map_err(failed)?.is_none(), "a closed connection is found")?;
    let listed = connections.expired_in_minute(second).await.map_err(failed)?;
    require(listed.contains(&id), "the entry of a closed connection is not listed")?;

    connections.worked_off(second).await.map_err(failed)?;
    connections.worked_off(first).await.map_err(failed)?;
    let minutes = connections.ended_minutes(second).await.map_err(failed)?;
    let oldest = second.minute() - (ENDED_SOCKETS_MINUTES - 1);
    require(minutes.iter().all(|one| one.minute() >= oldest), "a minute that is worked off is listed again")?;
    require(minutes.iter().any(|one| one.minute() == second.minute()), "an entry written late is left out")?;
    connections.remove_expiry_entry(second, &id).await.map_err(failed)
}

fn text<T: std::str::FromStr<Err = IdError>>(text: &str) -> Result<T, Violation> {
    text.parse().map_err(|error: IdError| broken(error.to_string()))
}

fn require(holds: bool, what: &str) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(broken(what.to_owned())) }
}

fn broken(what: String) -> Violation {
    Violation { law: LAW, what }
}
