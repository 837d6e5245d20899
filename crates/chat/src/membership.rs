//! Creating, joining and leaving channels.

use futures::{StreamExt, TryStreamExt};

use crate::{
    channel::{AgentSettings, Channel, ChannelStore, Member, MemberAdded, MemberRole, Visibility},
    clock::Clock,
    connection::ConnectionStore,
    delivery::SocketPusher,
    error::{ChatError, Result},
    history::readable_channel,
    id::{ChannelId, UserId},
    limits::{AGENT_INSTRUCTIONS_BYTES, CHANNEL_NAME_CHARS, PUSHES_AT_ONCE},
    validation::Violation,
};

/// A channel to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChannel {
    /// Its id; one is generated when there is none.
    pub channel_id: Option<ChannelId>,
    /// Its display name: 1 to 100 characters, no control characters.
    pub name: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// Its agent.
    pub agent: AgentSettings,
}

impl NewChannel {
    /// Every rule that it breaks.
    #[must_use]
    pub fn check(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let chars = self.name.chars().count();
        if chars == 0 || chars > CHANNEL_NAME_CHARS || self.name.chars().any(char::is_control) {
            let message = format!("must be 1 to {CHANNEL_NAME_CHARS} characters, none of them a control character");
            violations.push(Violation::new("name", "malformed", message));
        }
        let instructions = self.agent.instructions.as_deref().unwrap_or_default();
        if instructions.len() > AGENT_INSTRUCTIONS_BYTES {
            let message = format!("must be at most {AGENT_INSTRUCTIONS_BYTES} bytes of UTF-8");
            violations.push(Violation::new("agent.instructions", "too_long", message));
        }
        if self.agent.model.as_ref().is_some_and(|model| model.is_empty() || model.len() > CHANNEL_NAME_CHARS) {
            let message = format!("must be 1 to {CHANNEL_NAME_CHARS} bytes of UTF-8");
            violations.push(Violation::new("agent.model", "malformed", message));
        }
        violations
    }
}

/// Creates a channel; its creator becomes its owner.
///
/// # Errors
/// [`ChatError::Invalid`], [`ChatError::ChannelExists`], [`ChatError::Store`].
pub async fn create(
    channels: &impl ChannelStore,
    clock: &impl Clock,
    creator: &UserId,
    new: NewChannel,
) -> Result<Channel> {
    let violations = new.check();
    if !violations.is_empty() {
        return Err(ChatError::Invalid(violations));
    }
    let now = clock.now();
    let channel = Channel {
        channel_id: new.channel_id.unwrap_or_else(|| ChannelId::generate(clock)),
        name: new.name,
        visibility: new.visibility,
        agent: new.agent,
        last_seq: 0,
        last_message_at: None,
        created_by: creator.clone(),
        created_at: now,
        archived_at: None,
    };
    let owner = Member {
        channel_id: channel.channel_id.clone(),
        user_id: creator.clone(),
        role: MemberRole::Owner,
        joined_at: now,
    };
    if channels.create(&channel, &owner).await? { Ok(channel) } else { Err(ChatError::ChannelExists) }
}

/// A membership, and whether this call made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The membership.
    pub member: Member,
    /// Whether the user was no member before.
    pub added: bool,
}

/// Adds `user` to a channel on behalf of `caller`: users add themselves to public channels, owners add anybody.
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::ChannelArchived`], [`ChatError::Forbidden`],
/// [`ChatError::Store`].
pub async fn add_member(
    channels: &impl ChannelStore,
    clock: &impl Clock,
    channel: &ChannelId,
    caller: &UserId,
    user: &UserId,
) -> Result<Joined> {
    let found = readable_channel(channels, channel, caller).await?;
    if found.archived_at.is_some() {
        return Err(ChatError::ChannelArchived);
    }
    if caller == user {
        if found.visibility == Visibility::Private
            && let Some(member) = channels.member(channel, user).await?
        {
            return Ok(Joined { member, added: false });
        }
    } else {
        require_owner(channels, channel, caller, "only an owner adds others to a channel").await?;
    }
    let member =
        Member { channel_id: channel.clone(), user_id: user.clone(), role: MemberRole::Member, joined_at: clock.now() };
    match channels.add_member(&member, found.visibility).await? {
        MemberAdded::Added => Ok(Joined { member, added: true }),
        MemberAdded::Already(member) => Ok(Joined { member, added: false }),
        MemberAdded::ChannelChanged => Err(ChatError::ChannelNotFound),
    }
}

/// Removes `user` from a channel on behalf of `caller`: users remove themselves, owners remove anybody.
///
/// The user's subscriptions go first and the sockets that had them are closed before this returns, so that a
/// push already under way meets a closed socket; the client comes back to what is left.
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::MemberNotFound`], [`ChatError::Forbidden`],
/// [`ChatError::LastOwner`], [`ChatError::Store`].
pub async fn remove_member(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    sockets: &impl SocketPusher,
    clock: &impl Clock,
    channel: &ChannelId,
    caller: &UserId,
    user: &UserId,
) -> Result<()> {
    readable_channel(channels, channel, caller).await?;
    if caller != user {
        require_owner(channels, channel, caller, "only an owner removes others from a channel").await?;
    }
    let member = channels.member(channel, user).await?.ok_or(ChatError::MemberNotFound)?;
    if member.role == MemberRole::Owner && !channels.has_other_owner(channel, user).await? {
        return Err(ChatError::LastOwner);
    }
    if !channels.remove_member(channel, user).await? {
        return Err(ChatError::MemberNotFound);
    }
    let mut of_user = connections.subscriptions(channel, clock.now()).await?;
    of_user.retain(|subscription| subscription.user_id == *user);
    futures::stream::iter(of_user)
        .map(async |subscription| {
            let id = &subscription.connection_id;
            connections.unsubscribe(channel, id, subscription.connected_at).await?;
            sockets.close(id).await
        })
        .buffer_unordered(PUSHES_AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(())
}

async fn require_owner(
    channels: &impl ChannelStore,
    channel: &ChannelId,
    user: &UserId,
    otherwise: &'static str,
) -> Result<()> {
    match channels.member(channel, user).await? {
        Some(Member { role: MemberRole::Owner, .. }) => Ok(()),
        _ => Err(ChatError::Forbidden(otherwise)),
    }
}
