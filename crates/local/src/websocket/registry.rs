//! The open connections, by id.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::connection::Connection;

#[derive(Default)]
pub(super) struct Registry(RwLock<HashMap<String, Arc<Connection>>>);

impl Registry {
    pub(super) fn insert(&self, connection: Arc<Connection>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(connection.id.clone(), connection);
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Connection>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn remove(&self, id: &str) -> Option<Arc<Connection>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    pub(super) fn drain(&self) -> Vec<Arc<Connection>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, connection)| connection).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
