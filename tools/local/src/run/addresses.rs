//! The addresses of a stack, for programs and for the user.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use serde_json::{Value, json};

use super::{Error, FIRST_CHANNEL};
use crate::{secret::Secret, token};

/// Addresses of the stack.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) rest: String,
    pub(super) websocket: String,
    pub(super) management: String,
    pub(super) dynamodb: String,
    pub(super) lambda: String,
    pub(super) sqs: String,
    pub(super) logs: String,
    pub(super) otlp: String,
    pub(super) page: String,
    /// URLs of the queues, by their logical ids.
    pub(super) queues: BTreeMap<String, String>,
}

impl Addresses {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "rest": self.rest,
            "websocket": self.websocket,
            "management": self.management,
            "dynamodb": self.dynamodb,
            "lambda": self.lambda,
            "sqs": self.sqs,
            "logs": self.logs,
            "queues": self.queues,
            "otlp": self.otlp,
            "page": self.page,
            "pid": std::process::id(),
        })
    }

    /// Prints all addresses, and a command that works when pasted.
    pub(super) fn print_addresses(&self, secret: &Secret) -> Result<(), Error> {
        let token = token::sign(secret, "you", token::DEFAULT_TTL, jiff::Timestamp::now())?;
        let Self { rest, websocket, management, dynamodb, lambda, sqs, logs, otlp, page, .. } = self;
        println!(
            "\nSwitchboard is up. Open the page in two tabs:\n\n  {page}\n\n\
             REST API      {rest}\nWebSocket API {websocket}\n@connections  {management}\n\
             DynamoDB      {dynamodb}\nLambda        {lambda}\nSQS           {sqs}\n\
             Logs          {logs}\nOTLP          {otlp}\n\n\
             Send a message from here:\n\n  \
             curl -sS {rest}/channels/{FIRST_CHANNEL}/messages -H 'Authorization: Bearer {token}' \
             -H 'Content-Type: application/json' -d '{{\"content\":\"Hello from the terminal\"}}'\n\n\
             A token for another user: {} --user alice\nCtrl-C stops.",
            token_command()
        );
        std::io::stdout().flush()?;
        Ok(())
    }
}

/// Returns the command that prints tokens, of the program that runs.
fn token_command() -> &'static str {
    let program = std::env::args_os().next().map(PathBuf::from);
    let is_switchboard = program.is_some_and(|program| program.file_stem().is_some_and(|name| name == "switchboard"));
    if is_switchboard { "switchboard token" } else { "cargo local -- token" }
}
