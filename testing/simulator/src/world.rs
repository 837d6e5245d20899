//! State shared by all actors of a schedule.

use std::{
    collections::BTreeMap,
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
        draft::DraftPace,
        id::{ChannelId, UserId},
        incarnation::Incarnation,
        limits::CHANGE_DURATION,
        message::Role,
        seq::Seq,
        time::Timestamp,
        token_bucket::Bucket,
    },
    ports::{clock::Clock, fan_out::PushBatch},
};

use crate::{
    executor::{Signal, Time, lock},
    mutant::Mutant,
    tables::{QuestionKey, Tables},
    throttle::Throttle,
};

/// The channel that all users may read. The agent replies in it.
pub(crate) const PUBLIC: &str = "public";
/// The private channel.
pub(crate) const PRIVATE: &str = "private";
/// The contended channel: it is deleted and recreated, made public and private, and its members come and go.
pub(crate) const LOUNGE: &str = "lounge";
/// The public channel whose guests are announced.
pub(crate) const HALL: &str = "hall";
/// Owner of all channels.
pub(crate) const OWNER: &str = "alice";
/// Member whose membership of the private channel ends in many schedules.
pub(crate) const MEMBER: &str = "bob";
/// User who may read the public channel.
pub(crate) const READER: &str = "carol";
/// User who tries forbidden requests.
pub(crate) const STRANGER: &str = "mallory";
/// Second owner of the lounge.
pub(crate) const RIVAL: &str = "dave";
/// Moderator of the lounge.
pub(crate) const MODERATOR: &str = "erin";

/// All users except the crowd.
pub(crate) const USERS: [&str; 6] = [OWNER, MEMBER, READER, STRANGER, RIVAL, MODERATOR];
/// Number of users of the crowd.
pub(crate) const CROWD: u64 = 8;

/// Rate limit of each user, from which an environment takes one token at a time.
const BUCKET: Bucket = Bucket { every: Duration::from_millis(400), burst: 3 };
/// Rate limit of each user in schedules with a busy sender, from which an environment takes handfuls.
const WIDE_BUCKET: Bucket = Bucket { every: Duration::from_millis(400), burst: 12 };

/// One in so many schedules has invitations.
const INVITES: u64 = 8;
/// One in so many schedules has two edits of one message at a time.
const ANNOTATES: u64 = 16;
/// One in so many schedules has messages in threads.
const THREADS: u64 = 8;
/// One in so many schedules has a busy sender.
const BUSY: u64 = 16;
/// One in so many schedules stores records of changes for [`SHORT_DURATION`] only.
const EXPIRES: u64 = 8;
/// One in so many schedules has guests in the hall.
const HALLS: u64 = 8;
/// Two in so many schedules have another pace of drafts.
const PACES: u64 = 16;
/// Time for which some schedules store records of changes. Clients that were away longer load the history again.
const SHORT_DURATION: Duration = Duration::from_secs(2);

/// Start time of every schedule, in milliseconds since the Unix epoch.
pub(crate) const START: i64 = 1_800_000_000_000;

/// Maximum items of a deleted channel that are removed in one call.
const REMOVED_AT_ONCE: usize = 3;

/// Invokes `SendMessageFunction` asynchronously.
pub(crate) type SendMessageFunction = fn(&Arc<World>, PushBatch);

#[expect(clippy::struct_excessive_bools, reason = "each is a trait of a schedule, independent of the others")]
pub(crate) struct World {
    pub(crate) time: Time,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) store: MemoryStore,
    pub(crate) send_message: SendMessageFunction,
    tables: Mutex<Tables>,
    /// Raised when a record is appended to the stream.
    pub(crate) appended: Signal,
    /// Raised when a frame reaches a socket, or a socket is closed.
    pub(crate) pushed: Signal,
    /// Raised when ends are recorded that the maintenance may have to carry out.
    pub(crate) ended: Signal,
    /// Maximum duration of a call of the gateway, in milliseconds.
    pub(crate) gateway_millis: u64,
    /// Factor by which actors of the lounge are faster than others.
    pub(crate) haste: u64,
    /// Whether users invite others to the lounge and withdraw invitations while those are accepted.
    pub(crate) invites: bool,
    /// Whether two users edit different fields of one message of the lounge at the same time.
    pub(crate) annotates: bool,
    /// Whether senders also reply in threads.
    pub(crate) threads: bool,
    /// Whether a user sends as fast as the rate limit allows, from two environments.
    pub(crate) busy: bool,
    /// Time for which records of changes are stored.
    pub(crate) change_duration: Duration,
    /// Quotas of some schedules.
    pub(crate) throttle: Throttle,
    /// Whether guests come to the hall and go, and are announced there.
    pub(crate) hall: bool,
    /// Raised when subscriptions may have changed.
    pub(crate) subscribed: Signal,
    /// Pace of drafts. In some schedules few sockets are a crowd.
    pub(crate) draft_pace: DraftPace,
    /// Whether the model continues a reply from its prefix.
    pub(crate) continues: bool,
    /// Number of words of a reply of a model that continues replies.
    words: u64,
    processes: AtomicU64,
    /// Events of the schedule, if they are recorded.
    pub(crate) event_log: Option<Mutex<Vec<String>>>,
}

pub(crate) fn channel(id: &str) -> ChannelId {
    id.parse().unwrap_or_else(|_| unreachable!("a channel's name in the simulator is an id"))
}

pub(crate) fn user(id: &str) -> UserId {
    id.parse().unwrap_or_else(|_| unreachable!("a user's name in the simulator is an id"))
}

/// Clock and randomness of a schedule before any process has a clock.
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
            // Uses no randomness, so that all other schedules stay the same.
            invites: seed.is_multiple_of(INVITES),
            annotates: seed % ANNOTATES == 9,
            threads: seed % THREADS == 5,
            busy: seed % BUSY == 7,
            change_duration: if seed % EXPIRES == 3 { SHORT_DURATION } else { CHANGE_DURATION },
            throttle: Throttle::new(seed, START),
            hall: seed % HALLS == 6,
            subscribed: Signal::default(),
            draft_pace: match seed % PACES {
                6 => DraftPace { pushes_per_second: 1, listeners: 100 },
                11 => DraftPace { pushes_per_second: 1_000, listeners: 1 },
                _ => DraftPace::default(),
            },
            continues: seed % 4 < 2,
            words: 2 + seed % 5,
            processes: AtomicU64::new(0),
            event_log: None,
        };
        let pair = [(OWNER, MemberRole::Owner), (MEMBER, MemberRole::Member)];
        world.make_channel(PUBLIC, Visibility::Public, AgentMode::Always, &pair);
        world.make_channel(PRIVATE, Visibility::Private, AgentMode::Off, &pair);
        if world.hall {
            world.make_channel(HALL, Visibility::Public, AgentMode::Off, &[]);
        }
        world
    }

    /// Creates a channel with its members, before a schedule begins.
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
            read_receipts: true,
            last_seq: Seq::ZERO,
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
            state.put_member(&made.key(), member, Seq::ZERO);
        }
        state.put_channel(made);
    }

    /// Returns the reply of a model that continues replies. It is the same in each call, so that a continuation is
    /// known.
    pub(crate) fn whole_reply(&self) -> String {
        let words: Vec<String> = (1..=self.words).map(|number| format!("wörd{number} ")).collect();
        words.concat()
    }

    /// Returns the rate limit of each user.
    pub(crate) fn bucket(&self) -> Bucket {
        if self.busy { WIDE_BUCKET } else { BUCKET }
    }

    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Locks sockets and notes. A caller that needs the stores' state too must lock that first.
    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        lock(&self.tables)
    }

    /// Records changed subscriptions of the hall. To be called at the instant of each change: the stream has records of
    /// a subscription that is removed soon, too.
    pub(crate) fn note_guests(&self) {
        if !self.hall {
            return;
        }
        let state = self.store.state();
        let hall = state.channels.get(&channel(HALL)).map(Channel::key);
        let all = hall.and_then(|key| state.subscriptions.get(&key)).into_iter().flat_map(BTreeMap::values);
        let current = all.map(|one| ((one.connection.id.clone(), one.connection.connected_at), one.user_id.clone()));
        self.tables().guests.note(current.collect());
    }

    /// Returns the number for a new process.
    pub(crate) fn next_process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// Records an event.
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

/// Returns the message of a channel that holds a text. The simulated model finds by it which message it replies to.
pub(crate) fn question(world: &World, id: &ChannelId, text: &str) -> Option<QuestionKey> {
    let state = world.store.state();
    let key = state.channels.get(id)?.key();
    let found = state.messages.get(&key)?.values().map(|item| &item.stored.message);
    let found =
        found.filter(|message| message.role == Role::User && message.content == text).map(|one| one.seq).next()?;
    Some((key, found))
}
