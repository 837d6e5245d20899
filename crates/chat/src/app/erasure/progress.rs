//! Progress of an erasure. A caller stores it after each step, and a later run continues from it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{
    id::{ChannelId, UserId},
    user_item::{Extent, ItemPlace, ScanPosition},
};

/// Erasure of a user, as it was requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRequest {
    /// User.
    pub user_id: UserId,
    /// Name that takes the place of the id, with [`Extent::ContentAndId`].
    pub alias: UserId,
    /// Extent.
    pub extent: Extent,
    /// User who becomes the owner of public channels that have no other member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heir: Option<UserId>,
}

/// Number of things that were erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Messages of the user.
    pub messages: u64,
    /// Replies of the agent to the user.
    pub replies: u64,
    /// Messages of others in which a mention was replaced.
    pub mentions: u64,
    /// Reactions.
    pub reactions: u64,
    /// Memberships and invitations.
    pub memberships: u64,
    /// Connections.
    pub connections: u64,
    /// Other items: drafts, tickets, token buckets, idempotency records, names in fields.
    pub items: u64,
}

impl Erased {
    /// Adds the numbers of `other`.
    pub(super) fn add(&mut self, other: Self) {
        let Self { messages, replies, mentions, reactions, memberships, connections, items } = other;
        self.messages += messages;
        self.replies += replies;
        self.mentions += mentions;
        self.reactions += reactions;
        self.memberships += memberships;
        self.connections += connections;
        self.items += items;
    }
}

/// Result of one part of a pass.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Number of items of the user that were met.
    pub(super) found: u64,
    pub(super) erased: Erased,
    pub(super) left: BTreeSet<ItemPlace>,
    pub(super) ownerless: BTreeSet<ChannelId>,
}

/// Progress of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Request.
    pub request: ErasureRequest,
    /// Number of the pass, from 1. Each pass reads all tables, and the last one finds nothing of the user.
    pub pass: u32,
    /// Position in the pass. `None`: at its beginning.
    pub position: Option<ScanPosition>,
    /// Number of items of the user that the pass has met.
    pub found: u64,
    /// Number of items that all passes have read.
    pub read: u64,
    /// Numbers of erased things.
    pub erased: Erased,
    /// Items with the id as a word, which the pass has met and left as they are.
    pub left: BTreeSet<ItemPlace>,
    /// Public channels that have no other member and no heir. The user is still their owner.
    pub ownerless: BTreeSet<ChannelId>,
}

impl Progress {
    /// Returns the progress of an erasure that has not begun.
    #[must_use]
    pub fn new(request: ErasureRequest) -> Self {
        Self {
            request,
            pass: 1,
            position: None,
            found: 0,
            read: 0,
            erased: Erased::default(),
            left: BTreeSet::new(),
            ownerless: BTreeSet::new(),
        }
    }

    /// Returns whether nothing of the user is left, as far as the request goes.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.left.is_empty() && self.ownerless.is_empty()
    }

    pub(super) fn add(&mut self, tally: Tally) {
        self.found += tally.found;
        self.erased.add(tally.erased);
        self.left.extend(tally.left);
        self.ownerless.extend(tally.ownerless);
    }

    /// Begins the next pass.
    pub(super) fn begin_pass(&mut self) {
        self.pass += 1;
        self.position = None;
        self.found = 0;
        self.left.clear();
        self.ownerless.clear();
    }
}
