//! The identity that signs requests to sockets.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use aws_smithy_runtime_api::client::{
    identity::{Identity, IdentityFuture, ResolveCachedIdentity, ResolveIdentity, SharedIdentityResolver},
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::config_bag::ConfigBag;

/// Time before the expiry of credentials at which they are renewed.
const RENEW_BEFORE: Duration = Duration::from_mins(5);

/// The identity of a function's role: one, since all requests of a function have the same. Clones share it.
///
/// The SDK's own cache has a partition for each resolver, and awaits a lock and a timer for each request.
#[derive(Debug, Clone, Default)]
pub(super) struct OneIdentity(Arc<RwLock<Option<Identity>>>);

impl OneIdentity {
    /// Returns the identity, unless there is none or it expires soon after `now`.
    pub(super) fn fresh(&self, now: SystemTime) -> Option<Identity> {
        let until = now + RENEW_BEFORE;
        let is_fresh = |identity: &&Identity| identity.expiration().is_none_or(|expiration| expiration > until);
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().filter(is_fresh).cloned()
    }

    /// Replaces the identity.
    pub(super) fn keep(&self, identity: Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(identity);
    }
}

impl ResolveCachedIdentity for OneIdentity {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        config: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let now = components.time_source().unwrap_or_default().now();
        if let Some(known) = self.fresh(now) {
            return IdentityFuture::ready(Ok(known));
        }
        IdentityFuture::new(async move {
            let identity = resolver.resolve_identity(components, config).await?;
            self.keep(identity.clone());
            Ok(identity)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_used_until_five_minutes_before_it_expires() {
        let (one, now) = (OneIdentity::default(), SystemTime::UNIX_EPOCH + Duration::from_hours(1));
        assert!(one.fresh(now).is_none());
        one.keep(Identity::new((), Some(now + RENEW_BEFORE)));
        assert!(one.clone().fresh(now - Duration::from_secs(1)).is_some());
        assert!(one.fresh(now).is_none());
        one.keep(Identity::new((), None));
        assert!(one.fresh(now).is_some());
    }
}
