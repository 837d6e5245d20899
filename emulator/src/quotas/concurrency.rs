//! Concurrent executions of functions: "Understanding Lambda function scaling" in the Lambda developer guide.
//!
//! A function with reserved concurrency has exactly that. The others share the rest of the account's. An execution
//! lasts from its acceptance to its response, so an invocation that waits for a process of this machine counts too.

use std::{collections::BTreeMap, num::NonZeroU32};

use super::{Count, Quotas};
use crate::stack::Function;

/// Executions of all functions.
#[derive(Debug)]
pub(super) struct Concurrency {
    /// `None` is no limit.
    account: Option<usize>,
    /// Concurrency of the functions without a reservation.
    unreserved: usize,
    reserved: BTreeMap<String, usize>,
    running: BTreeMap<String, usize>,
    count: Count,
    peak: usize,
}

impl Concurrency {
    pub(super) fn new(account: Option<NonZeroU32>) -> Self {
        let account = account.map(|limit| usize::try_from(limit.get()).unwrap_or(usize::MAX));
        Self {
            account,
            unreserved: account.unwrap_or(usize::MAX),
            reserved: BTreeMap::new(),
            running: BTreeMap::new(),
            count: Count::default(),
            peak: 0,
        }
    }

    pub(super) fn reserve(&mut self, functions: &[Function]) {
        let reserved = functions.iter().filter_map(|one| Some((one.name.clone(), one.reserved_concurrency?)));
        self.reserved.extend(reserved);
        let sum = self.reserved.values().fold(0_usize, |sum, one| sum.saturating_add(*one));
        self.unreserved = self.account.unwrap_or(usize::MAX).saturating_sub(sum);
    }

    /// Begins an execution. Returns `false` if the function's concurrency is used up.
    pub(super) fn begin(&mut self, function: &str) -> bool {
        let admitted = self.account.is_none() || self.has_room(function);
        self.count.add(admitted);
        if admitted {
            *self.running.entry(function.to_owned()).or_default() += 1;
            self.peak = self.peak.max(self.running.values().sum());
        }
        admitted
    }

    pub(super) fn end(&mut self, function: &str) {
        if let Some(running) = self.running.get_mut(function) {
            *running = running.saturating_sub(1);
        }
    }

    fn has_room(&self, function: &str) -> bool {
        if let Some(limit) = self.reserved.get(function) {
            return self.running.get(function).copied().unwrap_or_default() < *limit;
        }
        let others = self.running.iter().filter(|(name, _)| !self.reserved.contains_key(*name));
        others.map(|(_, running)| running).sum::<usize>() < self.unreserved
    }

    pub(super) fn count(&self) -> Count {
        self.count
    }

    pub(super) fn peak(&self) -> usize {
        self.peak
    }
}

/// An execution that counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Execution(Option<(Quotas, String)>);

impl Execution {
    pub(super) fn uncounted() -> Self {
        Self(None)
    }

    pub(super) fn counted(quotas: Quotas, function: &str) -> Self {
        Self(Some((quotas, function.to_owned())))
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if let Some((quotas, function)) = self.0.take() {
            quotas.end(&function);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::stack::AsyncInvoke;

    fn function(name: &str, reserved_concurrency: Option<usize>) -> Function {
        Function {
            logical_id: name.into(),
            name: name.into(),
            arn: name.into(),
            binary: name.into(),
            timeout: Duration::from_secs(3),
            memory_mb: 128,
            environment: BTreeMap::new(),
            reserved_concurrency,
            log_group: String::new(),
            async_invoke: AsyncInvoke::default(),
        }
    }

    fn quotas(account: u32) -> Quotas {
        let quotas = Quotas::new(super::super::Limits { concurrency: NonZeroU32::new(account), ..Default::default() });
        quotas.reserve(&[function("reserved", Some(2)), function("a", None), function("b", None)]);
        quotas
    }

    #[test]
    fn reserved_concurrency_is_the_functions_own() {
        let quotas = quotas(5);
        let mut running: Vec<Execution> = ["a", "b", "a"].iter().filter_map(|name| quotas.execution(name)).collect();
        assert_eq!(running.len(), 3);
        assert!(quotas.execution("b").is_none(), "three of five are not reserved");
        running.extend(["reserved", "reserved"].iter().filter_map(|name| quotas.execution(name)));
        assert_eq!(running.len(), 5);
        assert!(quotas.execution("reserved").is_none());
        running.remove(0);
        assert!(quotas.execution("reserved").is_none());
        assert!(quotas.execution("b").is_some());
        let report = quotas.report();
        assert_eq!((report.peak_concurrency, report.invocations), (5, Count { admitted: 6, refused: 3 }));
    }

    #[test]
    fn an_account_without_unreserved_concurrency_throttles_the_rest() {
        let quotas = quotas(2);
        assert!(quotas.execution("a").is_none());
        assert!(quotas.execution("reserved").is_some());
    }

    #[test]
    fn without_an_account_limit_reserved_concurrency_is_no_quota() {
        let quotas = Quotas::new(super::super::Limits { connects: NonZeroU32::new(1), ..Default::default() });
        quotas.reserve(&[function("reserved", Some(1))]);
        let running: Vec<Execution> = (0..3).filter_map(|_| quotas.execution("reserved")).collect();
        assert_eq!(running.len(), 3);
    }
}
