//! Law of the presence.

use std::time::Duration;

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, Outcome, id},
};
use crate::{
    model::incarnation::{ChannelKey, Incarnation},
    ports::{clock::Clock, deleted_channels::DeletedChannels, message_store::MessageStore},
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn presence(&self) -> Outcome {
        let connections = self.ports.connections;
        let key = ChannelKey { channel_id: id("presence")?, incarnation: Incarnation::generate(self.seed()) };
        let user = id("pia")?;
        require!(!connections.is_online(&key, &user).await?, "a user without a record is online");
        connections.mark_offline(&key, &user).await?;
        require!(connections.mark_online(&key, &user, self.now).await?, "a user who came online is not reported");
        require!(!connections.mark_online(&key, &user, self.now).await?, "a user who was online is reported again");
        require!(connections.is_online(&key, &user).await?, "a user who came online is not online");
        let next = ChannelKey { incarnation: Incarnation::generate(self.seed()), ..key.clone() };
        require!(!connections.is_online(&next, &user).await?, "a user is online in another incarnation");
        connections.mark_offline(&key, &user).await?;
        connections.mark_offline(&key, &user).await?;
        require!(!connections.is_online(&key, &user).await?, "a user who went offline is online");
        require!(connections.mark_online(&key, &user, self.now).await?, "a user who came back is not reported");
        // A connection lasts hours at most. Each of its changes extends the record, which so outlasts it.
        let hours = |count: u64| self.later(Duration::from_hours(count));
        for count in (2..=30).step_by(2) {
            let is_new = connections.mark_online(&key, &user, hours(count)).await?;
            require!(!is_new, "a user who was online two hours ago is reported again after {count} hours");
        }
        require!(connections.mark_online(&key, &user, hours(100)).await?, "a record lasts for ever");
        Ok(())
    }
}
