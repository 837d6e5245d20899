//! `switchboard users`: exports and erases the data of a user.

mod erase;
mod export;

use anyhow::Result;
use chat_aws::{DynamoUserItems, Pace};
use clap::{Args, Subcommand};

use crate::{output::Output, target::Target};

/// Read capacity units per second that a scan uses, unless an option says otherwise.
const READ_UNITS: u32 = 500;

/// Commands for users.
#[derive(Debug, Args)]
pub struct Users {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write all data of a user as JSON Lines
    ///
    /// Reads all tables.
    Export(export::Export),
    /// Erase the data of a user: messages, reactions, memberships, connections and all else
    ///
    /// Numbers stay: each message becomes a tombstone. Reads all tables until nothing of the user is found. An interrupted
    /// run continues when it is started again. First make the user's tokens invalid, or the user may go on writing.
    Erase(erase::Erase),
}

impl Users {
    /// Runs the command.
    ///
    /// # Errors
    /// Fails if a store fails, or if data of the user is left.
    pub async fn run(self, target: &Target, output: &Output) -> Result<()> {
        match self.command {
            Command::Export(export) => export.run(target, output).await,
            Command::Erase(erase) => Box::pin(erase.run(target, output)).await,
        }
    }
}

/// Returns the scan of a target's tables, which uses at most so many read capacity units per second.
fn user_items(target: &Target, read_units: u32) -> DynamoUserItems {
    let names = &target.names;
    let items = DynamoUserItems::new(target.dynamodb.clone(), &names.events, &names.channels, &names.connections);
    items.for_tenant(target.tenant.as_ref()).with_pace(Pace::new(Some(read_units), None))
}
