//! All that a schedule has in common.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chat::{
    memory::MemoryStore,
    model::{
        channel::{AgentMode, AgentSettings, Channel, Member, MemberRole, Visibility},
        id::{ChannelId, UserId},
        incarnation::Incarnation,
        message::Role,
        time::Timestamp,
    },
    ports::{clock::Clock, fan_out::PushBatch},
};

use crate::{
    executor::{Signal, Time, lock},
    mutant::Mutant,
    tables::{QuestionKey, Tables},
};

/// The channel of everybody, in which the agent answers.
pub(crate) const PUBLIC: &str = "public";
/// The channel of its members.
pub(crate) const PRIVATE: &str = "private";
/// The channel that people fight over: it is deleted and made anew, shown and hidden, and its members come and go.
pub(crate) const LOUNGE: &str = "lounge";
/// Owns all.
pub(crate) const OWNER: &str = "alice";
/// A member whose membership of the private channel ends in many schedules.
pub(crate) const MEMBER: &str = "bob";
/// Sees the public channel.
pub(crate) const READER: &str = "carol";
/// Tries what is not allowed.
pub(crate) const STRANGER: &str = "mallory";
/// Owns the lounge too.
pub(crate) const RIVAL: &str = "dave";
/// Moderates the lounge.
pub(crate) const MODERATOR: &str = "erin";

/// Everybody but the crowd.
pub(crate) const USERS: [&str; 6] = [OWNER, MEMBER, READER, STRANGER, RIVAL, MODERATOR];
/// Users of the crowd.
pub(crate) const CROWD: u64 = 8;

/// In one of so many schedules people invite others.
const INVITES: u64 = 8;

/// When a schedule begins: milliseconds since the Unix epoch.
pub(crate) const START: i64 = 1_800_000_000_000;

/// Items of a deleted channel that are removed at a time.
const REMOVED_AT_ONCE: usize = 3;

/// Invokes `SendMessageFunction` asynchronously.
pub(crate) type SendMessageFunction = fn(&Arc<World>, PushBatch);

pub(crate) struct World {
    pub(crate) time: Time,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) store: MemoryStore,
    pub(crate) send_message: SendMessageFunction,
    tables: Mutex<Tables>,
    /// Something was appended to the stream.
    pub(crate) appended: Signal,
    /// Something came to a socket, or it was closed.
    pub(crate) pushed: Signal,
    /// Ends were recorded that the maintenance may have to carry out.
    pub(crate) ended: Signal,
    /// How long the gateway takes for a call at most, in milliseconds.
    pub(crate) gateway_millis: u64,
    /// How many times as fast as people act elsewhere they act in the lounge.
    pub(crate) haste: u64,
    /// Whether people invite others to the lounge, who accept while they are uninvited.
    pub(crate) invites: bool,
    processes: AtomicU64,
    /// What happened, if somebody wants to know.
    pub(crate) event_log: Option<Mutex<Vec<String>>>,
}

pub(crate) fn channel(id: &str) -> ChannelId {
    id.parse().unwrap_or_else(|_| unreachable!("a channel's name in the simulator is an id"))
}

pub(crate) fn user(id: &str) -> UserId {
    id.parse().unwrap_or_else(|_| unreachable!("a user's name in the simulator is an id"))
}

/// The time and the chance of a schedule before anybody has a clock.
struct Dice<'a>(&'a Time);

impl Clock for Dice<'_> {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now())
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }

    fn random(&self) -> u128 {
        self.0.random()
    }
}

impl World {
    pub(crate) fn new(
        seed: u64,
        mutant: Option<Mutant>,
        without: Option<chat::memory::Rule>,
        send_message: SendMessageFunction,
    ) -> Self {
        let time = Time::new(seed, START);
        let mut store = MemoryStore::default().removing(REMOVED_AT_ONCE);
        for rule in mutant.and_then(Mutant::rule).into_iter().chain(without) {
            store = store.without(rule);
        }
        let gateway_millis = if time.one_in(6) { 100 + time.below(1_500) } else { 0 };
        let haste = if time.one_in(2) { 10 } else { 1 };
        let world = Self {
            time,
            mutant,
            store,
            send_message,
            tables: Mutex::new(Tables::default()),
            appended: Signal::default(),
            pushed: Signal::default(),
            ended: Signal::default(),
            gateway_millis,
            haste,
            // No chance is spent on it: all other schedules are what they would be without.
            invites: seed.is_multiple_of(INVITES),
            processes: AtomicU64::new(0),
            event_log: None,
        };
        let pair = [(OWNER, MemberRole::Owner), (MEMBER, MemberRole::Member)];
        world.make_channel(PUBLIC, Visibility::Public, AgentMode::Always, &pair);
        world.make_channel(PRIVATE, Visibility::Private, AgentMode::Off, &pair);
        world
    }

    /// Makes a channel with its members, before a schedule begins.
    pub(crate) fn make_channel(
        &self,
        id: &str,
        visibility: Visibility,
        mode: AgentMode,
        members: &[(&str, MemberRole)],
    ) {
        let dice = Dice(&self.time);
        let made = Channel {
            channel_id: channel(id),
            incarnation: Incarnation::generate(dice.seed()),
            name: id.to_owned(),
            visibility,
            agent: AgentSettings { mode, ..AgentSettings::default() },
            last_seq: 0,
            last_message_at: None,
            created_by: user(OWNER),
            created_at: dice.now(),
            archived_at: None,
            retention_days: None,
            version: 1,
        };
        let mut state = self.store.state();
        for (name, role) in members {
            let member = Member {
                channel_id: channel(id),
                user_id: user(name),
                incarnation: Incarnation::generate(dice.seed()),
                role: *role,
                joined_at: dice.now(),
                added_by: None,
            };
            state.put_member(&made.key(), member, 0);
        }
        state.put_channel(made);
    }

    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Sockets and notes. Who needs the stores' state too takes that first.
    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        lock(&self.tables)
    }

    /// A number for another process.
    pub(crate) fn next_process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes what has happened.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if let Some(event_log) = &self.event_log {
            lock(event_log).push(format!("{:>6} {}", self.time.now() - START, what()));
        }
    }

    pub(crate) fn violation(&self, what: String) {
        self.tell(|| format!("VIOLATION {what}"));
        self.tables().violations.push(what);
    }
}

/// The message of a channel that holds a text, by which the model tells what it is asked.
pub(crate) fn question(world: &World, id: &ChannelId, text: &str) -> Option<QuestionKey> {
    let state = world.store.state();
    let key = state.channels.get(id)?.key();
    let found = state.messages.get(&key)?.values().map(|item| &item.stored.message);
    let found =
        found.filter(|message| message.role == Role::User && message.content == text).map(|one| one.seq).next()?;
    Some((key, found))
}
