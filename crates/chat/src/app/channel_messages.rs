//! The messages of channels, with the ports that reading and changing them needs.

use std::time::Duration;

/// Messages of channels, with their ports. The use cases are in [`history`](crate::app::history),
/// [`changes`](crate::app::changes), [`wait`](crate::app::wait), [`edit`](crate::app::edit),
/// [`react`](crate::app::react), [`channel_views`](crate::app::channel_views) and
/// [`channel_lists`](crate::app::channel_lists).
#[derive(Debug, Clone, Copy)]
pub struct ChannelMessages<'a, Channels, Messages, Time> {
    /// Channels and members.
    pub channels: &'a Channels,
    /// Messages.
    pub messages: &'a Messages,
    /// Time and random numbers.
    pub clock: &'a Time,
    /// Time for which records of changes are stored. Reads do not use it.
    pub change_duration: Duration,
}
