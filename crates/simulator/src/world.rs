//! All that a schedule has in common.

use std::sync::{Mutex, MutexGuard};

use chat::{
    channel::{AgentMode, AgentSettings, Channel, MemberRole, Visibility},
    clock::Timestamp,
    id::{ChannelId, UserId},
};

use crate::{
    executor::{Signal, Time, lock},
    plant::Plant,
    tables::Tables,
};

/// The channel of everybody, in which the agent answers.
pub(crate) const PUBLIC: &str = "public";
/// The channel of its members.
pub(crate) const PRIVATE: &str = "private";
/// Owns both.
pub(crate) const OWNER: &str = "alice";
/// A member whose membership of the private channel ends in many schedules.
pub(crate) const MEMBER: &str = "bob";
/// Sees the public channel.
pub(crate) const READER: &str = "carol";
/// Tries what is not allowed.
pub(crate) const STRANGER: &str = "mallory";

/// When a schedule begins: milliseconds since the Unix epoch.
pub(crate) const START: i64 = 1_800_000_000_000;

pub(crate) struct World {
    pub(crate) time: Time,
    pub(crate) plant: Option<Plant>,
    tables: Mutex<Tables>,
    /// Something was appended to the stream.
    pub(crate) appended: Signal,
    /// Something came to a socket, or it was closed.
    pub(crate) pushed: Signal,
    /// What happened, if somebody wants to know.
    pub(crate) story: Option<Mutex<Vec<String>>>,
}

pub(crate) fn channel(id: &str) -> ChannelId {
    id.parse().unwrap_or_else(|_| unreachable!("a channel's name in the simulator is an id"))
}

pub(crate) fn user(id: &str) -> UserId {
    id.parse().unwrap_or_else(|_| unreachable!("a user's name in the simulator is an id"))
}

impl World {
    pub(crate) fn new(seed: u64, plant: Option<Plant>) -> Self {
        let time = Time::new(seed);
        let mut tables = Tables::default();
        for (id, visibility, mode) in
            [(PUBLIC, Visibility::Public, AgentMode::Always), (PRIVATE, Visibility::Private, AgentMode::Off)]
        {
            let channel_id = channel(id);
            for (name, role) in [(OWNER, MemberRole::Owner), (MEMBER, MemberRole::Member)] {
                tables.members.insert((channel_id.clone(), user(name)), role);
            }
            let made = Channel {
                channel_id: channel_id.clone(),
                name: id.to_owned(),
                visibility,
                agent: AgentSettings { mode, ..AgentSettings::default() },
                last_seq: 0,
                last_message_at: None,
                created_by: user(OWNER),
                created_at: Timestamp::from_millis(time.now()),
                archived_at: None,
                retention_days: None,
                version: 1,
            };
            tables.channels.insert(channel_id, made);
        }
        Self {
            time,
            plant,
            tables: Mutex::new(tables),
            appended: Signal::default(),
            pushed: Signal::default(),
            story: None,
        }
    }

    pub(crate) fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        lock(&self.tables)
    }

    /// Notes what has happened.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if let Some(story) = &self.story {
            lock(story).push(format!("{:>6} {}", self.time.now() - START, what()));
        }
    }

    pub(crate) fn violation(&self, what: String) {
        self.tables().violations.push(what);
    }
}
