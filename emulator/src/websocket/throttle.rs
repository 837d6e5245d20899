//! Rate limits of routes: the stage's `RouteSettings`.
//!
//! AWS uses a token bucket, best effort ("Protect your WebSocket APIs in API Gateway"). Here the limit is exact. That
//! page names `429 Too Many Requests` but no frame for it. The frame is assumed to have the form of other errors, also
//! for a message over the account's rate.

use std::collections::HashMap;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::stack::Route;

/// Buckets of the routes that have one.
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

    /// Takes a token of a route's bucket. Returns `false` if the bucket is empty, and `true` if the route has none.
    pub(super) fn admits(&self, route_key: &str) -> bool {
        self.0.get(route_key).is_none_or(|bucket| bucket.check().is_ok())
    }
}
