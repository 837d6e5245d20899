//! Entries of the audit log: changes of channels, memberships, roles and settings, and changes of others' messages.
//!
//! An entry names ids, roles and settings. It holds no content of a message, no name of a channel and no instructions.

use serde::{Deserialize, Serialize};

use crate::model::{
    channel::{Channel, MemberRole},
    id::{ChannelId, ConnectionId, UserId},
    seq::Seq,
    time::Timestamp,
};

/// Target of the `tracing` events that carry entries, in their field `entry`.
pub const AUDIT_TARGET: &str = "audit";

/// Actor of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "actor_kind", content = "actor", rename_all = "snake_case")]
pub enum Actor {
    /// A user, by a request.
    User(UserId),
    /// An operator, by a command. The text is the name that the operator gave.
    Operator(String),
}

/// Change that the audit log records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum AuditAction {
    /// A channel was created. The actor is its first owner.
    ChannelCreated {
        /// Settings: see [`settings`].
        settings: Vec<String>,
    },
    /// Settings of a channel were changed.
    ChannelChanged {
        /// Changed settings: see [`changed_settings`].
        settings: Vec<String>,
    },
    /// A channel was deleted.
    ChannelDeleted,
    /// A user became a member.
    MemberAdded {
        /// The member.
        user_id: UserId,
        /// Role.
        role: MemberRole,
    },
    /// A user was invited.
    MemberInvited {
        /// The user.
        user_id: UserId,
        /// Role that the invitation offers.
        role: MemberRole,
    },
    /// An invitation was declined or withdrawn.
    InvitationEnded {
        /// The invited user.
        user_id: UserId,
    },
    /// The role of a member was changed.
    RoleChanged {
        /// The member.
        user_id: UserId,
        /// Role before.
        from: MemberRole,
        /// Role after.
        to: MemberRole,
    },
    /// A membership ended.
    MemberRemoved {
        /// The former member.
        user_id: UserId,
        /// Last role.
        role: MemberRole,
    },
    /// A message of another author was edited.
    MessageEdited {
        /// `seq` of the message.
        seq: Seq,
        /// Author.
        sender_id: UserId,
    },
    /// A message of another author was deleted.
    MessageDeleted {
        /// `seq` of the message.
        seq: Seq,
        /// Author.
        sender_id: UserId,
    },
    /// An operator erased the data of a user.
    UserErased {
        /// The user, or the name in its place if the id was erased too.
        user_id: UserId,
    },
    /// An operator closed a connection.
    ConnectionClosed {
        /// The connection.
        connection_id: ConnectionId,
        /// Its user.
        user_id: UserId,
    },
}

/// Entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Time of the change.
    pub at: Timestamp,
    /// Actor.
    #[serde(flatten)]
    pub actor: Actor,
    /// Channel, if the change is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// Change.
    #[serde(flatten)]
    pub action: AuditAction,
}

impl AuditEntry {
    /// Returns whether the entry names a user: as the actor, or as the user or the author that the change is about.
    #[must_use]
    pub fn names(&self, user: &UserId) -> bool {
        let is_actor = matches!(&self.actor, Actor::User(actor) if actor == user);
        is_actor || self.subject() == Some(user)
    }

    /// Returns the user or the author that the change is about.
    #[must_use]
    pub fn subject(&self) -> Option<&UserId> {
        match &self.action {
            AuditAction::ChannelCreated { .. } | AuditAction::ChannelChanged { .. } | AuditAction::ChannelDeleted => {
                None
            }
            AuditAction::MemberAdded { user_id, .. }
            | AuditAction::MemberInvited { user_id, .. }
            | AuditAction::InvitationEnded { user_id }
            | AuditAction::RoleChanged { user_id, .. }
            | AuditAction::MemberRemoved { user_id, .. }
            | AuditAction::UserErased { user_id }
            | AuditAction::ConnectionClosed { user_id, .. } => Some(user_id),
            AuditAction::MessageEdited { sender_id, .. } | AuditAction::MessageDeleted { sender_id, .. } => {
                Some(sender_id)
            }
        }
    }
}

/// Returns the settings of a channel, each as `name=value`. Texts that members chose have their name only.
#[must_use]
pub fn settings(channel: &Channel) -> Vec<String> {
    let days = channel.retention_days.map_or_else(|| "never".to_owned(), |days| days.to_string());
    vec![
        setting("visibility", &channel.visibility),
        setting("archived", &channel.archived_at.is_some()),
        setting("read_receipts", &channel.read_receipts),
        format!("retention_days={days}"),
        setting("agent.mode", &channel.agent.mode),
    ]
}

/// Returns the settings that differ from `before` to `after`, as in [`settings`], with their values after.
#[must_use]
pub fn changed_settings(before: &Channel, after: &Channel) -> Vec<String> {
    let old = settings(before);
    let mut changed: Vec<String> = settings(after).into_iter().filter(|one| !old.contains(one)).collect();
    for (name, differs) in [
        ("name", before.name != after.name),
        ("agent.instructions", before.agent.instructions != after.agent.instructions),
        ("agent.model", before.agent.model != after.agent.model),
    ] {
        if differs {
            changed.push(name.to_owned());
        }
    }
    changed
}

fn setting(name: &str, value: &impl Serialize) -> String {
    let value = serde_json::to_string(value).unwrap_or_default();
    format!("{name}={}", value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        model::channel::{AgentMode, Instructions, Visibility},
        testing::TestStore,
    };

    fn channel() -> Channel {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
        let found = store.state().channels.values().next().cloned();
        found.unwrap()
    }

    #[test]
    fn an_entry_is_one_flat_object_and_reads_back() {
        let entry = AuditEntry {
            at: Timestamp::from_secs(1_800_000_000),
            actor: Actor::User("mod".parse().unwrap()),
            channel_id: Some("c".parse().unwrap()),
            action: AuditAction::MessageDeleted { seq: Seq::new(7), sender_id: "alice".parse().unwrap() },
        };
        let json = serde_json::to_value(&entry).unwrap();
        let expected = json!({
            "at": "2027-01-15T08:00:00.000Z", "actor_kind": "user", "actor": "mod", "channel_id": "c",
            "action": "message_deleted", "seq": 7, "sender_id": "alice",
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<AuditEntry>(json).unwrap(), entry);
        let (moderator, alice, bob) = ("mod".parse().unwrap(), "alice".parse().unwrap(), "bob".parse().unwrap());
        assert!(entry.names(&moderator) && entry.names(&alice) && !entry.names(&bob));
        let operator = AuditEntry {
            actor: Actor::Operator("mod".to_owned()),
            channel_id: None,
            action: AuditAction::UserErased { user_id: alice },
            ..entry
        };
        assert!(!operator.names(&moderator), "the name of an operator is no id of a user");
        let json = serde_json::to_value(&operator).unwrap();
        assert_eq!(serde_json::from_value::<AuditEntry>(json).unwrap(), operator);
    }

    #[test]
    fn changed_settings_have_their_values_and_no_texts_of_members() {
        let before = channel();
        assert_eq!(changed_settings(&before, &before), Vec::<String>::new());
        let mut after = before.clone();
        after.name = "secret name".to_owned();
        after.visibility = Visibility::Private;
        after.retention_days = Some(30);
        after.archived_at = Some(Timestamp::from_secs(1));
        after.agent.mode = AgentMode::Off;
        after.agent.instructions = Instructions::Text("secret instructions".to_owned());
        let changed = changed_settings(&before, &after);
        let expected = [
            "visibility=private",
            "archived=true",
            "retention_days=30",
            "agent.mode=off",
            "name",
            "agent.instructions",
        ];
        assert_eq!(changed, expected);
        assert!(!changed.concat().contains("secret"));
        assert_eq!(settings(&before)[..2], ["visibility=public", "archived=false"]);
    }
}
