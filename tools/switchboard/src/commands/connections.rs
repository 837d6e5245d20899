//! `switchboard connections`: lists and closes connections.

use anyhow::{Context, Result};
use chat::{
    app::connection_ends::close_connection,
    model::{
        audit::AuditAction,
        connection::ConnectionKey,
        id::{ChannelId, ConnectionId, UserId},
        time::Timestamp,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{Clock, SystemClock},
        connection_store::ConnectionStore,
    },
};
use chat_aws::ManagementApi;
use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;

use super::audit::Operator;
use crate::{
    output::{Output, Row, counted},
    refusal::Refusal,
    target::Target,
};

/// Commands for connections.
#[derive(Debug, Args)]
pub struct Connections {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the connections of a user, or those that receive a channel
    List(List),
    /// Close connections; their clients may connect again
    Close(Close),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("of").required(true).args(["user", "channel"]))]
struct List {
    /// User
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// Channel
    #[arg(long, value_name = "ID")]
    channel: Option<ChannelId>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["connection", "user"]))]
struct Close {
    /// Id of a connection
    #[arg(value_name = "CONNECTION")]
    connection: Option<ConnectionId>,
    /// All connections of a user
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    #[command(flatten)]
    operator: Operator,
}

/// Connection in a list.
#[derive(Debug, Serialize)]
struct Listed {
    connection_id: ConnectionId,
    user_id: UserId,
    connected_at: Timestamp,
    expires_at: Timestamp,
}

impl Row for Listed {
    const COLUMNS: &'static [&'static str] = &["CONNECTION", "USER", "CONNECTED", "EXPIRES"];

    fn cells(&self) -> Vec<String> {
        let Self { connection_id, user_id, connected_at, expires_at } = self;
        vec![connection_id.to_string(), user_id.to_string(), connected_at.to_string(), expires_at.to_string()]
    }
}

impl Connections {
    /// Runs the command.
    ///
    /// # Errors
    /// Fails if the channel or the connection does not exist, or a store or the gateway fails.
    pub async fn run(self, target: &Target, output: &Output) -> Result<()> {
        match self.command {
            Command::List(list) => output.rows(&list.find(target).await?),
            Command::Close(close) => close.run(target, output).await,
        }
    }
}

impl List {
    async fn find(self, target: &Target) -> Result<Vec<Listed>> {
        let (connections, now) = (target.connections(), SystemClock.now());
        if let Some(user) = self.user {
            return of_user(target, &user).await;
        }
        let channel = self.channel.context("name a user or a channel")?;
        let found = target.channels().channel(&channel).await?;
        let found = found.ok_or_else(|| Refusal::NotFound(format!("there is no channel {channel}")))?;
        let audience = connections.audience(&found.key(), now).await?;
        let listed = audience.subscriptions.into_iter().map(|one| Listed {
            connection_id: one.connection.id,
            user_id: one.user_id,
            connected_at: one.connection.connected_at,
            expires_at: one.expires_at,
        });
        Ok(listed.collect())
    }
}

async fn of_user(target: &Target, user: &UserId) -> Result<Vec<Listed>> {
    let found = target.connections().connections_of(user, SystemClock.now()).await?;
    let listed = found.into_iter().map(|one| Listed {
        connection_id: one.key.id,
        user_id: user.clone(),
        connected_at: one.key.connected_at,
        expires_at: one.expires_at,
    });
    Ok(listed.collect())
}

/// Returns the gateway that holds the sockets of a target.
pub(super) fn sockets(target: &Target) -> Result<ManagementApi> {
    let url = target.management.as_deref().ok_or_else(|| {
        Refusal::Usage(
            "name @connections with --management-url: it is the output ManagementUrl of the stack".to_owned(),
        )
    })?;
    Ok(ManagementApi::new(&target.sdk, url))
}

impl Close {
    async fn run(self, target: &Target, output: &Output) -> Result<()> {
        let (sockets, connections) = (sockets(target)?, target.connections());
        let closing = match (&self.connection, &self.user) {
            (Some(id), _) => {
                let found = connections.connection(id).await?;
                let found = found.ok_or_else(|| Refusal::NotFound(format!("there is no connection {id}")))?;
                vec![Listed {
                    connection_id: found.key.id,
                    user_id: found.user_id,
                    connected_at: found.key.connected_at,
                    expires_at: found.expires_at,
                }]
            }
            (None, Some(user)) => of_user(target, user).await?,
            (None, None) => Vec::new(),
        };
        if closing.is_empty() {
            return output.rows(&closing);
        }
        output.confirm(format!("close {}?", counted(u64::try_from(closing.len())?, "connection", "connections")))?;
        for one in &closing {
            let key = ConnectionKey { id: one.connection_id.clone(), connected_at: one.connected_at };
            close_connection(&connections, &sockets, &SystemClock, &one.user_id, &key).await?;
            let (connection_id, user_id) = (one.connection_id.clone(), one.user_id.clone());
            self.operator.record(target, output, AuditAction::ConnectionClosed { connection_id, user_id }).await;
        }
        output.rows(&closing)
    }
}
