//! The limits of an account, by name.

use std::num::NonZeroU32;

use serde::Serialize;

/// Limits of an account and a region. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Requests a second to REST APIs, WebSocket APIs and `@connections` together.
    pub account_rate: Option<NonZeroU32>,
    /// Requests at once, after a pause.
    pub account_burst: Option<NonZeroU32>,
    /// New WebSocket connections a second.
    pub connects: Option<NonZeroU32>,
    /// Concurrent executions of all functions.
    pub concurrency: Option<NonZeroU32>,
    /// Read units a second of one partition key.
    pub partition_reads: Option<NonZeroU32>,
    /// Write units a second of one partition key.
    pub partition_writes: Option<NonZeroU32>,
}

impl Limits {
    /// AWS's defaults for an account in a large region.
    ///
    /// - 10,000 requests a second with a burst of 5,000: "Amazon API Gateway quotas", account-level throttling.
    /// - 500 new connections a second: "Quotas for configuring and running a WebSocket API in API Gateway".
    /// - 1,000 concurrent executions: "Lambda quotas". New accounts have fewer.
    /// - 3,000 read and 1,000 write units a second: "Best practices for designing and using partition keys effectively
    ///   in DynamoDB".
    pub const AWS: Self = Self {
        account_rate: NonZeroU32::new(10_000),
        account_burst: NonZeroU32::new(5_000),
        connects: NonZeroU32::new(500),
        concurrency: NonZeroU32::new(1_000),
        partition_reads: NonZeroU32::new(3_000),
        partition_writes: NonZeroU32::new(1_000),
    };

    /// Names for [`Limits::set`].
    pub const NAMES: [&str; 6] =
        ["account-rate", "account-burst", "connects", "concurrency", "partition-reads", "partition-writes"];

    /// Sets the limit with a name of [`Limits::NAMES`].
    ///
    /// # Errors
    ///
    /// Fails if there is no such limit.
    pub fn set(&mut self, name: &str, value: NonZeroU32) -> Result<(), UnknownLimit> {
        let limit = match name {
            "account-rate" => &mut self.account_rate,
            "account-burst" => &mut self.account_burst,
            "connects" => &mut self.connects,
            "concurrency" => &mut self.concurrency,
            "partition-reads" => &mut self.partition_reads,
            "partition-writes" => &mut self.partition_writes,
            _ => return Err(UnknownLimit(name.to_owned())),
        };
        *limit = Some(value);
        Ok(())
    }

    /// Returns rate and burst of the account's requests. If one of them is set, the other one has AWS's value.
    pub(super) fn account(&self) -> Option<(NonZeroU32, NonZeroU32)> {
        self.account_rate.or(self.account_burst)?;
        self.account_rate.or(Self::AWS.account_rate).zip(self.account_burst.or(Self::AWS.account_burst))
    }
}

/// Name that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no quota {0}; use one of {names}", names = Limits::NAMES.join(", "))]
pub struct UnknownLimit(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_sets_its_own_limit() {
        let mut seen = Vec::new();
        for name in Limits::NAMES {
            let mut limits = Limits::default();
            limits.set(name, NonZeroU32::MIN).unwrap();
            let value = serde_json::to_value(limits).unwrap();
            assert_eq!(value[name], 1, "{name}: {value}");
            assert_eq!(value.as_object().unwrap().values().filter(|one| !one.is_null()).count(), 1);
            assert!(!seen.contains(&limits));
            seen.push(limits);
        }
        let error = Limits::default().set("rate", NonZeroU32::MIN).unwrap_err().to_string();
        assert!(error.contains("account-rate"), "{error}");
    }

    #[test]
    fn a_rate_alone_has_the_burst_of_aws() {
        let of = |name: &str| {
            let mut limits = Limits::default();
            limits.set(name, NonZeroU32::MIN).unwrap();
            limits.account().map(|(rate, burst)| (rate.get(), burst.get()))
        };
        assert_eq!(of("account-rate"), Some((1, 5_000)));
        assert_eq!(of("account-burst"), Some((10_000, 1)));
        assert_eq!(of("connects"), None);
    }
}
