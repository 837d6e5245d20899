//! Runs of the whole domain that one number decides.
//!
//! A schedule runs actors on one thread, over the domain's own code, its stores in memory ([`chat::memory`]) and a simulated
//! gateway. Its seed decides which actor takes the next step, what fails, which process dies, and how clocks go. A seed always
//! gives the same schedule.
//!
//! | actor | does |
//! | --- | --- |
//! | senders | send to a public and a private channel, most of them under an idempotency key, until they are answered |
//! | clients | follow their memberships or name a channel; catch up on gaps; connect by ticket; renew tokens |
//! | stream | gives both workers batches of changes, in several lanes |
//! | workers | deliver, and answer as the agent; hand large audiences over to `SendMessageFunction` |
//! | maintenance | two functions at once carry out pending ends under leases |
//! | people in the lounge | delete that channel and make it anew; hide, show, archive and restore it; remove members who rejoin; invite, accept, decline and take back, in some schedules; demote and remove each other; edit, delete, react, cancel, mark and read |
//!
//! | what goes wrong | how |
//! | --- | --- |
//! | stores, sockets, hand-overs | a call fails before it takes effect, or after; is slow; conflicts; is repeated by the client library |
//! | processes | die between any two steps; a step ends at each await point, before and after each effect |
//! | the stream | batches are cut anywhere, come again whole or from a failed record on, and once more after they were done; lanes overtake one another |
//! | workers | go on after the stream has dropped them, beside those that have the batch then |
//! | sockets | take no push for a while, or take long for one; vanish; clients come back under another id or the same |
//! | clocks | differ between processes, and jump while one runs |
//! | models | break off, refuse, are busy |
//!
//! Each schedule has a budget of faults. When it is used up the system must converge. `oracle` says what must hold then, and
//! what must hold at each instant.

mod actors;
mod client;
mod executor;
mod invocation;
mod lounge;
mod mutant;
mod node;
mod oracle;
mod sender;
mod stream;
mod tables;
mod world;

pub use mutant::Mutant;

use std::sync::{Arc, Mutex};

use chat::memory::Rule;
use world::World;

/// What came of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Steps that were taken.
    pub steps: u64,
    /// What went wrong on purpose.
    pub faults: u32,
    /// Processes that died.
    pub deaths: u32,
    /// A hash of who took each step and when: the same for the same seed.
    pub trace: u64,
    /// What must hold and did not.
    pub violations: Vec<String>,
    /// What happened, if that was asked for.
    pub event_log: Vec<String>,
}

/// Runs the schedule of a seed, with one thing built wrong if `mutant` says so.
#[must_use]
pub fn run(seed: u64, mutant: Option<Mutant>) -> Report {
    simulate(World::new(seed, mutant, None, invocation::send_message))
}

/// Runs the schedule of a seed over stores that lack a rule.
#[must_use]
pub fn run_without(seed: u64, rule: Rule) -> Report {
    simulate(World::new(seed, None, Some(rule), invocation::send_message))
}

/// The same, and tells what happened.
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
        // One more message in each channel, and nothing fails any more: who was given up finds out what is missing.
        world.time.end_faults();
        actors::send_final_messages(&world);
        comes_to_rest = executor::run(&world.time);
        oracle::at_the_end(&world);
    }
    if !comes_to_rest {
        world.violation("the schedule does not come to rest".to_owned());
    }
    let (steps, faults, deaths, trace) = world.time.counts();
    let event_log = world.event_log.as_ref().map(|log| std::mem::take(&mut *executor::lock(log))).unwrap_or_default();
    Report { steps, faults, deaths, trace, violations: world.tables().violations.clone(), event_log }
}
