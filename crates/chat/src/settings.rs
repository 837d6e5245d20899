//! Creating channels, changing their settings, and deleting them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    channel::{AgentSettings, Channel, ChannelStore, Creation, Member, MemberRole, Visibility},
    clock::Clock,
    connection::ConnectionStore,
    delivery::SocketPusher,
    error::{ChatError, Result},
    history::readable_channel,
    id::{ChannelId, IdempotencyKey, UserId},
    limits::{
        AGENT_INSTRUCTIONS_BYTES, AGENT_MODEL_CHARS, CHANGE_ATTEMPTS, CHANNEL_NAME_CHARS, RETENTION_DAYS, RETRY_AFTER,
    },
    membership::{Membership, shuts_out},
    validation::Violation,
};

/// A channel to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewChannel {
    /// Its id; one is generated when there is none.
    pub channel_id: Option<ChannelId>,
    /// Its display name: 1 to 100 characters, no control characters.
    pub name: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// Its agent.
    pub agent: AgentSettings,
    /// Days after which its messages expire: 1 to 3,650; `None`: never.
    pub retention_days: Option<u32>,
}

impl NewChannel {
    /// Every rule that it breaks.
    #[must_use]
    pub fn check(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        check_name(&self.name, &mut violations);
        check_agent(&self.agent, &mut violations);
        check_retention(self.retention_days, &mut violations);
        violations
    }
}

/// Changes of a channel's settings; what is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// See [`NewChannel::name`].
    pub name: Option<String>,
    /// Who may see it. Made private, those who are no members stop receiving at once.
    pub visibility: Option<Visibility>,
    /// Its agent.
    pub agent: Option<AgentSettings>,
    /// See [`NewChannel::retention_days`]; `Some(None)` keeps messages for ever. Of messages from then on.
    pub retention_days: Option<Option<u32>>,
    /// Whether it is archived.
    pub archived: Option<bool>,
}

impl Changes {
    /// Every rule that they break.
    #[must_use]
    pub fn check(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        if let Some(name) = &self.name {
            check_name(name, &mut violations);
        }
        if let Some(agent) = &self.agent {
            check_agent(agent, &mut violations);
        }
        check_retention(self.retention_days.flatten(), &mut violations);
        violations
    }

    fn apply(&self, channel: &Channel, clock: &impl Clock) -> Channel {
        let mut changed = channel.clone();
        changed.name = self.name.clone().unwrap_or(changed.name);
        changed.visibility = self.visibility.unwrap_or(changed.visibility);
        changed.agent = self.agent.clone().unwrap_or(changed.agent);
        changed.retention_days = self.retention_days.unwrap_or(changed.retention_days);
        changed.archived_at = match self.archived {
            Some(true) => changed.archived_at.or_else(|| Some(clock.now())),
            Some(false) => None,
            None => changed.archived_at,
        };
        changed
    }
}

fn check_name(name: &str, violations: &mut Vec<Violation>) {
    let chars = name.chars().count();
    if chars == 0 || chars > CHANNEL_NAME_CHARS || name.chars().any(char::is_control) {
        let message = format!("must be 1 to {CHANNEL_NAME_CHARS} characters, none of them a control character");
        violations.push(Violation::new("name", "malformed", message));
    }
}

fn check_agent(agent: &AgentSettings, violations: &mut Vec<Violation>) {
    if agent.instructions.as_ref().is_some_and(|instructions| instructions.len() > AGENT_INSTRUCTIONS_BYTES) {
        let message = format!("must be at most {AGENT_INSTRUCTIONS_BYTES} bytes of UTF-8");
        violations.push(Violation::new("agent.instructions", "too_long", message));
    }
    let chars = agent.model.as_ref().map(|model| model.chars().count());
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

/// A channel that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// By this call.
    New(Channel),
    /// By an earlier call under the same key; the channel as it is now.
    Replayed(Channel),
}

/// Creates a channel; its creator becomes its owner. A creator who repeats the request under its `key` gets the channel
/// that there is; with a key, an id that is left out follows from it.
///
/// # Errors
/// [`ChatError::Invalid`], [`ChatError::ChannelExists`], [`ChatError::IdempotencyKeyReused`], [`ChatError::Store`].
pub async fn create(
    channels: &impl ChannelStore,
    clock: &impl Clock,
    creator: &UserId,
    new: NewChannel,
    key: Option<IdempotencyKey>,
) -> Result<Created> {
    let violations = new.check();
    if !violations.is_empty() {
        return Err(ChatError::Invalid(violations));
    }
    let creation = key.map(|key| Creation { fingerprint: fingerprint(&new), key });
    let now = clock.now();
    let channel_id = match (new.channel_id, &creation) {
        (Some(id), _) => id,
        (None, Some(creation)) => ChannelId::of_request(creator, &creation.key),
        (None, None) => ChannelId::generate(clock),
    };
    let channel = Channel {
        channel_id,
        name: new.name,
        visibility: new.visibility,
        agent: new.agent,
        last_seq: 0,
        last_message_at: None,
        created_by: creator.clone(),
        created_at: now,
        archived_at: None,
        retention_days: new.retention_days,
        version: 1,
    };
    let owner = Member {
        channel_id: channel.channel_id.clone(),
        user_id: creator.clone(),
        role: MemberRole::Owner,
        joined_at: now,
    };
    if channels.create(&channel, &owner, creation.as_ref()).await? {
        return Ok(Created::New(channel));
    }
    let Some(creation) = creation else { return Err(ChatError::ChannelExists) };
    let earlier = channels.creation(&channel.channel_id, creator, &creation.key).await?;
    match earlier {
        None => Err(ChatError::ChannelExists),
        Some(earlier) if earlier.fingerprint != creation.fingerprint => Err(ChatError::IdempotencyKeyReused),
        Some(_) => {
            let found = channels.channel(&channel.channel_id).await?;
            found.map(Created::Replayed).ok_or(ChatError::ChannelExists)
        }
    }
}

fn fingerprint(new: &NewChannel) -> String {
    let json = serde_json::to_vec(new).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(Sha256::digest(json))
}

/// Changes a channel's settings on behalf of `caller`, an owner. With `version`, only if it is still of that one.
/// Once this has returned, nobody who was shut out receives anything of it.
///
/// # Errors
/// [`ChatError::Invalid`], [`ChatError::ChannelNotFound`], [`ChatError::Forbidden`],
/// [`ChatError::VersionMismatch`], [`ChatError::ChannelArchived`] (an archived channel must be restored first),
/// [`ChatError::Contended`], [`ChatError::Store`].
pub async fn change(
    members: &Membership<'_, impl ChannelStore, impl ConnectionStore, impl SocketPusher, impl Clock>,
    channel: &ChannelId,
    caller: &UserId,
    version: Option<u64>,
    changes: &Changes,
) -> Result<Channel> {
    let violations = changes.check();
    if !violations.is_empty() {
        return Err(ChatError::Invalid(violations));
    }
    for _ in 0..CHANGE_ATTEMPTS {
        let found = readable_channel(members.channels, channel, caller).await?;
        match members.channels.member(channel, caller).await? {
            Some(Member { role: MemberRole::Owner, .. }) => {}
            _ => return Err(ChatError::Forbidden("only an owner changes a channel")),
        }
        if version.is_some_and(|version| version != found.version) {
            return Err(ChatError::VersionMismatch);
        }
        if found.archived_at.is_some() && changes.archived.is_none() {
            return Err(ChatError::ChannelArchived);
        }
        let changed = changes.apply(&found, members.clock);
        if changed == found {
            // An earlier call may have ended before all were shut out.
            if changes.visibility == Some(Visibility::Private) {
                members.end_strangers(&found).await?;
            }
            return Ok(found);
        }
        let changed = Channel { version: found.version + 1, ..changed };
        if members.channels.update(&found, &changed).await? {
            if shuts_out(&found, &changed) {
                members.end_strangers(&changed).await?;
            }
            return Ok(changed);
        }
    }
    Err(ChatError::Contended { retry_after: RETRY_AFTER })
}

/// Deletes a channel on behalf of `caller`, an owner. With `version`, only if it is still of that one. Once this has
/// returned, nobody finds the channel or receives anything of it; its history is removed in the background.
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::Forbidden`], [`ChatError::VersionMismatch`],
/// [`ChatError::Contended`], [`ChatError::Store`].
pub async fn delete(
    members: &Membership<'_, impl ChannelStore, impl ConnectionStore, impl SocketPusher, impl Clock>,
    channel: &ChannelId,
    caller: &UserId,
    version: Option<u64>,
) -> Result<()> {
    for _ in 0..CHANGE_ATTEMPTS {
        let found = readable_channel(members.channels, channel, caller).await?;
        match members.channels.member(channel, caller).await? {
            Some(Member { role: MemberRole::Owner, .. }) => {}
            _ => return Err(ChatError::Forbidden("only an owner deletes a channel")),
        }
        if version.is_some_and(|version| version != found.version) {
            return Err(ChatError::VersionMismatch);
        }
        if members.channels.delete(&found, members.clock.now()).await? {
            return members.end_all(channel).await;
        }
    }
    Err(ChatError::Contended { retry_after: RETRY_AFTER })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_agent(agent: AgentSettings) -> Vec<String> {
        let violations = Changes { agent: Some(agent), ..Changes::default() }.check();
        violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_model_is_named_in_characters_and_instructions_are_counted_in_bytes() {
        let named = |model: String| of_agent(AgentSettings { model: Some(model), ..AgentSettings::default() });
        let told = |text: String| of_agent(AgentSettings { instructions: Some(text), ..AgentSettings::default() });
        assert_eq!(named("𝐓".repeat(AGENT_MODEL_CHARS)), [""; 0]);
        for model in [String::new(), "𝐓".repeat(AGENT_MODEL_CHARS + 1)] {
            assert_eq!(named(model), ["agent.model"]);
        }
        assert_eq!(told("é".repeat(AGENT_INSTRUCTIONS_BYTES / 2)), [""; 0]);
        assert_eq!(told("é".repeat(AGENT_INSTRUCTIONS_BYTES / 2) + "e"), ["agent.instructions"]);
    }
}
