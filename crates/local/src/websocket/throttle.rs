//! How many messages the routes take: the stage's `RouteSettings`.
//!
//! AWS counts by a token bucket, best effort ("Protect your WebSocket APIs in API Gateway"); here it is exact. That page
//! promises `429 Too Many Requests` and no form of it on a socket: it is assumed to be that of the other errors.

use std::collections::HashMap;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::stack::Route;

/// The buckets of the routes that have one.
#[derive(Debug)]
pub(super) struct Throttles(HashMap<String, DefaultDirectRateLimiter>);

impl Throttles {
    pub(super) fn new(routes: &[Route]) -> Self {
        let limited = routes.iter().filter_map(|route| Some((route.route_key.clone(), route.throttle?)));
        let bucket = |quota| RateLimiter::direct(quota);
        Self(
            limited
                .map(|(key, throttle)| (key, bucket(Quota::per_second(throttle.rate).allow_burst(throttle.burst))))
                .collect(),
        )
    }

    /// Takes a token of a route, if it has a bucket.
    pub(super) fn admits(&self, route_key: &str) -> bool {
        self.0.get(route_key).is_none_or(|bucket| bucket.check().is_ok())
    }
}
