//! Laws of the presence.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, Outcome, Stop, id},
};
use crate::{
    model::{
        connection::{ConnectionKey, Subscription},
        id::UserId,
        incarnation::{ChannelKey, Incarnation},
        time::Timestamp,
    },
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
        let key = ChannelKey { channel_id: id("presence")?, incarnation: self.mark() };
        let user: UserId = id("pia")?;
        let (first, second) = (self.mark(), self.mark());
        require_eq!(self.marks(&key).await?, BTreeMap::new(), "users without a record");
        require!(connections.mark_offline(&key, &user, first).await?, "a user without a record has another mark");
        require!(
            connections.mark_online(&key, &user, first, self.now).await?,
            "a user who came online is not reported"
        );
        require!(!connections.mark_online(&key, &user, second, self.now).await?, "a user who was online is reported");
        require_eq!(self.marks(&key).await?, BTreeMap::from([(user.clone(), second)]), "the last mark");
        let next = ChannelKey { incarnation: self.mark(), ..key.clone() };
        require_eq!(self.marks(&next).await?, BTreeMap::new(), "a user is online in another incarnation");
        require!(!connections.mark_offline(&key, &user, first).await?, "a record that was extended is deleted");
        require_eq!(self.marks(&key).await?.len(), 1, "a record that was extended");
        require!(connections.mark_offline(&key, &user, second).await?, "a record as read is not deleted");
        require!(connections.mark_offline(&key, &user, second).await?, "a repeated call finds another record");
        require_eq!(self.marks(&key).await?, BTreeMap::new(), "a user who went offline");
        require!(connections.mark_online(&key, &user, first, self.now).await?, "a user who came back is not reported");
        // A connection lasts hours at most. Each of its changes extends the record, which so outlasts it.
        let hours = |count: u64| self.later(Duration::from_hours(count));
        for count in (2..=30).step_by(2) {
            let is_new = connections.mark_online(&key, &user, self.mark(), hours(count)).await?;
            require!(!is_new, "a user who was online two hours ago is reported again after {count} hours");
        }
        let is_new = connections.mark_online(&key, &user, self.mark(), hours(100)).await?;
        require!(is_new, "a record lasts for ever");
        Ok(())
    }

    pub(super) async fn presence_listeners(&self) -> Outcome {
        let connections = self.ports.connections;
        let key = ChannelKey { channel_id: id("listeners")?, incarnation: self.mark() };
        let user: UserId = id("pia")?;
        let subscription = |name: &str, member| {
            let connection = ConnectionKey { id: id(name)?, connected_at: self.now };
            let expires_at = Timestamp::from_secs(self.later(Duration::from_hours(1)).as_secs());
            Ok::<_, Stop>(Subscription { connection, user_id: user.clone(), expires_at, member })
        };
        let (one, two) = (vec![subscription("a=", true)?], vec![subscription("a=", true)?, subscription("b=", false)?]);
        let (first, second, third) = (self.mark(), self.mark(), self.mark());
        require_eq!(self.told_of(&key).await?, (vec![], None), "no listeners");
        let wrong = connections.set_listeners(&key, Some(first), &one, second, self.now).await?;
        require!(!wrong, "listeners that are not stored have a mark");
        require!(connections.set_listeners(&key, None, &one, first, self.now).await?, "the first listeners");
        require!(connections.set_listeners(&key, None, &one, first, self.now).await?, "a repeated call");
        require_eq!(self.told_of(&key).await?, (one.clone(), Some(first)), "the first listeners");
        require!(!connections.set_listeners(&key, None, &two, second, self.now).await?, "listeners are overwritten");
        require!(connections.set_listeners(&key, Some(first), &two, second, self.now).await?, "the next listeners");
        require!(!connections.set_listeners(&key, Some(first), &one, third, self.now).await?, "a mark counts twice");
        require_eq!(self.told_of(&key).await?, (two, Some(second)), "the next listeners");
        require!(connections.set_listeners(&key, Some(second), &[], third, self.now).await?, "no listeners are left");
        require_eq!(self.told_of(&key).await?, (vec![], Some(third)), "no listeners are left");
        Ok(())
    }

    /// Returns the marks of the users of these laws.
    async fn marks(&self, key: &ChannelKey) -> Outcome<BTreeMap<UserId, Incarnation>> {
        let asked = BTreeSet::from([id("pia")?, id("paul")?]);
        Ok(self.ports.connections.announced(key, &asked).await?.marks)
    }

    /// Returns the listeners of a channel, with their mark.
    async fn told_of(&self, key: &ChannelKey) -> Outcome<(Vec<Subscription>, Option<Incarnation>)> {
        let announced = self.ports.connections.announced(key, &BTreeSet::from([id("pia")?])).await?;
        Ok((announced.listeners, announced.listeners_mark))
    }

    fn mark(&self) -> Incarnation {
        Incarnation::generate(self.seed())
    }
}
