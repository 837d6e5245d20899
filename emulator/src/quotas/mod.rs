//! Quotas of an AWS account: requests, new connections, concurrent functions, and units of a partition.
//!
//! Without [`Limits`], nothing is counted and nothing is refused. Each service asks this module before its work and
//! answers a refused request itself, as it does on AWS. All times come from one [`Clock`].

mod bucket;
mod concurrency;
mod limits;
mod meter;
mod partitions;
mod report;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::{bucket::Bucket, concurrency::Concurrency, meter::Meter, partitions::Partitions};
use crate::stack::Function;

pub(crate) use self::{
    concurrency::Execution,
    partitions::{Kind, Partition},
};
pub use self::{
    limits::Limits,
    report::{Busiest, Count, Report, Units, router},
};

/// Source of time since any fixed moment. It never goes back.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Source of a request that counts against the account's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A request to the REST API.
    Rest,
    /// A message of a client of the WebSocket API.
    Message,
    /// A request to `@connections`.
    Management,
}

/// Quotas of one run, with the counts of admitted and refused requests. Clones share them.
#[derive(Clone)]
pub struct Quotas {
    /// `None` without limits.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    limits: Limits,
    clock: Clock,
    account: Mutex<Account>,
    connects: Mutex<Rate>,
    concurrency: Mutex<Concurrency>,
    partitions: Mutex<Partitions>,
}

/// The account's rate with the counts of each source.
struct Account {
    bucket: Option<Bucket>,
    rest: Count,
    messages: Count,
    management: Count,
    meter: Meter,
}

/// A rate with its counts.
struct Rate {
    bucket: Option<Bucket>,
    count: Count,
    meter: Meter,
}

impl Default for Quotas {
    /// Returns quotas that admit everything.
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas").field("limits", &self.limits()).finish_non_exhaustive()
    }
}

impl Quotas {
    /// Creates the quotas of a run.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let began = Instant::now();
        Self::with_clock(limits, Arc::new(move || began.elapsed()))
    }

    /// Creates the quotas with another clock.
    #[must_use]
    pub fn with_clock(limits: Limits, clock: Clock) -> Self {
        if limits == Limits::default() {
            return Self { shared: None };
        }
        let now = clock();
        let bucket = |(rate, capacity)| Bucket::new(rate, capacity, now);
        let shared = Shared {
            account: Mutex::new(Account {
                bucket: limits.account().map(bucket),
                rest: Count::default(),
                messages: Count::default(),
                management: Count::default(),
                meter: Meter::default(),
            }),
            connects: Mutex::new(Rate {
                // The quota is a number a second and names no burst.
                bucket: limits.connects.map(|rate| bucket((rate, rate))),
                count: Count::default(),
                meter: Meter::default(),
            }),
            concurrency: Mutex::new(Concurrency::new(limits.concurrency)),
            partitions: Mutex::new(Partitions::new(limits.partition_reads, limits.partition_writes)),
            limits,
            clock,
        };
        Self { shared: Some(Arc::new(shared)) }
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.as_ref().map(|shared| shared.limits).unwrap_or_default()
    }

    /// Returns the counts so far. They are zero without limits.
    #[must_use]
    pub fn report(&self) -> Report {
        let Some(shared) = &self.shared else { return Report::default() };
        let account = lock(&shared.account);
        let connects = lock(&shared.connects);
        let concurrency = lock(&shared.concurrency);
        let partitions = lock(&shared.partitions);
        Report {
            limits: shared.limits,
            rest: account.rest,
            messages: account.messages,
            management: account.management,
            peak_requests: account.meter.peak(),
            connects: connects.count,
            peak_connects: connects.meter.peak(),
            invocations: concurrency.count(),
            peak_concurrency: concurrency.peak(),
            reads: partitions.units(Kind::Read),
            writes: partitions.units(Kind::Write),
            busiest: partitions.busiest(),
        }
    }

    /// Takes a token of the account's rate. Returns `false` if there is none.
    pub(crate) fn admits_request(&self, source: Source) -> bool {
        let Some(shared) = &self.shared else { return true };
        let now = (shared.clock)();
        let mut account = lock(&shared.account);
        let admitted = account.bucket.as_mut().is_none_or(|bucket| bucket.take(now));
        let count = match source {
            Source::Rest => &mut account.rest,
            Source::Message => &mut account.messages,
            Source::Management => &mut account.management,
        };
        count.add(admitted);
        if admitted {
            account.meter.add(now, 1.0);
        }
        admitted
    }

    /// Takes a token of the rate of new WebSocket connections. Returns `false` if there is none.
    pub(crate) fn admits_connect(&self) -> bool {
        let Some(shared) = &self.shared else { return true };
        let now = (shared.clock)();
        let mut connects = lock(&shared.connects);
        let admitted = connects.bucket.as_mut().is_none_or(|bucket| bucket.take(now));
        connects.count.add(admitted);
        if admitted {
            connects.meter.add(now, 1.0);
        }
        admitted
    }

    /// Takes the reserved concurrency of functions from the account's.
    pub(crate) fn reserve(&self, functions: &[Function]) {
        if let Some(shared) = &self.shared {
            lock(&shared.concurrency).reserve(functions);
        }
    }

    /// Begins an execution of a function. It ends when the value is dropped. Returns `None` if the function's
    /// concurrency is used up.
    pub(crate) fn execution(&self, function: &str) -> Option<Execution> {
        let Some(shared) = &self.shared else { return Some(Execution::uncounted()) };
        lock(&shared.concurrency).begin(function).then(|| Execution::counted(self.clone(), function))
    }

    /// Ends an execution of a function.
    fn end(&self, function: &str) {
        if let Some(shared) = &self.shared {
            lock(&shared.concurrency).end(function);
        }
    }

    /// Returns whether the units of partitions are counted.
    pub(crate) fn counts_units(&self) -> bool {
        self.shared.is_some()
    }

    /// Takes estimated units of a partition. Returns `false` if the partition has none left.
    pub(crate) fn takes_units(&self, partition: &Partition, kind: Kind, units: f64) -> bool {
        let Some(shared) = &self.shared else { return true };
        let now = (shared.clock)();
        lock(&shared.partitions).take(partition, kind, units, now)
    }

    /// Corrects taken units by the difference to the consumed ones, which is negative if fewer were consumed.
    pub(crate) fn corrects_units(&self, partition: &Partition, kind: Kind, difference: f64) {
        let Some(shared) = &self.shared else { return };
        let now = (shared.clock)();
        lock(&shared.partitions).correct(partition, kind, difference, now);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    /// Returns quotas, and the time of their clock in milliseconds.
    fn quotas(limits: &[(&str, u32)]) -> (Quotas, Arc<Mutex<u64>>) {
        let time = Arc::new(Mutex::new(0));
        let clock = Arc::clone(&time);
        let limits = limits.iter().fold(Limits::default(), |mut limits, (name, value)| {
            limits.set(name, NonZeroU32::new(*value).unwrap()).unwrap();
            limits
        });
        (Quotas::with_clock(limits, Arc::new(move || Duration::from_millis(*lock(&clock)))), time)
    }

    #[test]
    fn one_rate_is_shared_by_both_apis_and_the_management_api() {
        let (quotas, time) = quotas(&[("account-rate", 10), ("account-burst", 3)]);
        for source in [Source::Rest, Source::Message, Source::Management] {
            assert!(quotas.admits_request(source));
        }
        assert!(!quotas.admits_request(Source::Rest));
        *lock(&time) = 99;
        assert!(!quotas.admits_request(Source::Message));
        *lock(&time) = 100;
        assert!(quotas.admits_request(Source::Message));
        assert!(!quotas.admits_request(Source::Management));
        // The burst is the most that a pause saves.
        *lock(&time) = 60_000;
        let admitted = (0..10).filter(|_| quotas.admits_request(Source::Rest)).count();
        assert_eq!(admitted, 3);
        let report = quotas.report();
        assert_eq!(report.rest, Count { admitted: 4, refused: 8 });
        assert_eq!(report.messages, Count { admitted: 2, refused: 1 });
        assert_eq!(report.management, Count { admitted: 1, refused: 1 });
    }

    #[test]
    fn new_connections_have_a_rate_of_their_own() {
        let (quotas, time) = quotas(&[("connects", 5)]);
        assert_eq!((0..8).filter(|_| quotas.admits_connect()).count(), 5);
        assert!(quotas.admits_request(Source::Rest));
        *lock(&time) = 400;
        assert_eq!((0..8).filter(|_| quotas.admits_connect()).count(), 2);
        assert_eq!(quotas.report().connects, Count { admitted: 7, refused: 9 });
    }

    #[test]
    fn a_partition_has_units_a_second_and_reads_do_not_take_those_of_writes() {
        let (quotas, time) = quotas(&[("partition-reads", 30), ("partition-writes", 10)]);
        let (hot, cold) = (Partition::new("t", None, "hot"), Partition::new("t", None, "cold"));
        assert!(quotas.takes_units(&hot, Kind::Write, 8.0));
        // A request is admitted as long as there is a unit. Its debt delays the next one.
        assert!(quotas.takes_units(&hot, Kind::Write, 8.0));
        assert!(!quotas.takes_units(&hot, Kind::Write, 1.0));
        assert!(quotas.takes_units(&hot, Kind::Read, 0.5));
        assert!(quotas.takes_units(&cold, Kind::Write, 1.0));
        *lock(&time) = 500;
        assert!(!quotas.takes_units(&hot, Kind::Write, 1.0));
        *lock(&time) = 700;
        assert!(quotas.takes_units(&hot, Kind::Write, 1.0));
        quotas.corrects_units(&hot, Kind::Read, 29.5);
        assert!(quotas.takes_units(&hot, Kind::Read, 1.0));
        let report = quotas.report();
        assert_eq!((report.writes.refused, report.reads.refused), (2, 0));
        assert_eq!(report.busiest[0].partition, "t hot");
    }

    #[test]
    fn a_pause_saves_no_more_than_a_second() {
        let (quotas, time) = quotas(&[("partition-writes", 10)]);
        let partition = Partition::new("t", None, "a");
        *lock(&time) = 300_000;
        assert_eq!((0..40).filter(|_| quotas.takes_units(&partition, Kind::Write, 1.0)).count(), 10);
    }

    #[test]
    fn without_limits_nothing_is_refused_and_nothing_is_counted() {
        let quotas = Quotas::default();
        for _ in 0..20_000 {
            assert!(quotas.admits_request(Source::Rest) && quotas.admits_connect());
        }
        assert!(!quotas.counts_units() && quotas.execution("f").is_some());
        assert_eq!(quotas.report(), Report::default());
    }
}
