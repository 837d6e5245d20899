//! The command line of the smoke test: one line per step; exit code 1 at the first failure.

use std::{process::ExitCode, time::Duration};

use clap::Args;

use crate::{Target, Tokens};

/// Options of the smoke test.
#[derive(Debug, Args)]
pub struct Options {
    /// Address of the REST API, such as <https://abc.execute-api.eu-west-1.amazonaws.com/prod>
    #[arg(long)]
    rest: String,
    /// Address of the WebSocket API, such as <wss://def.execute-api.eu-west-1.amazonaws.com/prod>
    #[arg(long)]
    websocket: String,
    /// Tokens of two users, separated by a comma
    #[arg(long, env = "SMOKE_TOKENS", hide_env_values = true, value_delimiter = ',', conflicts_with = "secret")]
    tokens: Vec<String>,
    /// HS256 secret to sign tokens with, instead of tokens
    #[arg(long, env = "SMOKE_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// `iss` of the signed tokens
    #[arg(long, default_value = "switchboard-smoke")]
    issuer: String,
    /// `aud` of the signed tokens
    #[arg(long, default_value = "switchboard-smoke")]
    audience: String,
    /// Timeout of a step, in seconds
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Timeout of a step that waits for a stream, in seconds; those of a new stack take minutes to start
    #[arg(long, default_value_t = 300)]
    stream_patience: u64,
}

impl Options {
    /// Runs the test, and prints its steps.
    pub async fn run(self) -> ExitCode {
        let tokens = match (self.secret, <[String; 2]>::try_from(self.tokens)) {
            (Some(secret), _) => Tokens::signed(&secret, &self.issuer, &self.audience),
            (None, Ok(tokens)) => Ok(Tokens(tokens)),
            (None, Err(_)) => {
                eprintln!("set the tokens of two users (SMOKE_TOKENS), or the secret to sign them with (SMOKE_SECRET)");
                return ExitCode::from(2);
            }
        };
        let outcome = match tokens {
            Ok(tokens) => {
                let target = Target {
                    rest: self.rest,
                    websocket: self.websocket,
                    tokens,
                    patience: Duration::from_secs(self.patience),
                    stream_patience: Duration::from_secs(self.stream_patience),
                };
                crate::run(&target, |step, took| println!("ok      {step} ({} ms)", took.as_millis())).await
            }
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                println!("FAILED  {}: {}", failure.step, failure.reason);
                ExitCode::FAILURE
            }
        }
    }
}
