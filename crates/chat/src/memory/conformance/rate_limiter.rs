//! Law of the token buckets.

use std::time::Duration;

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, Outcome, id},
};
use crate::{
    model::{
        id::UserId,
        incarnation::{ChannelKey, Incarnation},
        token_bucket::{Bucket, Taken},
    },
    ports::{
        clock::Clock, deleted_channels::DeletedChannels, message_store::MessageStore, rate_limiter::LimitedAction,
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn buckets(&self) -> Outcome {
        let store = self.ports.channels;
        let bucket = Bucket { every: Duration::from_secs(2), burst: 2 };
        let (first, second): (UserId, UserId) = (id("berta")?, id("bruno")?);
        let channel = |name: &str| -> Outcome<ChannelKey> {
            Ok(ChannelKey { channel_id: id(name)?, incarnation: Incarnation::generate(self.seed()) })
        };
        let (one, other) = (channel("buckets")?, channel("buckets")?);
        let take = async |user: &UserId, action: LimitedAction<'_>| store.take(user, &action, bucket, self.now).await;
        let wait: Taken = Err(Duration::from_secs(2));
        let [one_left, none_left]: [Taken; 2] = [2, 4].map(|seconds| Ok(self.later(Duration::from_secs(seconds))));
        require_eq!(take(&first, LimitedAction::Connect).await?, one_left, "the first");
        require_eq!(take(&first, LimitedAction::Connect).await?, none_left, "the second");
        require_eq!(take(&first, LimitedAction::Connect).await?, wait, "the third");
        require_eq!(take(&first, LimitedAction::AgentReply).await?, one_left, "another action");
        require_eq!(take(&second, LimitedAction::Connect).await?, one_left, "another user");
        for left in [one_left, none_left] {
            require_eq!(take(&first, LimitedAction::Typing(&one)).await?, left, "typing in one channel");
        }
        require_eq!(take(&first, LimitedAction::Typing(&one)).await?, wait, "typing too often");
        require_eq!(take(&first, LimitedAction::Typing(&other)).await?, one_left, "typing in another incarnation");
        for (user, left) in [(&first, one_left), (&second, none_left)] {
            require_eq!(take(user, LimitedAction::Reply(&one)).await?, left, "a reply in a channel");
        }
        require_eq!(
            take(&first, LimitedAction::Reply(&one)).await?,
            wait,
            "the channel's replies, whichever user asks"
        );
        require_eq!(take(&first, LimitedAction::Reply(&other)).await?, one_left, "replies in another incarnation");
        Ok(())
    }
}
