//! Records changes for the audit log. `telemetry` takes the entries to the log; this file knows their target only.

use crate::model::{
    audit::{AUDIT_TARGET, Actor, AuditAction, AuditEntry},
    id::{ChannelId, UserId},
    time::Timestamp,
};

/// Records a change of a channel by a user. Must be called after the change is stored: a refused change has no entry.
pub(crate) fn record(at: Timestamp, actor: &UserId, channel: &ChannelId, action: AuditAction) {
    let entry = AuditEntry { at, actor: Actor::User(actor.clone()), channel_id: Some(channel.clone()), action };
    match serde_json::to_string(&entry) {
        Ok(entry) => tracing::info!(target: AUDIT_TARGET, entry = entry.as_str(), "audit entry"),
        Err(error) => tracing::error!(%error, "an audit entry could not be written"),
    }
}

/// Entries that a test records.
#[cfg(test)]
pub(crate) mod testing {
    use std::{
        fmt::Debug,
        sync::{Arc, Mutex},
    };

    use tracing::{
        Event, Metadata, Subscriber,
        field::{Field, Visit},
        span,
    };

    use super::*;

    /// Subscriber that keeps the entries of the audit log.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Audit(Arc<Mutex<Vec<AuditEntry>>>);

    impl Audit {
        /// Records the entries of this thread until the guard is dropped.
        pub(crate) fn begin(&self) -> tracing::subscriber::DefaultGuard {
            tracing::subscriber::set_default(self.clone())
        }

        /// Returns the entries since the last call: the actor, and the change.
        pub(crate) fn take(&self) -> Vec<(String, AuditAction)> {
            let entries = std::mem::take(&mut *self.0.lock().unwrap());
            let named = entries.into_iter().map(|entry| match entry.actor {
                Actor::User(user) => (user.as_str().to_owned(), entry.action),
                Actor::Operator(name) => (format!("operator {name}"), entry.action),
            });
            named.collect()
        }
    }

    struct Text(Option<String>);

    impl Visit for Text {
        fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "entry" {
                self.0 = Some(value.to_owned());
            }
        }
    }

    impl Subscriber for Audit {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == AUDIT_TARGET
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut text = Text(None);
            event.record(&mut text);
            self.0.lock().unwrap().push(serde_json::from_str(&text.0.unwrap()).unwrap());
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }
}
