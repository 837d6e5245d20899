//! Deterministic runs of the whole domain, each determined by one seed.
//!
//! A schedule runs actors on one thread, over the domain's own code, its stores in memory ([`chat::memory`]) and a
//! simulated gateway. Its seed decides which actor takes the next step, which calls fail, which processes die, and how
//! clocks differ. A seed always gives the same schedule.
//!
//! | actor | does |
//! | --- | --- |
//! | senders | send to a public and a private channel until they get a response, most of them with an idempotency key; in some schedules in threads, or from two environments as fast as the rate limit allows |
//! | users | edit, delete and react to messages of the public and the private channel, often two of them the same message at once |
//! | clients | subscribe to all their channels or to a named one; read the history after a gap of `seq`, the changes after a gap of `rev`, and the reply after a gap of a draft; load the history again if changes have expired; connect by ticket; renew tokens |
//! | stream | gives both workers batches of changes, in several lanes |
//! | workers | deliver, and reply as the agent; dispatch push batches of large audiences to `SendMessageFunction` |
//! | guests of the hall | in some schedules: come to a channel and go; a worker announces them by a small limit of subscriptions |
//! | maintenance | two concurrent functions close expired sockets, and carry out pending ends under leases |
//! | users of the lounge | delete and recreate that channel; make it private and public, archive and restore it; remove members, who rejoin; in some schedules invite, accept, decline and withdraw; demote and remove each other; edit, delete, react, cancel, mark and read; in some schedules edit two fields of a message at once |
//!
//! | place | faults |
//! | --- | --- |
//! | stores, sockets, dispatches | a call fails before or after its effect; is slow; conflicts; is repeated by the client library |
//! | processes | die between any two steps; a step ends at each await point, before and after each effect |
//! | the stream | batches have any length, are repeated as a whole or from a failed record on, and again after success; lanes overtake each other |
//! | workers | continue after the stream has dropped them, concurrently with the next worker of the batch |
//! | sockets | accept no push for some time, or are slow; vanish; clients reconnect under another id or the same |
//! | clocks | differ between processes, and jump while a process runs |
//! | stores | in some schedules keep records of changes for two seconds |
//! | quotas | in some schedules stores and gateway accept few calls and pushes at a time, for three seconds |
//! | drafts | in some schedules have a slow pace, or so small a limit of sockets that these get the message only |
//! | models | end mid-reply, refuse, are busy; in some schedules they continue a reply from its prefix |
//!
//! Each schedule has a budget of faults. When it is used up the system must converge. `oracle` contains the invariants
//! of the converged state, and those of each instant.

mod actors;
mod changes;
mod client;
mod executor;
mod hall;
mod invocation;
mod lounge;
mod model;
mod mutant;
mod node;
mod oracle;
mod sender;
mod stream;
mod tables;
mod throttle;
mod world;

pub use mutant::Mutant;

use std::sync::{Arc, Mutex};

use chat::memory::Rule;
use world::World;

/// Result of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Number of steps taken.
    pub steps: u64,
    /// Number of injected faults.
    pub faults: u32,
    /// Number of processes that died.
    pub deaths: u32,
    /// Hash over the task and time of each step: equal for equal seeds.
    pub trace: u64,
    /// Violated invariants.
    pub violations: Vec<String>,
    /// Events of the schedule. Only [`tell`] records them.
    pub event_log: Vec<String>,
}

/// Runs the schedule of a seed, with the bug `mutant` if one is given.
#[must_use]
pub fn run(seed: u64, mutant: Option<Mutant>) -> Report {
    simulate(World::new(seed, mutant, None, invocation::send_message))
}

/// Runs the schedule of a seed over stores that do not check `rule`.
#[must_use]
pub fn run_without(seed: u64, rule: Rule) -> Report {
    simulate(World::new(seed, None, Some(rule), invocation::send_message))
}

/// Runs the schedule like [`run`] and records its events.
#[must_use]
pub fn tell(seed: u64, mutant: Option<Mutant>) -> Report {
    let mut world = World::new(seed, mutant, None, invocation::send_message);
    world.event_log = Some(Mutex::default());
    simulate(world)
}

fn simulate(world: World) -> Report {
    let world = Arc::new(world);
    actors::start(&world);
    let mut comes_to_rest = executor::run(&world.time);
    if comes_to_rest {
        oracle::check_quiescent(&world);
        // Faults are over. One more message per channel reveals the gap to clients whose pushes were dropped.
        world.time.end_faults();
        world.throttle.end();
        actors::send_final_messages(&world);
        comes_to_rest = executor::run(&world.time);
        oracle::at_the_end(&world);
    }
    if !comes_to_rest {
        world.violation("the schedule does not converge".to_owned());
    }
    let (steps, faults, deaths, trace) = world.time.counts();
    world.time.drop_tasks();
    let event_log = world.event_log.as_ref().map(|log| std::mem::take(&mut *executor::lock(log))).unwrap_or_default();
    Report { steps, faults, deaths, trace, violations: world.tables().violations.clone(), event_log }
}
