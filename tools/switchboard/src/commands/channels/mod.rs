//! `channels`: the list of all channels, exports and imports.

mod export;
mod import;
mod list;

use std::collections::BTreeSet;

use anyhow::Result;
use chat::{
    app::transfer::Counts,
    model::id::{ChannelId, TenantId},
    ports::channel_transfer::ChannelTransfer,
};
use clap::{Args, Subcommand};

use self::{export::Export, import::Import, list::List};
use crate::{
    output::{Output, counted},
    target::Target,
};

/// Commands for channels.
#[derive(Debug, Args)]
pub struct Channels {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List channels of all tenants, or of one
    ///
    /// Reads the whole table of channels.
    List(List),
    /// Write channels with their members and messages to a file of JSON lines
    ///
    /// docs/reference/export.md describes the format. An interrupted export goes on where it was.
    Export(Export),
    /// Create channels from an export of Switchboard, Slack or Mattermost
    ///
    /// No client sees a channel before all of it is stored. An interrupted import goes on where it was.
    Import(Import),
}

impl Channels {
    /// Runs the command.
    ///
    /// # Errors
    /// Fails if the command does.
    pub async fn run(self, target: &Target, output: &Output) -> Result<()> {
        match self.command {
            Command::List(list) => list.run(target, output).await,
            Command::Export(export) => Box::pin(export.run(target, output)).await,
            Command::Import(import) => Box::pin(import.run(target, output)).await,
        }
    }
}

/// Id of a channel with its tenant.
type Place = (Option<TenantId>, ChannelId);

/// Returns the numbers of records as a line of text.
fn summary(Counts { channels, members, messages }: Counts) -> String {
    [
        counted(channels, "channel", "channels"),
        counted(members, "member", "members"),
        counted(messages, "message", "messages"),
    ]
    .join(", ")
}

/// Returns all channels, or those of one tenant, in their order.
async fn all_channels(transfer: &impl ChannelTransfer, tenant: Option<&TenantId>) -> Result<BTreeSet<Place>> {
    let (mut all, mut after) = (BTreeSet::new(), None);
    loop {
        let part = transfer.all_channels(after.as_deref()).await?;
        all.extend(part.ids.into_iter().filter(|(of, _)| tenant.is_none() || of.as_ref() == tenant));
        after = part.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}
