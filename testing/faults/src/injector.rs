//! Faults injected into the stack while the fleet runs. A seed decides kind, target and time.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::Client;
use jiff::{SignedDuration, Timestamp};
use local::token;
use rand::{
    RngExt, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use rustix::process::Signal;
use switchboard_client::Method;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    client::{Shared, User},
    disk::Disk,
    machine::Machine,
    poison,
    process::Process,
    subscriber::{Buffer, Handle, Order, Refused, open},
};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    KillFunction,
    KillAllFunctions,
    KillRunner,
    KillGuardian,
    PauseFunction,
    PauseRunner,
    FullDisk,
    StopReading,
    Cut,
    CutAll,
    Poison,
    Skew,
    WrongToken,
}

/// Kinds of faults and their weights.
const KINDS: [(Kind, u32); 13] = [
    (Kind::KillFunction, 30),
    (Kind::KillAllFunctions, 3),
    (Kind::KillRunner, 4),
    (Kind::KillGuardian, 1),
    (Kind::PauseFunction, 12),
    (Kind::PauseRunner, 3),
    (Kind::FullDisk, 3),
    (Kind::StopReading, 12),
    (Kind::Cut, 12),
    (Kind::CutAll, 2),
    (Kind::Poison, 4),
    (Kind::Skew, 4),
    (Kind::WrongToken, 3),
];

/// Maximum offset of the functions' clocks in either direction, in seconds.
const SKEW: i64 = 10;

/// An offset that the verifier of tokens rejects, in seconds.
const TOO_FAR: i64 = 600;

/// Injects faults into the stack.
pub(crate) struct Injector<'a> {
    pub(crate) machine: Arc<Machine>,
    pub(crate) disk: &'a Disk,
    pub(crate) tables: &'a Client,
    pub(crate) shared: Arc<Shared>,
    pub(crate) subscribers: &'a [Handle],
    pub(crate) chance: StdRng,
    /// Tasks that resume paused processes.
    paused: JoinSet<()>,
    poisoned: u64,
}

impl<'a> Injector<'a> {
    pub(crate) fn new(
        machine: &Arc<Machine>,
        disk: &'a Disk,
        tables: &'a Client,
        shared: &Arc<Shared>,
        subscribers: &'a [Handle],
        seed: u64,
    ) -> Self {
        Self {
            machine: Arc::clone(machine),
            disk,
            tables,
            shared: Arc::clone(shared),
            subscribers,
            chance: StdRng::seed_from_u64(seed),
            paused: JoinSet::new(),
            poisoned: 0,
        }
    }

    /// Injects faults until `end`, then ends all of them. Returns the number of poisoned records.
    pub(crate) async fn run(mut self, end: Instant) -> Result<u64, String> {
        // Each kind comes once, even in a short run; then the kinds are random.
        let mut first: Vec<Kind> = KINDS.iter().map(|(kind, _)| *kind).collect();
        first.shuffle(&mut self.chance);
        while Instant::now() < end {
            let kind = match first.pop() {
                Some(kind) => kind,
                None => match KINDS.choose_weighted(&mut self.chance, |(_, weight)| *weight) {
                    Ok((kind, _)) => *kind,
                    Err(error) => return Err(error.to_string()),
                },
            };
            self.inject(kind).await?;
            while self.paused.try_join_next().is_some() {}
            let pause = Duration::from_millis(self.chance.random_range(200..1_500));
            sleep(pause).await;
        }
        // Waits until every paused process has resumed.
        while self.paused.join_next().await.is_some() {}
        self.machine.skew().set(0).map_err(|error| format!("the clocks cannot be reset: {error}"))?;
        Ok(self.poisoned)
    }

    async fn inject(&mut self, kind: Kind) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let ledger = &shared.ledger;
        match kind {
            Kind::KillFunction => {
                if self.one_function().await.is_some_and(|function| function.signal(Signal::KILL)) {
                    ledger.fault("functions killed");
                }
            }
            Kind::KillAllFunctions => {
                for function in self.machine.functions().await {
                    function.signal(Signal::KILL);
                }
                ledger.fault("all functions killed");
            }
            Kind::KillGuardian => {
                if self.machine.reaper().await.is_some_and(|guardian| guardian.signal(Signal::KILL)) {
                    ledger.fault("process reaper killed");
                }
            }
            Kind::KillRunner => self.kill_runner().await?,
            Kind::PauseFunction => {
                // Sometimes longer than the timeout of most functions.
                let most = if self.chance.random_bool(0.1) { 14_000 } else { 5_000 };
                if let Some(function) = self.one_function().await {
                    self.pause(function, most, "functions paused");
                }
            }
            Kind::PauseRunner => {
                if let Some(runner) = self.machine.runner().await {
                    self.pause(runner, 3_000, "runner paused");
                }
            }
            Kind::FullDisk => self.fill_disk().await?,
            Kind::StopReading => {
                let deaf = Duration::from_millis(self.chance.random_range(2_000..25_000));
                self.order(Order::StopReading(deaf), "clients that do not read");
            }
            Kind::Cut => self.order(Order::Cut, "sockets cut"),
            Kind::CutAll => {
                for subscriber in self.subscribers {
                    let _ = subscriber.orders.send(Order::Cut);
                }
                ledger.fault("all sockets cut");
            }
            Kind::Poison => self.put_poison().await,
            Kind::Skew => self.move_clocks()?,
            Kind::WrongToken => self.wrong_token().await,
        }
        Ok(())
    }

    /// Kills the runner and starts it again after up to two seconds.
    async fn kill_runner(&mut self) -> Result<(), String> {
        self.machine.kill().await;
        self.shared.ledger.fault("runner killed");
        let away = Duration::from_millis(self.chance.random_range(0..2_000));
        sleep(away).await;
        self.machine.start().await?;
        Ok(())
    }

    /// Adds a record that no worker can process. Repeats the request until the stack accepts it.
    async fn put_poison(&mut self) {
        let number = self.poisoned;
        self.poisoned += 1;
        self.shared.ledger.fault("records poisoned");
        while !poison::put(self.tables, number).await {
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Moves the clocks of the functions, if this machine allows it.
    fn move_clocks(&mut self) -> Result<(), String> {
        if self.machine.skew().is_possible() {
            let seconds = self.chance.random_range(-SKEW..=SKEW);
            self.machine.skew().set(seconds).map_err(|error| format!("the clocks cannot be set: {error}"))?;
            self.shared.ledger.fault("clocks of functions moved");
        }
        Ok(())
    }

    async fn one_function(&mut self) -> Option<Process> {
        let mut functions = self.machine.functions().await;
        if functions.is_empty() {
            return None;
        }
        let index = self.chance.random_range(0..functions.len());
        Some(functions.swap_remove(index))
    }

    fn pause(&mut self, process: Process, most: u64, kind: &'static str) {
        if !process.signal(Signal::STOP) {
            return;
        }
        self.shared.ledger.fault(kind);
        let duration = Duration::from_millis(self.chance.random_range(200..most));
        self.paused.spawn(async move {
            sleep(duration).await;
            process.signal(Signal::CONT);
        });
    }

    fn order(&mut self, order: Order, kind: &'static str) {
        if let Some(subscriber) = self.subscribers.choose(&mut self.chance) {
            let _ = subscriber.orders.send(order);
            self.shared.ledger.fault(kind);
        }
    }

    async fn fill_disk(&mut self) -> Result<(), String> {
        let Some(runner) = self.machine.runner().await else { return Ok(()) };
        self.disk.fill(runner.pid).map_err(|error| format!("the disk cannot be filled: {error}"))?;
        self.shared.ledger.fault("disk full");
        let full = Duration::from_millis(self.chance.random_range(500..4_000));
        sleep(full).await;
        self.disk.free(Some(runner.pid)).map_err(|error| format!("the disk cannot be freed: {error}"))
    }

    /// Checks that a token from a clock far ahead is not accepted yet, and that one from a clock far behind has
    /// expired.
    async fn wrong_token(&mut self) {
        self.shared.ledger.fault("tokens of wrong clocks");
        let now = Timestamp::now();
        let user = User::new("late", SignedDuration::ZERO, &self.shared);
        let ahead = now.saturating_add(SignedDuration::from_secs(TOO_FAR)).unwrap_or(now);
        let secret = &self.shared.secret;
        let expired = token::sign(secret, &user.name, SignedDuration::from_secs(-TOO_FAR), now);
        for token in [token::sign(secret, &user.name, token::DEFAULT_TTL, ahead), expired].into_iter().flatten() {
            if matches!(
                open(&user, &token, &["open".to_owned()], Buffer::Ample).await,
                Ok(_) | Err(Refused::Status { status: 200..400, .. })
            ) {
                self.shared.ledger.violation("a token of a wrong clock opened a socket".to_owned());
            }
            let answer = self.shared.api.with_token(&token).ask(Method::GET, "/channels", &[], None).await;
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                self.shared.ledger.violation("a token of a wrong clock was accepted".to_owned());
            }
        }
    }
}
