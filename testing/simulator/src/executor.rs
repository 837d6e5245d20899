//! Single-threaded executor with simulated time and seeded randomness. It picks the next ready task at random. If no
//! task is ready, it advances the time to the next timer.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// Steps after which a schedule counts as endless.
const STEPS: u64 = 400_000;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time, randomness and tasks of a schedule.
pub(crate) struct Time {
    core: Mutex<Core>,
    ready: Arc<Mutex<Vec<usize>>>,
}

struct Core {
    chance: SmallRng,
    /// Milliseconds since the Unix epoch.
    now: i64,
    timers: BTreeMap<(i64, u64), Waker>,
    timers_made: u64,
    tasks: Vec<Option<Task>>,
    faults_left: u32,
    faults: u32,
    deaths: u32,
    steps: u64,
    trace: u64,
}

/// Kind of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A client, a user or the stream. It lives until the end of the schedule.
    Actor,
    /// A process of the system, which may die.
    Process,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    kind: Kind,
    waker: Waker,
}

/// Waker that adds a task to the ready tasks.
struct Wakes {
    task: usize,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

impl Time {
    pub(crate) fn new(seed: u64, start: i64) -> Self {
        let mut chance = SmallRng::seed_from_u64(seed);
        // Some schedules have no faults, to find bugs that need none.
        let faults_left = if chance.random_bool(0.1) { 0 } else { chance.random_range(5..60) };
        let core = Core {
            chance,
            now: start,
            timers: BTreeMap::new(),
            timers_made: 0,
            tasks: Vec::new(),
            faults_left,
            faults: 0,
            deaths: 0,
            steps: 0,
            trace: 0xcbf2_9ce4_8422_2325,
        };
        Self { core: Mutex::new(core), ready: Arc::default() }
    }

    pub(crate) fn now(&self) -> i64 {
        lock(&self.core).now
    }

    pub(crate) fn random(&self) -> u128 {
        lock(&self.core).chance.random()
    }

    /// Returns a random number below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        lock(&self.core).chance.random_range(0..bound)
    }

    pub(crate) fn one_in(&self, number: u64) -> bool {
        self.below(number) == 0
    }

    /// Injects a fault with a probability of 1 to `number`, while the fault budget lasts.
    pub(crate) fn inject_fault(&self, number: u64) -> bool {
        lock(&self.core).inject_fault(number)
    }

    pub(crate) fn end_faults(&self) {
        lock(&self.core).faults_left = 0;
    }

    /// Returns the numbers of steps, faults and deaths, and the hash of the trace.
    pub(crate) fn counts(&self) -> (u64, u32, u32, u64) {
        let core = lock(&self.core);
        (core.steps, core.faults, core.deaths, core.trace)
    }

    /// Ends a step: other tasks may run before this one continues.
    pub(crate) async fn turn(&self) {
        let mut waited = false;
        std::future::poll_fn(|context| {
            if waited {
                return Poll::Ready(());
            }
            waited = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let until = self.now().saturating_add(millis);
        let mut timer = None;
        std::future::poll_fn(|context| {
            let mut core = lock(&self.core);
            if core.now >= until && timer.is_some() {
                return Poll::Ready(());
            }
            // A future polled again may have another waker, so its old timer is removed.
            if let Some(old) = timer.take() {
                core.timers.remove(&(until, old));
            }
            core.timers_made += 1;
            let number = core.timers_made;
            core.timers.insert((until, number), context.waker().clone());
            timer = Some(number);
            Poll::Pending
        })
        .await;
    }

    /// Starts a task.
    pub(crate) fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Handle<T> {
        self.start(Kind::Actor, future)
    }

    /// Starts a process, which may die.
    pub(crate) fn spawn_process<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Handle<T> {
        self.start(Kind::Process, future)
    }

    fn start<T: Send + 'static>(&self, kind: Kind, future: impl Future<Output = T> + Send + 'static) -> Handle<T> {
        let end = Arc::new(Mutex::new(End::Open(None)));
        let guard = Guard(Arc::clone(&end));
        let future = Box::pin(async move {
            let guard = guard;
            let value = future.await;
            guard.settle(Some(value));
        });
        let mut core = lock(&self.core);
        let task = core.tasks.len();
        let waker = Waker::from(Arc::new(Wakes { task, ready: Arc::clone(&self.ready) }));
        waker.wake_by_ref();
        core.tasks.push(Some(Task { future, kind, waker }));
        Handle(end)
    }
}

impl Core {
    fn inject_fault(&mut self, number: u64) -> bool {
        if self.faults_left == 0 || self.chance.random_range(0..number) > 0 {
            return false;
        }
        self.faults_left -= 1;
        self.faults += 1;
        true
    }

    fn note(&mut self, value: u64) {
        // FNV-1a over words instead of bytes.
        self.trace = (self.trace ^ value).wrapping_mul(0x0100_0000_01b3);
    }

    fn due(&mut self) -> Vec<Waker> {
        let later = self.timers.split_off(&(self.now + 1, 0));
        std::mem::replace(&mut self.timers, later).into_values().collect()
    }
}

impl Time {
    /// Drops all tasks. They hold the world, which holds this time.
    pub(crate) fn drop_tasks(&self) {
        let (tasks, timers) = {
            let mut core = lock(&self.core);
            (std::mem::take(&mut core.tasks), std::mem::take(&mut core.timers))
        };
        drop((tasks, timers));
    }
}

/// Runs until no task is ready and no timer is left. Returns `false` if the schedule exceeds [`STEPS`].
pub(crate) fn run(time: &Time) -> bool {
    loop {
        let due = lock(&time.core).due();
        due.into_iter().for_each(Waker::wake);
        let mut ready = lock(&time.ready);
        if ready.is_empty() {
            drop(ready);
            let mut core = lock(&time.core);
            let Some((at, _)) = core.timers.first_key_value() else { return true };
            core.now = at.0;
            continue;
        }
        let mut core = lock(&time.core);
        if core.steps >= STEPS {
            return false;
        }
        let count = ready.len();
        let number = ready.swap_remove(core.chance.random_range(0..count));
        drop(ready);
        let Some(mut task) = core.tasks[number].take() else { continue };
        core.steps += 1;
        core.now += core.chance.random_range(0..2);
        let (who, when) = (number as u64, core.now.unsigned_abs());
        core.note(who);
        core.note(when);
        let dies = task.kind == Kind::Process && core.inject_fault(150);
        core.deaths += u32::from(dies);
        drop(core);
        if dies {
            drop(task);
            continue;
        }
        let waker = task.waker.clone();
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            lock(&time.core).tasks[number] = Some(task);
        }
    }
}

/// State of a task's result.
enum End<T> {
    /// The task runs. Holds the waker of the waiting task.
    Open(Option<Waker>),
    /// The task ended. `None`: it died.
    Settled(Option<T>),
    Taken,
}

struct Guard<T>(Arc<Mutex<End<T>>>);

impl<T> Guard<T> {
    fn settle(&self, value: Option<T>) {
        let mut end = lock(&self.0);
        if let End::Open(waiting) = &mut *end {
            let waiting = waiting.take();
            *end = End::Settled(value);
            drop(end);
            if let Some(waker) = waiting {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        self.settle(None);
    }
}

/// Handle that resolves to the result of a task. `None`: the task died.
pub(crate) struct Handle<T>(Arc<Mutex<End<T>>>);

impl<T> Future for Handle<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut end = lock(&self.0);
        match std::mem::replace(&mut *end, End::Taken) {
            End::Settled(value) => Poll::Ready(value),
            End::Open(_) | End::Taken => {
                *end = End::Open(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Repeatable event that tasks can wait for.
#[derive(Default)]
pub(crate) struct Signal(Mutex<Vec<Waker>>);

impl Signal {
    pub(crate) fn raise(&self) {
        let waiting = std::mem::take(&mut *lock(&self.0));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until `check` returns a value. Runs it again after each signal.
    pub(crate) async fn until<T>(&self, mut check: impl FnMut() -> Option<T> + Send) -> T {
        std::future::poll_fn(|context| {
            if let Some(found) = check() {
                return Poll::Ready(found);
            }
            lock(&self.0).push(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}
