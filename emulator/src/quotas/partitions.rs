//! Read and write units of partitions.
//!
//! Each partition key has a partition of its own that never splits. On AWS several keys share a partition, and adaptive
//! capacity may isolate a hot key or split a collection by its sort key ("DynamoDB burst and adaptive capacity"). Unused
//! units last for one second: burst capacity does not exceed a partition's maximum, which these limits are.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use super::{Busiest, Units, bucket::Bucket, meter::Meter};

/// Number of partitions after which idle ones are forgotten.
const MOST_PARTITIONS: usize = 50_000;

/// Units after which a partition is never forgotten, so that the report has the busiest ones.
const BUSY_UNITS: f64 = 1_000.0;

/// Number of partitions in the report.
const REPORTED: usize = 20;

/// Kind of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

/// A partition key of a table or of an index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Partition {
    pub(crate) table: String,
    pub(crate) index: Option<String>,
    /// Value of the partition key as text.
    pub(crate) key: String,
}

impl Partition {
    pub(crate) fn new(table: impl Into<String>, index: Option<String>, key: impl Into<String>) -> Self {
        Self { table: table.into(), index, key: key.into() }
    }

    fn name(&self) -> String {
        match &self.index {
            Some(index) => format!("{}/{index} {}", self.table, self.key),
            None => format!("{} {}", self.table, self.key),
        }
    }
}

/// Units of one kind of a partition.
#[derive(Debug)]
struct Balance {
    /// `None` is no limit.
    bucket: Option<Bucket>,
    meter: Meter,
}

#[derive(Debug)]
struct Balances {
    read: Balance,
    write: Balance,
}

impl Balances {
    fn of(&mut self, kind: Kind) -> &mut Balance {
        match kind {
            Kind::Read => &mut self.read,
            Kind::Write => &mut self.write,
        }
    }

    fn total(&self) -> f64 {
        self.read.meter.total() + self.write.meter.total()
    }

    fn is_idle(&mut self, now: Duration) -> bool {
        let is_full = |balance: &mut Balance| balance.bucket.as_mut().is_none_or(|bucket| bucket.is_full(now));
        is_full(&mut self.read) && is_full(&mut self.write)
    }
}

/// All partitions that were used.
#[derive(Debug)]
pub(super) struct Partitions {
    reads: Option<NonZeroU32>,
    writes: Option<NonZeroU32>,
    balances: HashMap<Partition, Balances>,
    read_units: Units,
    write_units: Units,
}

impl Partitions {
    pub(super) fn new(reads: Option<NonZeroU32>, writes: Option<NonZeroU32>) -> Self {
        Self { reads, writes, balances: HashMap::new(), read_units: Units::default(), write_units: Units::default() }
    }

    /// Takes units if the partition has any left.
    pub(super) fn take(&mut self, partition: &Partition, kind: Kind, units: f64, now: Duration) -> bool {
        let balance = self.balance(partition, kind, now);
        let admitted = balance.bucket.as_mut().is_none_or(|bucket| bucket.take_into_debt(units, now));
        if admitted {
            balance.meter.add(now, units);
        }
        let total = self.total(kind);
        if admitted {
            total.consumed += units;
        } else {
            total.refused += 1;
        }
        admitted
    }

    /// Adds units that were consumed, or gives units back.
    pub(super) fn correct(&mut self, partition: &Partition, kind: Kind, units: f64, now: Duration) {
        let balance = self.balance(partition, kind, now);
        if let Some(bucket) = &mut balance.bucket {
            bucket.charge(units, now);
        }
        balance.meter.add(now, units);
        self.total(kind).consumed += units;
    }

    pub(super) fn units(&self, kind: Kind) -> Units {
        match kind {
            Kind::Read => self.read_units,
            Kind::Write => self.write_units,
        }
    }

    /// Returns the partitions with the most units, the busiest first.
    pub(super) fn busiest(&self) -> Vec<Busiest> {
        let mut all: Vec<_> = self.balances.iter().collect();
        all.sort_by(|(_, one), (_, other)| other.total().total_cmp(&one.total()));
        all.into_iter()
            .take(REPORTED)
            .map(|(partition, balances)| Busiest {
                partition: partition.name(),
                reads: balances.read.meter.total(),
                writes: balances.write.meter.total(),
                peak_reads: balances.read.meter.peak(),
                peak_writes: balances.write.meter.peak(),
            })
            .collect()
    }

    fn total(&mut self, kind: Kind) -> &mut Units {
        match kind {
            Kind::Read => &mut self.read_units,
            Kind::Write => &mut self.write_units,
        }
    }

    fn balance(&mut self, partition: &Partition, kind: Kind, now: Duration) -> &mut Balance {
        if self.balances.len() >= MOST_PARTITIONS && !self.balances.contains_key(partition) {
            self.balances.retain(|_, balances| balances.total() >= BUSY_UNITS || !balances.is_idle(now));
        }
        let balance = |limit: Option<NonZeroU32>| Balance {
            bucket: limit.map(|limit| Bucket::new(limit, limit, now)),
            meter: Meter::default(),
        };
        let (reads, writes) = (self.reads, self.writes);
        let new = || Balances { read: balance(reads), write: balance(writes) };
        self.balances.entry(partition.clone()).or_insert_with(new).of(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_partitions_are_forgotten_and_busy_ones_are_not() {
        let mut partitions = Partitions::new(None, NonZeroU32::new(1_000));
        partitions.take(&Partition::new("t", None, "busy"), Kind::Write, 1_500.0, Duration::ZERO);
        for number in 0..MOST_PARTITIONS {
            let partition = Partition::new("t", None, number.to_string());
            partitions.take(&partition, Kind::Write, 1.0, Duration::from_millis(1));
        }
        partitions.take(&Partition::new("t", None, "late"), Kind::Write, 1.0, Duration::from_mins(1));
        assert_eq!(partitions.balances.len(), 2);
        assert_eq!(partitions.busiest()[0].partition, "t busy");
    }
}
