//! The smoke test on the command line: one line for each step, exit code 1 at the first that fails.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use smoke::{Target, Tokens};

/// Walks through a running Switchboard, deployed or local, and fails naming the step that does not work.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Where the REST API is, such as <https://abc.execute-api.eu-west-1.amazonaws.com/prod>
    #[arg(long)]
    rest: String,
    /// Where the WebSocket API is, such as <wss://def.execute-api.eu-west-1.amazonaws.com/prod>
    #[arg(long)]
    websocket: String,
    /// Tokens of two users, with a comma between them
    #[arg(long, env = "SMOKE_TOKENS", hide_env_values = true, value_delimiter = ',', conflicts_with = "secret")]
    tokens: Vec<String>,
    /// Instead of tokens: the HS256 secret that they are signed with here
    #[arg(long, env = "SMOKE_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// `iss` of tokens that are signed here
    #[arg(long, default_value = "switchboard-smoke")]
    issuer: String,
    /// `aud` of tokens that are signed here
    #[arg(long, default_value = "switchboard-smoke")]
    audience: String,
    /// Seconds that a step may take
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let tokens = match (options.secret, <[String; 2]>::try_from(options.tokens)) {
        (Some(secret), _) => Tokens::signed(&secret, &options.issuer, &options.audience),
        (None, Ok(tokens)) => Ok(Tokens(tokens)),
        (None, Err(_)) => {
            eprintln!("give the tokens of two users (SMOKE_TOKENS), or what to sign them with (SMOKE_SECRET)");
            return ExitCode::from(2);
        }
    };
    let outcome = match tokens {
        Ok(tokens) => {
            let patience = Duration::from_secs(options.patience);
            let target = Target { rest: options.rest, websocket: options.websocket, tokens, patience };
            smoke::run(&target, |step, took| println!("ok      {step} ({} ms)", took.as_millis())).await
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
