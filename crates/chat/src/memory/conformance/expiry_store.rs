//! Law of the expiry entries.

use std::time::Duration;

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, Outcome},
};
use crate::{
    model::{connection::Connection, time::Timestamp},
    ports::{deleted_channels::DeletedChannels, expiry_store::ENDED_SOCKETS_MINUTES, message_store::MessageStore},
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn expiry_entries(&self) -> Outcome {
        let connections = self.ports.connections;
        let opened = self.open("expires=", "eve", &[]).await?;
        let id = &opened.key.id;
        let (first, second) = (opened.expires_at, opened.expires_at.plus(Duration::from_mins(10)));
        let renewed = Connection { token_expires_at: second, expires_at: second, ..opened.clone() };
        connections.renew(&renewed).await?;

        for end in [first, second] {
            require!(connections.expired_in_minute(end).await?.contains(id), "a token that ends is not listed");
            let minutes = minutes(&connections.ended_minutes(end).await?);
            require!(minutes.is_sorted(), "minutes are out of order: {minutes:?}");
            require_eq!(minutes.last(), Some(&end.minute()), "the minute of the last entry");
        }
        connections.remove_expiry_entry(first, id).await?;
        require!(!connections.expired_in_minute(first).await?.contains(id), "a removed entry is listed");

        let found = connections.find(id).await?.map(|(_, connection)| connection);
        require_eq!(found, Some(renewed), "a connection of any tenant");
        connections.close(&opened.key).await?;
        require_eq!(connections.find(id).await?, None, "a connection that is closed");
        require!(connections.expired_in_minute(second).await?.contains(id), "the entry ends with its connection");

        connections.worked_off(second).await?;
        connections.worked_off(first).await?;
        let minutes = minutes(&connections.ended_minutes(second).await?);
        let oldest = second.minute() - (ENDED_SOCKETS_MINUTES - 1);
        require!(minutes.iter().all(|minute| *minute >= oldest), "a minute long worked off is listed: {minutes:?}");
        require_eq!(minutes.last(), Some(&second.minute()), "a minute in which an entry may be written late");
        connections.remove_expiry_entry(second, id).await?;
        Ok(())
    }
}

fn minutes(times: &[Timestamp]) -> Vec<i64> {
    times.iter().map(|time| time.minute()).collect()
}
