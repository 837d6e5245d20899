//! Law of the instructions that a channel has for its agent.

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, MANY, Outcome},
};
use crate::{
    model::{
        channel::{Channel, Instructions, MemberRole, Visibility},
        incarnation::ChannelKey,
    },
    ports::{channel_store::ChannelCreated, deleted_channels::DeletedChannels, message_store::MessageStore},
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    /// Returns a channel with its instructions.
    async fn told(&self, channel: &Channel) -> Outcome<Channel> {
        let found = self.current(channel).await?;
        Ok(self.ports.channels.with_instructions(vec![found.clone()]).await?.pop().unwrap_or(found))
    }

    pub(super) async fn instructions(&self) -> Outcome {
        let store = self.ports.channels;
        let text = |text: &str| Instructions::Text(text.to_owned());
        let mut channel = self.new_channel("instructions", Visibility::Public)?;
        channel.agent.instructions = text("be brief");
        let owner = self.new_member(&channel, "olga", MemberRole::Owner)?;
        require_eq!(store.create(&channel, &owner, None, MANY).await?, ChannelCreated::Done, "a channel");
        let (silent, _) = self.channel("instructions-none", Visibility::Public).await?;

        let bare = channel.clone().without_instructions();
        require_eq!(self.current(&channel).await?, bare.clone(), "the channel by its id");
        let with_rev = store.channel_with_rev(&channel.channel_id).await?.map(|(found, _)| found);
        require_eq!(with_rev, Some(bare.clone()), "the channel with the number of its last change");
        let keys: Vec<ChannelKey> = vec![channel.key(), silent.key()];
        let mut among = store.channels_among(&keys).await?;
        among.sort_unstable_by(|one, other| one.channel_id.cmp(&other.channel_id));
        require_eq!(among.clone(), vec![bare.clone(), silent.clone()], "channels among others");
        let page = store.public_channels("instructions", None, 1).await?;
        require_eq!(page.channels, vec![bare.clone()], "a public channel");
        among.reverse();
        let told = store.with_instructions(among).await?;
        require_eq!(told, vec![silent.clone(), channel.clone()], "channels with instructions, in their order");
        let again = store.with_instructions(vec![channel.clone()]).await?;
        require_eq!(again, vec![channel.clone()], "instructions that were read");

        // A change of other settings keeps them, whether they were read or not.
        let renamed = self.changed(&channel, &owner, |changed| "instructions b".clone_into(&mut changed.name)).await?;
        require_eq!(renamed.agent.instructions.clone(), Instructions::Unread, "instructions of a changed channel");
        require_eq!(self.told(&channel).await?.agent.instructions, text("be brief"), "instructions that were kept");
        let changed = self.changed(&channel, &owner, |changed| changed.agent.instructions = text("rhyme")).await?;
        require_eq!(self.told(&channel).await?, changed.clone(), "instructions that were replaced");
        let stale = self.current(&channel).await?;
        self.changed(&channel, &owner, |changed| changed.agent.instructions = Instructions::None).await?;
        require_eq!(
            self.told(&channel).await?.agent.instructions,
            Instructions::None,
            "instructions that were removed"
        );
        let later = store.with_instructions(vec![stale]).await?;
        let later: Vec<Instructions> = later.into_iter().map(|found| found.agent.instructions).collect();
        require_eq!(later, vec![Instructions::None], "instructions of a channel that was read before");

        self.changed(&channel, &owner, |changed| changed.agent.instructions = text("for this life")).await?;
        self.delete(&channel, &owner).await?;
        let anew = self.new_channel("instructions", Visibility::Public)?;
        let owner = self.new_member(&anew, "olga", MemberRole::Owner)?;
        require_eq!(store.create(&anew, &owner, None, MANY).await?, ChannelCreated::Done, "the id is not free");
        require_eq!(self.told(&anew).await?, anew.clone(), "a channel that reuses the id");
        Ok(())
    }
}
