//! Conformance suite: laws that every implementation of the ports must obey.
//!
//! ```ignore
//! let ports = Ports { channels: &channels, messages: &messages, connections: &connections, removal: &removal };
//! conformance::check(&ports, now).await.unwrap();
//! ```
//!
//! Each law creates its own channels and users, so that all laws can run on the same tables.

#[macro_use]
mod bench;

mod authority;
mod changes;
mod channel_store;
mod connection_store;
mod deleted_channels;
mod drafts;
mod expiry_store;
mod instructions;
mod invitation_store;
mod members;
mod message_store;
mod pages;
mod pending_ends;
mod presence_store;
mod previews;
mod questions;
mod rate_limiter;
mod reply_leases;
mod threads;
mod ticket_store;
mod transfer;
mod user_items;

use futures::future::BoxFuture;

use crate::{
    model::time::Timestamp,
    ports::{
        channel_store::ChannelStore, channel_transfer::ChannelTransfer, connection_store::ConnectionStore,
        deleted_channels::DeletedChannels, expiry_store::ExpiryStore, invitation_store::InvitationStore,
        message_store::MessageStore, pending_ends::PendingEnds, presence_store::PresenceStore,
        rate_limiter::RateLimiter, reply_leases::ReplyLeases, ticket_store::TicketStore, user_items::UserItems,
    },
};
use bench::{Bench, Outcome, Stop};

/// Ports under test. They share their state.
#[derive(Debug)]
pub struct Ports<'a, Channels, Messages, Connections, Removal> {
    /// Channels, members, pending ends, reply leases and buckets.
    pub channels: &'a Channels,
    /// Messages.
    pub messages: &'a Messages,
    /// Connections, expiry entries, presence, tickets.
    pub connections: &'a Connections,
    /// Removal of deleted channels.
    pub removal: &'a Removal,
}

/// The ports that the store of channels implements.
pub trait ChannelPorts: ChannelStore + InvitationStore + PendingEnds + ReplyLeases + RateLimiter {}

impl<T: ChannelStore + InvitationStore + PendingEnds + ReplyLeases + RateLimiter> ChannelPorts for T {}

/// The ports that the store of connections implements.
pub trait ConnectionPorts: ConnectionStore + ExpiryStore + PresenceStore + TicketStore {}

impl<T: ConnectionStore + ExpiryStore + PresenceStore + TicketStore> ConnectionPorts for T {}

/// Law that does not hold, or a store that fails.
#[derive(Debug, thiserror::Error)]
#[error("{law}: {what}")]
pub struct Violation {
    /// Law.
    pub law: &'static str,
    /// Finding.
    pub what: String,
}

/// Runs all laws at the time `now`.
///
/// # Errors
/// The first law that does not hold.
pub async fn check<Channels, Messages, Connections, Removal>(
    ports: &Ports<'_, Channels, Messages, Connections, Removal>,
    now: Timestamp,
) -> Result<(), Violation>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    let bench = Bench::new(ports, now);
    let laws: Vec<(&'static str, BoxFuture<'_, Outcome>)> = vec![
        ("an id leads to one channel at a time", Box::pin(bench.ids())),
        ("a channel that reuses an id has nothing of the one before", Box::pin(bench.names_taken_anew())),
        ("instructions are read beside their channel", Box::pin(bench.instructions())),
        ("an append has its conditions", Box::pin(bench.appends())),
        ("a reply needs its question", Box::pin(bench.questions())),
        ("an append of a cached head meets no other incarnation", Box::pin(bench.cached_heads())),
        ("no change is made by an authority that does not hold", Box::pin(bench.stale_authorities())),
        ("a membership that begins again is another", Box::pin(bench.memberships_begun_anew())),
        ("a channel keeps an owner", Box::pin(bench.last_owners())),
        ("a change that ends subscriptions records it and changes the gate", Box::pin(bench.ends())),
        ("a pending end is leased to one function at a time", Box::pin(bench.leases())),
        ("removal goes page by page, and spares other incarnations", Box::pin(bench.removal())),
        ("lists of channels are complete and in order", Box::pin(bench.lists())),
        ("entries that stay are listed once by changing lists", Box::pin(bench.pages())),
        ("a list of public channels follows the settings", Box::pin(bench.public_list())),
        ("a read mark needs a membership and never goes back", Box::pin(bench.read_marks())),
        ("a message is read as it was written, until it expires", Box::pin(bench.history())),
        ("a thread has a root, which counts its replies", Box::pin(bench.roots())),
        ("a part of the messages is read in each range, until they expire", Box::pin(bench.selections())),
        ("previews and outlines show messages as they are, until they expire", Box::pin(bench.previews())),
        ("a change of a message changes only that message", Box::pin(bench.revisions())),
        ("reactions are counted by user", Box::pin(bench.reactions())),
        ("a change takes the next number of its channel", Box::pin(bench.change_numbers())),
        ("a change has a record until it expires", Box::pin(bench.change_records())),
        ("a channel that reuses an id counts its changes from 1", Box::pin(bench.changes_counted_anew())),
        ("a connection is identified by its id and its time of connecting", Box::pin(bench.connections())),
        ("a connection is pending until it is opened or withdrawn", Box::pin(bench.pending_connections())),
        ("a renewal applies to later subscriptions", Box::pin(bench.renewals())),
        ("a subscription needs an open connection with room", Box::pin(bench.subscriptions())),
        ("an audience is read with its gate, in pages", Box::pin(bench.audiences())),
        ("subscriptions are found in all parts, before and after they are divided", Box::pin(bench.parts())),
        ("a connection is listed under each minute in which a token of it ends", Box::pin(bench.expiry_entries())),
        ("a ticket is redeemed once", Box::pin(bench.tickets())),
        ("a change of presence is reported once", Box::pin(bench.presence())),
        ("listeners are replaced as they were read", Box::pin(bench.presence_listeners())),
        ("a reply lease has one owner at a time", Box::pin(bench.claims())),
        ("a draft is stored by the holder of its lease, until it expires", Box::pin(bench.drafts())),
        ("a draft has a status when it ends, and another worker continues it otherwise", Box::pin(bench.draft_ends())),
        ("a deleted channel leaves no draft", Box::pin(bench.removed_drafts())),
        ("an invitation is accepted once, by its user, and ends with the membership", Box::pin(bench.invitations())),
        ("channels of a creator are counted", Box::pin(bench.created_channels())),
        ("channels that a user chose come first", Box::pin(bench.chosen_channels())),
        ("buckets belong to users, or to a channel", Box::pin(bench.buckets())),
    ];
    for (law, outcome) in laws {
        outcome.await.map_err(|Stop(what)| Violation { law, what })?;
    }
    Ok(())
}

/// Runs the law of exports and imports at the time `now`. `transfer` shares its state with the ports.
///
/// # Errors
/// The finding, if the law does not hold.
pub async fn check_transfer<Channels, Messages, Connections, Removal, Transfer>(
    ports: &Ports<'_, Channels, Messages, Connections, Removal>,
    transfer: &Transfer,
    now: Timestamp,
) -> Result<(), Violation>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
    Transfer: ChannelTransfer,
{
    let outcome = Bench::new(ports, now).transfer(transfer).await;
    outcome.map_err(|Stop(what)| Violation {
        law: "an imported channel is as the exported one, and goes on like it",
        what,
    })
}

/// Runs the laws of the scan for a user's data, at the time `now`.
///
/// # Errors
/// The first law that does not hold.
pub async fn check_user_items<Channels, Messages, Connections, Removal>(
    ports: &Ports<'_, Channels, Messages, Connections, Removal>,
    items: &impl UserItems,
    now: Timestamp,
) -> Result<(), Violation>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    let bench = Bench::new(ports, now);
    let law = "a scan finds the data of one user, each once, until it is erased";
    bench.user_items(items).await.map_err(|Stop(what)| Violation { law, what })
}
