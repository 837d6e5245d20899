//! Creating, changing and deleting channels.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    app::{
        access::{SameChannel, authorize_member, with_instructions},
        audit::record,
        membership::{Membership, restricts_visibility},
    },
    model::{
        access::Access,
        audit::{AuditAction, changed_settings, settings},
        channel::{AgentMode, AgentSettings, Channel, Instructions, Member, MemberRole, Visibility},
        error::{ChatError, Result},
        event::EphemeralEvent,
        id::{ChannelId, IdempotencyKey, UserId},
        incarnation::Incarnation,
        limits::{AGENT_INSTRUCTIONS_BYTES, AGENT_MODEL_CHARS, CHANGE_ATTEMPTS, RETENTION_DAYS},
        patch::Patch,
        pending_end::{EndCause, PendingEnd},
        seq::Seq,
        text::name::normalized,
        validation::Violation,
        version_condition::VersionCondition,
    },
    ports::{
        channel_store::{ChannelCreated, ChannelStore, Creation},
        clock::{CHANGE_BACKOFF, Clock},
        connection_store::ConnectionStore,
        fan_out::FanOut,
        invitation_store::InvitationStore,
        pending_ends::PendingEnds,
        socket_gateway::SocketGateway,
    },
};

/// Channel to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewChannel {
    /// Id. `None`: an id is generated.
    pub channel_id: Option<ChannelId>,
    /// Display name: 1 to 100 characters. See [`name`](crate::model::text::name).
    pub name: String,
    /// Visibility.
    pub visibility: Visibility,
    /// Agent settings.
    pub agent: AgentSettings,
    /// Whether members see how far the others have read.
    pub read_receipts: bool,
    /// Days after which messages expire: 1 to 3,650. `None`: never.
    pub retention_days: Option<u32>,
}

impl NewChannel {
    /// Returns every rule that the channel breaks. Also changes the name to the form in which it is stored.
    pub fn check(&mut self) -> Vec<Violation> {
        let mut violations = Vec::new();
        check_name(&mut self.name, &mut violations);
        check_agent(self.agent.instructions.text(), self.agent.model.as_deref(), &mut violations);
        check_retention(self.retention_days, &mut violations);
        violations
    }

    /// Returns the channel, and the membership of its creator. An id that is not chosen comes from the request's key,
    /// or is generated.
    fn with_owner(self, creator: &UserId, creation: Option<&Creation>, clock: &impl Clock) -> (Channel, Member) {
        let now = clock.now();
        let channel_id = match (self.channel_id, creation) {
            (Some(id), _) => id,
            (None, Some(creation)) => ChannelId::of_request(creator, &creation.key),
            (None, None) => ChannelId::generate(clock.seed()),
        };
        let channel = Channel {
            channel_id,
            incarnation: Incarnation::generate(clock.seed()),
            name: self.name,
            visibility: self.visibility,
            agent: self.agent,
            read_receipts: self.read_receipts,
            last_seq: Seq::ZERO,
            last_message_at: None,
            created_by: creator.clone(),
            created_at: now,
            archived_at: None,
            retention_days: self.retention_days,
            version: 1,
        };
        let owner = Member {
            channel_id: channel.channel_id.clone(),
            user_id: creator.clone(),
            incarnation: Incarnation::generate(clock.seed()),
            role: MemberRole::Owner,
            joined_at: now,
            added_by: None,
        };
        (channel, owner)
    }
}

/// Changes of a channel's agent settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentChanges {
    /// Messages that the agent replies to. `None`: the mode stays.
    pub mode: Option<AgentMode>,
    /// Instructions.
    pub instructions: Patch<String>,
    /// Model. Without one, the agent uses the deployment's default.
    pub model: Patch<String>,
}

impl AgentChanges {
    fn apply(&self, agent: &mut AgentSettings) {
        agent.mode = self.mode.unwrap_or(agent.mode);
        match &self.instructions {
            Patch::Keep => {}
            Patch::Remove => agent.instructions = Instructions::None,
            Patch::Set(text) => agent.instructions = Instructions::Text(text.clone()),
        }
        self.model.clone().apply(&mut agent.model);
    }
}

/// Changes of a channel's settings, as a merge patch. `None`: the setting stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// See [`NewChannel::name`].
    pub name: Option<String>,
    /// Visibility. When a channel is made private, users who are no members stop receiving at once.
    pub visibility: Option<Visibility>,
    /// Agent settings.
    pub agent: AgentChanges,
    /// Whether members see how far the others have read.
    pub read_receipts: Option<bool>,
    /// See [`NewChannel::retention_days`]. Removing it keeps messages forever. Applies to messages sent after the
    /// change.
    pub retention_days: Patch<u32>,
    /// Whether it is archived.
    pub archived: Option<bool>,
}

impl Changes {
    /// Returns every rule that the changes break. Also changes the name to the form in which it is stored.
    pub fn check(&mut self) -> Vec<Violation> {
        let mut violations = Vec::new();
        if let Some(name) = &mut self.name {
            check_name(name, &mut violations);
        }
        let AgentChanges { instructions, model, .. } = &self.agent;
        let (instructions, model) = (instructions.value(), model.value());
        check_agent(instructions.map(String::as_str), model.map(String::as_str), &mut violations);
        check_retention(self.retention_days.value().copied(), &mut violations);
        violations
    }

    fn apply(&self, channel: &Channel, clock: &impl Clock) -> Channel {
        let mut changed = channel.clone();
        changed.name = self.name.clone().unwrap_or(changed.name);
        changed.visibility = self.visibility.unwrap_or(changed.visibility);
        self.agent.apply(&mut changed.agent);
        changed.read_receipts = self.read_receipts.unwrap_or(changed.read_receipts);
        self.retention_days.apply(&mut changed.retention_days);
        changed.archived_at = match self.archived {
            Some(true) => changed.archived_at.or_else(|| Some(clock.now())),
            Some(false) => None,
            None => changed.archived_at,
        };
        changed
    }
}

fn check_name(name: &mut String, violations: &mut Vec<Violation>) {
    match normalized(name) {
        Ok(stored) => *name = stored,
        Err(flaw) => violations.push(flaw.of("name")),
    }
}

fn check_agent(instructions: Option<&str>, model: Option<&str>, violations: &mut Vec<Violation>) {
    if instructions.is_some_and(|instructions| instructions.len() > AGENT_INSTRUCTIONS_BYTES) {
        let message = format!("must be at most {AGENT_INSTRUCTIONS_BYTES} bytes of UTF-8");
        violations.push(Violation::new("agent.instructions", "too_long", message));
    }
    let chars = model.map(|model| model.chars().count());
    if chars.is_some_and(|chars| !(1..=AGENT_MODEL_CHARS).contains(&chars)) {
        let message = format!("must be 1 to {AGENT_MODEL_CHARS} characters");
        violations.push(Violation::new("agent.model", "malformed", message));
    }
}

fn check_retention(days: Option<u32>, violations: &mut Vec<Violation>) {
    if days.is_some_and(|days| !(1..=RETENTION_DAYS).contains(&days)) {
        let message = format!("must be a number of days from 1 to {RETENTION_DAYS}, or null");
        violations.push(Violation::new("retention_days", "out_of_range", message));
    }
}

/// Channels whose ids the creators may choose: a setting of the deployment. A taken id reveals that a channel exists,
/// since ids are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChosenChannelIds {
    /// All channels.
    #[default]
    Any,
    /// Public channels. A public channel that is made private keeps its id.
    Public,
    /// No channels.
    None,
}

impl FromStr for ChosenChannelIds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "any" => Ok(Self::Any),
            "public" => Ok(Self::Public),
            "none" => Ok(Self::None),
            _ => Err("must be any, public or none"),
        }
    }
}

impl ChosenChannelIds {
    /// Returns the rule that a new channel breaks, if it breaks one.
    fn check(self, new: &NewChannel) -> Option<Violation> {
        let message = match (self, new.visibility) {
            _ if new.channel_id.is_none() => return None,
            (Self::Any, _) | (Self::Public, Visibility::Public) => return None,
            (Self::Public, Visibility::Private) => "must be left out for a private channel; its id is generated",
            (Self::None, _) => "must be left out; ids of channels are generated",
        };
        Some(Violation::new("channel_id", "not_allowed", message))
    }
}

/// Rules of a deployment for creating channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreationRules {
    /// Channels whose ids may be chosen.
    pub chosen_ids: ChosenChannelIds,
    /// Maximum number of existing channels that one user created.
    pub channels_per_user: usize,
}

/// Channel that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// Created by this call.
    New {
        /// The channel.
        channel: Channel,
        /// Membership of the creator.
        owner: Member,
    },
    /// Created by an earlier call with the same key; the channel as just read.
    Replayed(Channel),
}

impl<Channels, Connections, Sockets, Fan, Time> Membership<'_, Channels, Connections, Sockets, Fan, Time>
where
    Channels: ChannelStore + InvitationStore + PendingEnds,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Creates a channel, with its creator as its owner. If the creator repeats the request with the same `key`, it
    /// returns the existing channel. If the request has a key and no id, the id is derived from the key.
    ///
    /// # Errors
    /// [`ChatError::Invalid`], [`ChatError::ChannelExists`], [`ChatError::TooManyChannels`],
    /// [`ChatError::IdempotencyKeyReused`], [`ChatError::Store`].
    pub async fn create_channel(
        &self,
        creator: &UserId,
        mut new: NewChannel,
        key: Option<IdempotencyKey>,
        rules: CreationRules,
    ) -> Result<Created> {
        let mut violations = new.check();
        violations.extend(rules.chosen_ids.check(&new));
        if !violations.is_empty() {
            return Err(ChatError::Invalid(violations));
        }
        let creation = key.map(|key| Creation { fingerprint: fingerprint(&new), key });
        let (channel, owner) = new.with_owner(creator, creation.as_ref(), self.clock);
        let most = rules.channels_per_user;
        match self.channels.create(&channel, &owner, creation.as_ref(), most).await? {
            ChannelCreated::Done => {
                let action = AuditAction::ChannelCreated { settings: settings(&channel) };
                record(channel.created_at, creator, &channel.channel_id, action);
                // The creator's connections with `auto_subscribe` receive the channel.
                self.follow(&channel.key(), creator).await?;
                self.announce(&channel.key(), EphemeralEvent::ChannelCreated(channel.clone().into())).await;
                Ok(Created::New { channel, owner })
            }
            ChannelCreated::TooMany => Err(ChatError::TooManyChannels(most)),
            ChannelCreated::Taken => {
                let creation = creation.ok_or(ChatError::ChannelExists)?;
                self.replay_creation(&channel.channel_id, creator, &creation).await
            }
        }
    }

    /// Returns the channel of a taken id, if the creator made it with the same request.
    async fn replay_creation(&self, channel: &ChannelId, creator: &UserId, creation: &Creation) -> Result<Created> {
        let found = self.channels.channel(channel).await?.ok_or(ChatError::ChannelExists)?;
        match self.channels.creation(&found.key(), creator, &creation.key).await? {
            None => Err(ChatError::ChannelExists),
            Some(earlier) if earlier.fingerprint != creation.fingerprint => Err(ChatError::IdempotencyKeyReused),
            Some(_) => {
                if self.channels.member(&found.key(), creator).await?.is_some() {
                    // An earlier call may have stopped before it subscribed the connections.
                    self.follow(&found.key(), creator).await?;
                } else if found.visibility == Visibility::Private {
                    // To a creator who was removed the channel is one of others, whose id is taken.
                    return Err(ChatError::ChannelExists);
                }
                Ok(Created::Replayed(with_instructions(self.channels, found).await?))
            }
        }
    }

    /// Changes a channel's settings on behalf of `caller`, an owner, at a version that `condition` allows.
    /// After this has returned, users who are no members of a private channel receive no events of it. Also returns
    /// `true` if the maintenance function has a pending end to finish.
    ///
    /// # Errors
    /// [`ChatError::Invalid`], [`ChatError::ChannelNotFound`], [`ChatError::Forbidden`],
    /// [`ChatError::VersionMismatch`], [`ChatError::ChannelArchived`] (an archived channel must be restored first),
    /// [`ChatError::Contended`], [`ChatError::Store`].
    pub async fn change_channel(
        &self,
        channel: &ChannelId,
        caller: &UserId,
        condition: Option<&VersionCondition>,
        changes: &Changes,
    ) -> Result<(Channel, bool)> {
        let mut changes = changes.clone();
        let violations = changes.check();
        if !violations.is_empty() {
            return Err(ChatError::Invalid(violations));
        }
        let Self { channels, clock, .. } = *self;
        let mut same = SameChannel::default();
        for attempt in 0..CHANGE_ATTEMPTS {
            let mut access = owned(channels, channel, caller, condition, "only an owner changes a channel").await?;
            same.require(&access.channel)?;
            let is_read_later = access.channel.agent.instructions.is_unread();
            access.channel = with_instructions(channels, access.channel).await?;
            let found = &access.channel;
            let changed = changes.apply(found, clock);
            // An archived channel changes only by being restored. To archive it again is no change.
            let stays_archived = found.archived_at.is_some() && changed.archived_at.is_some();
            if stays_archived && (changes.archived.is_none() || changed != *found) {
                return Err(ChatError::ChannelArchived);
            }
            let pending = PendingEnd::new(found.key(), EndCause::MadePrivate, clock.seed());
            if changed == *found {
                // Instructions that are read after their channel may be of a later version.
                if is_read_later && !is_still(channels, found).await? {
                    CHANGE_BACKOFF.pause(clock, attempt).await;
                    continue;
                }
                // An earlier call may have stopped before it ended the subscriptions. Its pending end is worked on as
                // well.
                if changes.visibility == Some(Visibility::Private) {
                    let is_done = self.subscription_ends().finish_now(&pending).await;
                    return Ok((changed, !is_done));
                }
                return Ok((changed, false));
            }
            let changed = Channel { version: found.version + 1, ..changed };
            let pending = Some(pending).filter(|_| restricts_visibility(found, &changed));
            if channels.update(&access.as_member(), &changed, pending.as_ref(), clock.now()).await? {
                let action = AuditAction::ChannelChanged { settings: changed_settings(found, &changed) };
                record(clock.now(), caller, channel, action);
                let event = EphemeralEvent::ChannelUpdated(changed.clone().into());
                let is_done = if let Some(pending) = &pending {
                    self.end_and_announce(pending, event).await
                } else {
                    self.announce(&changed.key(), event).await;
                    true
                };
                return Ok((changed, !is_done));
            }
            CHANGE_BACKOFF.pause(clock, attempt).await;
        }
        Err(ChatError::contended())
    }

    /// Deletes a channel on behalf of `caller`, an owner, at a version that `condition` allows. After this has
    /// returned, no user finds the channel or receives events of it, and its id is free. The maintenance function
    /// removes its history.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`], [`ChatError::Forbidden`], [`ChatError::VersionMismatch`],
    /// [`ChatError::Contended`], [`ChatError::Store`].
    pub async fn delete_channel(
        &self,
        channel: &ChannelId,
        caller: &UserId,
        condition: Option<&VersionCondition>,
    ) -> Result<()> {
        let Self { channels, clock, .. } = *self;
        let mut same = SameChannel::default();
        for attempt in 0..CHANGE_ATTEMPTS {
            let access = owned(channels, channel, caller, condition, "only an owner deletes a channel").await?;
            same.require(&access.channel)?;
            let pending = PendingEnd::new(access.key(), EndCause::ChannelDeleted, clock.seed());
            if channels.delete(&access.as_member(), &pending, clock.now()).await? {
                record(clock.now(), caller, channel, AuditAction::ChannelDeleted);
                // Its sockets receive the event before they are closed.
                self.subscription_ends().finish_now(&pending).await;
                return Ok(());
            }
            CHANGE_BACKOFF.pause(clock, attempt).await;
        }
        Err(ChatError::contended())
    }
}

/// Returns whether a channel still has the version that was read.
async fn is_still(channels: &impl ChannelStore, read: &Channel) -> Result<bool> {
    let now = channels.channel(&read.channel_id).await?;
    Ok(now.is_some_and(|now| now.key() == read.key() && now.version == read.version))
}

fn fingerprint(new: &NewChannel) -> String {
    let json = serde_json::to_vec(new).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(Sha256::digest(json))
}

/// Returns the caller's access to a channel, if the caller is an owner.
async fn owned(
    channels: &impl ChannelStore,
    channel: &ChannelId,
    caller: &UserId,
    condition: Option<&VersionCondition>,
    refusal: &'static str,
) -> Result<Access> {
    let access = authorize_member(channels, channel, caller).await?;
    if access.role() != Some(MemberRole::Owner) {
        return Err(ChatError::not_permitted(refusal));
    }
    if condition.is_some_and(|condition| !condition.allows(access.channel.version)) {
        return Err(ChatError::VersionMismatch);
    }
    Ok(access)
}

#[cfg(test)]
mod tests;
