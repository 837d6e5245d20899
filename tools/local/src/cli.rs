//! The command line of `cargo local`.

use std::{
    ffi::OsString,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

use crate::{runs::Wanted, token};
use emulator::{doors::Origin, quotas::Limits};

/// Default directory of the data.
const DATA_DIR: &str = ".local";

/// Values of the template's parameter `ModelContinuation`.
const CONTINUATIONS: [&str; 4] = ["none", "assistant", "prefix", "continue_final_message"];

/// Runs the back end that infra/backend.yaml describes on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo local", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Command; the default is to run the stack.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the run.
    #[command(flatten)]
    pub run: RunOptions,
}

/// Commands other than the run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a token that the running stack accepts
    Token(TokenOptions),
}

/// Options of `token`.
#[derive(Debug, Args)]
pub struct TokenOptions {
    /// Subject of the user that the token names, such as alice or alice@example.com
    #[arg(long, value_parser = token::parse_user)]
    pub user: String,
    /// Lifetime, such as 90s, 1h or 2d; negative for an expired token
    #[arg(long, default_value = "1h", value_parser = token::parse_ttl, allow_hyphen_values = true)]
    pub ttl: SignedDuration,
    /// Data directory of the run that accepts it [default: that of the current run, else .local]
    #[arg(long, conflicts_with = "ready_file")]
    pub data_dir: Option<PathBuf>,
    /// Ready file of the run that accepts it
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
}

impl TokenOptions {
    /// Returns the selector of the run that accepts the token.
    #[must_use]
    pub fn wanted(&self) -> Wanted<'_> {
        match (&self.data_dir, &self.ready_file) {
            (Some(directory), _) => Wanted::DataDirectory(directory),
            (None, Some(file)) => Wanted::ReadyFile(file),
            (None, None) => Wanted::Default(Path::new(DATA_DIR)),
        }
    }
}

/// Options of the run itself.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Port of the REST API; 0 for any free one
    #[arg(long, default_value_t = 3000)]
    pub rest_port: u16,
    /// Port of the WebSocket API and of @connections; 0 for any free one
    #[arg(long, default_value_t = 3001)]
    pub websocket_port: u16,
    /// Port of DynamoDB; 0 for any free one
    #[arg(long, default_value_t = 8000)]
    pub dynamodb_port: u16,
    /// Port of the page [default: 3002 if it is free, else any]
    #[arg(long)]
    pub page_port: Option<u16>,
    /// Opens the ports of the two APIs, of DynamoDB and of the page on all addresses of this machine, for a container
    /// that publishes them; requests must still name localhost
    #[arg(long)]
    pub all_interfaces: bool,
    /// Port of the OTLP receiver that the functions export to; 0 for any free one
    #[arg(long, default_value_t = 0)]
    pub otlp_port: u16,
    /// Origin of web pages that may call the REST API and the WebSocket API beside the run's own page, such as
    /// <http://localhost:5173>; may be repeated
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub allowed_origins: Vec<Origin>,
    /// Additional OTLP collector (HTTP) for all received telemetry, such as <http://127.0.0.1:4318>
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Header for that collector, such as an API key; may be repeated
    #[arg(long = "otlp-header", value_name = "NAME=VALUE", value_parser = parameter, requires = "otlp_endpoint")]
    pub otlp_headers: Vec<(String, String)>,
    /// Directory of the data, which is kept between runs
    #[arg(long, default_value = DATA_DIR, conflicts_with = "in_memory")]
    pub data_dir: PathBuf,
    /// Drop all data at the end of the run
    #[arg(long)]
    pub in_memory: bool,
    /// Folder with the functions' binaries [default: the folder functions beside the program, else they are built]
    #[arg(long)]
    pub bin_dir: Option<PathBuf>,
    /// File to write once everything accepts traffic: JSON with the URLs and the process id
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
    /// CloudFormation template [default: that of the functions beside the program, else infra/backend.yaml of the workspace]
    #[arg(long)]
    pub template: Option<PathBuf>,
    /// Base URL of a model server with the protocol of OpenAI, such as <http://127.0.0.1:11434/v1>
    #[arg(long, requires = "model")]
    pub model_url: Option<String>,
    /// Name of the model on that server
    #[arg(long, requires = "model_url")]
    pub model: Option<String>,
    /// Way in which that server continues a reply whose worker died: see its parameter `ModelContinuation`
    #[arg(long, value_name = "WAY", requires = "model", value_parser = CONTINUATIONS)]
    pub model_continuation: Option<String>,
    /// Interval between reads of the tables' streams, such as 250ms (as in Lambda); 0s to read each write immediately
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = interval)]
    pub stream_interval: Duration,
    /// Seed that puts the reads of the streams out of phase, as on AWS: each event source mapping starts late, polls on
    /// its own clock, and reads several records at once
    #[arg(long, value_name = "SEED")]
    pub out_of_phase: Option<u64>,
    /// Parameter of the template, such as SendRate=5; may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<(String, String)>,
    /// Profile of quotas that the run enforces: those of an AWS account
    #[arg(long, value_name = "PROFILE", value_parser = ["aws"])]
    pub quotas: Option<String>,
    /// Quota that the run enforces, alone or instead of the profile's, such as account-rate=10000; may be repeated
    #[arg(long = "quota", value_name = "NAME=VALUE", value_parser = quota)]
    pub single_quotas: Vec<(String, NonZeroU32)>,
    /// Log level of the run and of its functions: error, warn, info, debug, trace, or a filter
    #[arg(long, default_value = "warn")]
    pub log_level: String,
}

/// Splits at the first `=`.
fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl RunOptions {
    /// Returns the limits of the profile, with the single ones instead of its own.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = if self.quotas.is_some() { Limits::AWS } else { Limits::default() };
        for (name, value) in &self.single_quotas {
            // The command line has checked the names.
            let _ = limits.set(name, *value);
        }
        limits
    }
}

/// Parses the name and the value of a quota.
fn quota(text: &str) -> Result<(String, NonZeroU32), String> {
    let (name, value) = parameter(text)?;
    let value = value.parse::<NonZeroU32>().map_err(|_| format!("{value} is no number of at least 1"))?;
    Limits::default().set(&name, value).map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// Parses a duration that is not negative.
fn interval(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|_| "it cannot be negative".to_owned())
}

/// Returns the arguments without a leading `--`. `cargo local -- --in-memory` and `cargo local --in-memory` are equal,
/// because the alias itself ends with `--`.
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    given
        .into_iter()
        .enumerate()
        .filter(|(index, argument)| *index != 1 || argument != "--")
        .map(|(_, argument)| argument)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        let parse = |origin: &str| Cli::try_parse_from(["local", "--allow-origin", origin]);
        for (text, origin) in [
            ("http://localhost:5173", "http://localhost:5173"),
            ("HTTP://LocalHost:5173/", "http://localhost:5173"),
            ("https://app.example:443", "https://app.example"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            let origins = parse(text).unwrap().run.allowed_origins;
            assert_eq!(origins.iter().map(ToString::to_string).collect::<Vec<_>>(), [origin], "{text}");
        }
        for text in
            ["*", "null", "localhost:5173", "file:///tmp", "http://a/b", "http://a?b", "http://u:p@a", "tauri://a"]
        {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("http://localhost:5173"), "{text}: {error}");
        }
    }

    #[test]
    fn a_way_to_continue_a_reply_is_that_of_a_model() {
        let parse = |options: &[&str]| Cli::try_parse_from([&["local"][..], options].concat());
        let model = ["--model-url", "http://127.0.0.1:9/v1", "--model", "m", "--model-continuation"];
        for way in CONTINUATIONS {
            let run = parse(&[&model[..], &[way]].concat()).unwrap().run;
            assert_eq!(run.model_continuation.as_deref(), Some(way));
        }
        assert!(parse(&[&model[..], &["yes"]].concat()).is_err());
        assert!(parse(&["--model-continuation", "assistant"]).is_err());
    }

    #[test]
    fn quotas_are_those_of_a_profile_and_single_ones() {
        let limits =
            |options: &[&str]| Cli::try_parse_from([&["local"][..], options].concat()).map(|cli| cli.run.limits());
        assert_eq!(limits(&[]).unwrap(), Limits::default());
        assert_eq!(limits(&["--quotas", "aws"]).unwrap(), Limits::AWS);
        let concurrency = NonZeroU32::new(10);
        assert_eq!(
            limits(&["--quota", "concurrency=10", "--quotas", "aws"]).unwrap(),
            Limits { concurrency, ..Limits::AWS }
        );
        assert_eq!(limits(&["--quota", "concurrency=10"]).unwrap(), Limits { concurrency, ..Limits::default() });
        for wrong in [["--quotas", "azure"], ["--quota", "rate=1"], ["--quota", "connects=0"], ["--quota", "connects"]]
        {
            assert!(limits(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_expired_token_can_be_asked_for() {
        let cli = Cli::parse_from(["local", "token", "--user", "alice", "--ttl", "-5m"]);
        assert!(matches!(cli.command, Some(Command::Token(TokenOptions { ttl, .. })) if ttl.is_negative()));
    }
}
