//! The functions of the template, one process each, without gateways and streams, so that only their own time is
//! measured.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use emulator::{
    stack::Stack,
    template::{self, Deployment},
};
use local::token;
use serde_json::{Value, json};

use super::{
    aws::{Aws, Waited},
    events,
    runtime_api::{Function, Invocation},
};
use crate::{
    Result,
    program::{built, workspace},
};

/// The functions and the services that they call.
pub(crate) struct Harness {
    pub(crate) aws: Aws,
    pub(crate) stack: Stack,
    pub(crate) binaries: BTreeMap<String, PathBuf>,
}

impl Harness {
    /// Starts the services for binaries in `folder`, or builds the binaries. `parameters` are the template's, such as
    /// `DeliveryRate=100`.
    pub(crate) async fn start(folder: Option<&Path>, parameters: &[&str]) -> Result<Self> {
        let template = template::load(&workspace()?.join("infra/backend.yaml"))?;
        let bare = template.resolve(&deployment("", parameters))?;
        let mut names: Vec<&str> = bare.functions.iter().map(|function| function.binary.as_str()).collect();
        names.extend(["empty-function", "sdk-function"]);
        let binaries = built(folder, &names).await?;
        let aws = Aws::start(&bare.tables).await?;
        let stack = template.resolve(&deployment(&aws.url, parameters))?;
        Ok(Self { aws, stack, binaries })
    }

    /// Starts a function by the name of its binary.
    pub(crate) async fn function(&self, binary: &str) -> Result<Function> {
        let described = self.stack.functions.iter().find(|function| function.binary == binary);
        let mut variables = described.map(|function| function.environment.clone()).unwrap_or_default();
        variables.entry("CHANNELS_TABLE".to_owned()).or_insert_with(|| "chat_channels".to_owned());
        variables.extend(
            [
                ("AWS_EC2_METADATA_DISABLED", "true"),
                ("AWS_ENDPOINT_URL_DYNAMODB", &self.aws.url),
                ("AWS_ENDPOINT_URL_LAMBDA", &self.aws.url),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let name = described.map_or(binary, |function| function.name.as_str());
        Function::start(name, &self.binaries[binary], &variables).await
    }

    /// Runs one event. Returns the invocation and its calls.
    pub(crate) async fn invoke(&self, function: &mut Function, event: Bytes) -> Result<(Invocation, Waited)> {
        self.aws.take_waited();
        let invocation = function.invoke(event).await?;
        Ok((invocation, self.aws.take_waited()))
    }

    /// Invokes a function that handles requests, and fails unless the response is a success.
    pub(crate) async fn ask(
        &self,
        function: &mut Function,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes> {
        let event = events::rest(&self.stack, method, path, body).await?;
        let answer = function.invoke(event).await?.answer;
        worked(&answer).map_err(|status| format!("{method} {path} returned {status}"))?;
        Ok(answer)
    }

    /// Creates a channel with the agent turned off.
    pub(crate) async fn open_channel(&self, channels: &mut Function, id: &str) -> Result<()> {
        let body = json!({ "channel_id": id, "name": id, "visibility": "public", "agent": { "mode": "off" } });
        self.ask(channels, "POST", "/channels", Some(&body)).await?;
        Ok(())
    }
}

/// Returns an error with the status unless a response to a gateway is a success.
pub(crate) fn worked(answer: &[u8]) -> std::result::Result<(), u64> {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    match answer["statusCode"].as_u64() {
        Some(status) if !(200..300).contains(&status) => Err(status),
        _ => Ok(()),
    }
}

fn deployment(url: &str, parameters: &[&str]) -> Deployment {
    let own = [
        ("Stage", "bench"),
        ("TablePrefix", ""),
        ("JwtIssuer", token::ISSUER),
        ("JwtAudience", token::AUDIENCE),
        ("JwtHs256Secret", token::DEVELOPMENT_SECRET),
        ("SendRate", "100000"),
        ("SendBurst", "100000"),
        ("ConnectRate", "100000"),
        ("ConnectBurst", "100000"),
        ("ConnectionsPerUser", "1000000"),
        ("ChannelsPerUser", "1000000"),
        ("ChannelsPerMinute", "1000000"),
        ("MembersPerMinute", "1000000"),
        ("PresencePerMinute", "1000000"),
        ("ActionRate", "100000"),
        ("ActionBurst", "100000"),
    ];
    let given = parameters.iter().filter_map(|parameter| parameter.split_once('='));
    let all = own.into_iter().chain(given).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Deployment {
        stack_name: "switchboard".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "000000000000".to_owned(),
        parameters: all.collect(),
        rest_url: url.to_owned(),
        websocket_url: url.replacen("http", "ws", 1),
        management_url: url.to_owned(),
    }
}
