//! The stores in memory: every port, with the rules of its transactions.
//!
//! They serve tests and simulations. A port's function makes one or more [`Call`]s. Each takes effect at one instant,
//! under one lock, like one request to a database. Functions that need several requests there make several calls here,
//! in the same order. A [`Hook`] decides the outcome of each call, lets other tasks run before and after it, and
//! observes its effect. A [`Rule`] can be removed, to check that a test fails.

mod channels;
mod claims;
pub mod conformance;
mod connections;
mod hook;
mod maintenance;
mod messages;
mod rule;
mod state;
#[cfg(test)]
mod tests;
mod transfer;
mod user_items;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use hook::{Call, CallFault, Hook, Reading, Reliable};
pub use rule::Rule;
use state::Decision;
pub use state::{
    ChangeRecord, Effect, MessageItem, PiecePlace, PresenceRecord, State, StoredGate, StoredLease, StoredPiece,
    StreamRecord, Subscriptions,
};

use crate::model::{error::StoreError, incarnation::ChannelKey};

/// Default maximum number of items that one removal deletes.
const REMOVAL_PAGE: usize = 100;

/// All stores in memory. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore<H = Reliable> {
    state: Arc<Mutex<State>>,
    hook: H,
    removal_page: Option<usize>,
}

impl<H: Hook> MemoryStore<H> {
    /// Returns empty stores, whose calls go through `hook`.
    pub fn new(hook: H) -> Self {
        Self { state: Arc::default(), hook, removal_page: None }
    }

    /// Returns the same stores, with calls that go through another hook.
    pub fn through<Other: Hook>(&self, hook: Other) -> MemoryStore<Other> {
        MemoryStore { state: Arc::clone(&self.state), hook, removal_page: self.removal_page }
    }

    /// Removes a rule.
    #[must_use]
    pub fn without(self, rule: Rule) -> Self {
        self.state().broken.insert(rule);
        self
    }

    /// Sets the maximum number of items that one call of a removal deletes.
    #[must_use]
    pub fn removing(self, items: usize) -> Self {
        Self { removal_page: Some(items), ..self }
    }

    /// Returns the hook.
    pub fn hook(&self) -> &H {
        &self.hook
    }

    /// Returns the state. No call takes effect while the guard is held.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call that reports no conflict.
    async fn call<T: Send>(&self, call: Call, run: impl Fn(&mut State) -> T + Send) -> Result<T, StoreError> {
        self.attempt(call, run).await?.ok_or_else(|| call.failed())
    }

    /// Runs a call. Returns `None` if another transaction was writing its items.
    async fn attempt<T: Send>(
        &self,
        call: Call,
        run: impl Fn(&mut State) -> T + Send,
    ) -> Result<Option<T>, StoreError> {
        let fate = self.hook.before(call).await;
        let answer = match fate {
            CallFault::Fails => return Err(call.failed()),
            CallFault::Conflicts => None,
            CallFault::Arrives => Some(run(&mut self.state())),
            CallFault::Repeated => {
                let first = run(&mut self.state());
                Some(if call.repeats() { run(&mut self.state()) } else { first })
            }
        };
        if self.hook.after(call).await { Ok(answer) } else { Err(call.failed()) }
    }

    /// Decides a change and makes it at the same instant.
    async fn change<T: Send>(
        &self,
        call: Call,
        decide: impl Fn(&State) -> Decision<T> + Send + Sync,
    ) -> Result<T, StoreError> {
        self.call(call, |state| self.commit(state, &decide)).await
    }

    fn commit<T>(&self, state: &mut State, decide: impl Fn(&State) -> Decision<T>) -> T {
        let (answer, effect) = decide(state);
        if let Some(effect) = effect {
            self.hook.commits(state, &effect);
            state.apply(effect);
        }
        answer
    }

    /// Runs a read of protected data.
    async fn read<T: Send>(
        &self,
        call: Call,
        channel: &ChannelKey,
        what: Reading,
        read: impl Fn(&State) -> T + Send + Sync,
    ) -> Result<T, StoreError> {
        self.call(call, |state| {
            self.hook.reads(state, channel, what);
            read(state)
        })
        .await
    }
}
