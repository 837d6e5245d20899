//! The deployment or the local run that a command is for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aws_sdk_dynamodb::{Client, config::Credentials};
use chat::model::id::TenantId;
use chat_aws::{
    DynamoChannels, DynamoConnections, DynamoDeletedChannels, DynamoMessages, DynamoTransfer, Pace,
    sdk::{self, Sdk},
};
use clap::Args;
use serde_json::Value;

use crate::refusal::Refusal;

/// Region of a local run.
const LOCAL_REGION: &str = "us-east-1";

/// Options that select a deployment or a local run.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetOptions {
    /// Stack of a deployment, whose name begins the names of its tables. Region and credentials are those of the AWS CLI
    #[arg(
        long,
        global = true,
        help_heading = "Target",
        env = "SWITCHBOARD_STACK",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub stack: Option<String>,
    /// Value of the stack's parameter `TablePrefix`, if it names its tables by that
    #[arg(long, global = true, help_heading = "Target", value_name = "PREFIX")]
    pub table_prefix: Option<String>,
    /// Base URL of the deployment's REST API, for commands that use it
    #[arg(
        long,
        global = true,
        help_heading = "Target",
        env = "SWITCHBOARD_REST_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub rest_url: Option<String>,
    /// URL of the deployment's @connections, for commands that close sockets
    #[arg(
        long,
        global = true,
        help_heading = "Target",
        env = "SWITCHBOARD_MANAGEMENT_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub management_url: Option<String>,
    /// Ready file of a local run, instead of a deployment
    #[arg(long, global = true, help_heading = "Target", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Tenant of the channels and users; none in a deployment without tenants
    #[arg(long, global = true, help_heading = "Target", value_name = "ID")]
    pub tenant: Option<TenantId>,
}

/// Names of the three tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableNames {
    /// `chat_events`.
    pub events: String,
    /// `chat_channels`.
    pub channels: String,
    /// `chat_connections`.
    pub connections: String,
}

impl TableNames {
    /// Returns the names with a prefix, as infra/backend.yaml builds them.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            events: format!("{prefix}chat_events"),
            channels: format!("{prefix}chat_channels"),
            connections: format!("{prefix}chat_connections"),
        }
    }
}

/// A deployment or a local run.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name for people and for the files of interrupted commands.
    pub name: String,
    /// Stack of a deployment.
    pub stack: Option<String>,
    /// Region, credentials and connections, for clients of other services.
    pub sdk: Sdk,
    /// Client of the tables.
    pub dynamodb: Client,
    /// Names of the tables.
    pub names: TableNames,
    /// Tenant of the channels and users.
    pub tenant: Option<TenantId>,
    /// Base URL of the REST API, if it is known.
    pub rest: Option<String>,
    /// URL of `@connections`, if it is known.
    pub management: Option<String>,
    /// URL of the logs of a local run, if it serves them.
    pub logs: Option<String>,
    /// Whether this is a local run.
    pub is_local: bool,
}

impl Target {
    /// Connects to the target of the options: the local run of a ready file, or else a deployment.
    ///
    /// # Errors
    /// Fails if the options name no target, or the ready file cannot be read.
    pub async fn connect(options: &TargetOptions) -> Result<Self> {
        if let Some(file) = &options.ready_file {
            return Self::local(file, options.tenant.clone()).await;
        }
        let prefix = table_prefix(options)?;
        let sdk = sdk::config().await;
        Ok(Self {
            name: options.stack.clone().unwrap_or_else(|| format!("{prefix}chat_channels")),
            stack: options.stack.clone(),
            dynamodb: sdk::dynamodb(&sdk),
            sdk,
            names: TableNames::with_prefix(&prefix),
            tenant: options.tenant.clone(),
            rest: options.rest_url.clone(),
            management: options.management_url.clone(),
            logs: None,
            is_local: false,
        })
    }

    async fn local(ready_file: &Path, tenant: Option<TenantId>) -> Result<Self> {
        let addresses = read_addresses(ready_file)
            .with_context(|| format!("cannot read the ready file {}", ready_file.display()))?;
        let address = |of: &str| addresses[of].as_str().map(str::to_owned);
        let endpoint = address("dynamodb")
            .with_context(|| format!("the ready file {} has no address of DynamoDB", ready_file.display()))?;
        let sdk = sdk::config_of(LOCAL_REGION, Credentials::new("local", "local", None, None, "local run")).await;
        let with_endpoint = sdk.to_builder().endpoint_url(&endpoint).build();
        Ok(Self {
            name: format!("local run {endpoint}"),
            stack: None,
            dynamodb: sdk::dynamodb(&with_endpoint),
            sdk,
            names: TableNames::with_prefix(""),
            tenant,
            rest: address("rest"),
            management: address("management"),
            logs: address("logs"),
            is_local: true,
        })
    }

    /// Returns the channels of the tenant.
    #[must_use]
    pub fn channels(&self) -> DynamoChannels {
        self.channels_of(self.tenant.as_ref())
    }

    fn channels_of(&self, tenant: Option<&TenantId>) -> DynamoChannels {
        let store = DynamoChannels::new(self.dynamodb.clone(), &self.names.channels);
        store.with_connections(&self.names.connections).for_tenant(tenant)
    }

    /// Returns the messages of the tenant.
    #[must_use]
    pub fn messages(&self) -> DynamoMessages {
        let store = DynamoMessages::new(self.dynamodb.clone(), &self.names.events, &self.names.channels);
        store.for_tenant(self.tenant.as_ref())
    }

    /// Returns the connections of the tenant.
    #[must_use]
    pub fn connections(&self) -> DynamoConnections {
        DynamoConnections::new(self.dynamodb.clone(), &self.names.connections).for_tenant(self.tenant.as_ref())
    }

    /// Returns the deleted channels of a tenant.
    #[must_use]
    pub fn deleted_channels(&self, tenant: Option<&TenantId>) -> DynamoDeletedChannels {
        let store = DynamoDeletedChannels::new(self.dynamodb.clone(), &self.names.events, &self.names.channels);
        store.for_tenant(tenant)
    }

    /// Returns the exports and imports of a deployment without tenants, from which those of each tenant are derived.
    #[must_use]
    pub fn transfer(&self, pace: Pace) -> DynamoTransfer {
        let messages = DynamoMessages::new(self.dynamodb.clone(), &self.names.events, &self.names.channels);
        DynamoTransfer::new(self.channels_of(None), messages, pace)
    }
}

/// Returns the beginning of the tables' names of a deployment.
fn table_prefix(options: &TargetOptions) -> Result<String, Refusal> {
    match (&options.table_prefix, &options.stack) {
        (Some(prefix), _) => Ok(prefix.clone()),
        (None, Some(stack)) => Ok(format!("{stack}-")),
        (None, None) => {
            Err(Refusal::Usage("name a deployment with --stack, or a local run with --ready-file".to_owned()))
        }
    }
}

fn read_addresses(ready_file: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(ready_file)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_names_of_the_template() {
        let stack = |name: &str| TargetOptions { stack: Some(name.to_owned()), ..TargetOptions::default() };
        let prefix = table_prefix(&stack("switchboard-production")).unwrap();
        assert_eq!(TableNames::with_prefix(&prefix).events, "switchboard-production-chat_events");
        let both = TargetOptions { table_prefix: Some("prod_".to_owned()), ..stack("switchboard-production") };
        assert_eq!(TableNames::with_prefix(&table_prefix(&both).unwrap()).channels, "prod_chat_channels");
        assert!(matches!(table_prefix(&TargetOptions::default()), Err(Refusal::Usage(_))));
    }
}
