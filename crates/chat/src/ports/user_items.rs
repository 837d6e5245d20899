//! Port that finds the stored data of a user in all tables.

use std::future::Future;

use crate::model::{
    error::StoreError,
    id::UserId,
    time::Timestamp,
    user_item::{Extent, ItemPlace, ScanPosition, UserItem},
};

/// Part of a scan.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UserItemPage {
    /// Data of the user, in the order of the scan.
    pub items: Vec<UserItem>,
    /// Position at which the next part begins, if there is more.
    pub next: Option<ScanPosition>,
    /// Number of items that were read, of all users.
    pub read: u64,
}

/// Scan of all tables for the data of one user, and changes of single items that no other port makes.
pub trait UserItems: Send + Sync {
    /// Reads the next part of all tables, from `from` on or from the beginning, with strong consistency. A scan finds
    /// each item that is stored from its beginning to its end.
    ///
    /// Tables are read in this order: connections, channels, messages. So a scan that changes what it finds meets the
    /// messages of a user after the connections and memberships are gone.
    fn scan(
        &self,
        user: &UserId,
        extent: Extent,
        from: Option<&ScanPosition>,
        now: Timestamp,
    ) -> impl Future<Output = Result<UserItemPage, StoreError>> + Send;

    /// Deletes an item without any condition.
    fn delete_item(&self, place: &ItemPlace) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Replaces `user` by `alias` in the fields of an item that name a user. Subscribers learn nothing of it. An item that
    /// is gone stays gone.
    fn rename_user(
        &self,
        place: &ItemPlace,
        user: &UserId,
        alias: &UserId,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
