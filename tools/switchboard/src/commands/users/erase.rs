//! `switchboard users erase`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use chat::{
    app::{
        channel_messages::ChannelMessages,
        erasure::{Erased, Erasure, ErasureRequest, Progress, Step},
        membership::Membership,
    },
    model::{
        audit::AuditAction,
        error::{ChatError, StoreError},
        id::{MessageId, UserId},
        limits::CHANGE_DURATION,
        user_item::{Extent, ItemPlace, alias},
    },
    ports::{
        clock::{Backoff, Clock, SystemClock},
        fan_out::{FanOut, PushBatch},
    },
};
use clap::Args;
use serde::Serialize;

use super::{READ_UNITS, user_items};
use crate::{
    commands::{audit::Operator, connections::sockets, progress_file::ProgressFile},
    output::{Output, counted},
    target::Target,
};

/// Time for which an event of a membership may be pushed.
const PUSHES: Duration = Duration::from_secs(10);

/// Maximum number of attempts at one step that fails.
const ATTEMPTS: u32 = 8;

/// Wait between two attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(10) };

/// Options of `users erase`.
#[derive(Debug, Args)]
pub(super) struct Erase {
    /// User
    #[arg(value_name = "USER")]
    user: UserId,
    /// Erase the id too: an alias takes its place, also in mentions
    #[arg(long)]
    with_id: bool,
    /// User who becomes the owner of public channels that have no other member
    #[arg(long, value_name = "USER")]
    heir: Option<UserId>,
    /// File with the progress, from which an interrupted run continues [default: erase-USER.progress]
    #[arg(long, value_name = "FILE")]
    progress_file: Option<PathBuf>,
    /// Maximum number of read capacity units per second
    #[arg(long, default_value_t = READ_UNITS, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    read_units: u32,
    #[command(flatten)]
    operator: Operator,
}

/// Fan-out of a command, which cannot invoke functions on behalf of a deployment. Clients beyond the first sockets of a
/// channel read the members after they connect.
struct NoFanOut;

impl FanOut for NoFanOut {
    async fn dispatch(&self, _: &PushBatch) -> Result<(), StoreError> {
        let source = "a command dispatches no shards; further clients read the members after they connect".into();
        Err(StoreError { operation: "dispatch", retryable: false, source })
    }
}

/// Result, for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Id of the user, or the alias in its place.
    user_id: &'a UserId,
    passes: u32,
    read: u64,
    erased: Erased,
    is_clean: bool,
    left: Vec<&'a ItemPlace>,
    ownerless: Vec<String>,
}

impl Erase {
    pub(super) async fn run(self, target: &Target, output: &Output) -> Result<()> {
        let sockets = sockets(target)?;
        let file = self.file(target);
        let mut progress = match file.load()? {
            Some(progress) => self.resumed(progress, output),
            None => self.begun(target, output)?,
        };
        let (channels, messages, connections) = (target.channels(), target.messages(), target.connections());
        let items = user_items(target, self.read_units);
        let bar = output.progress("items read", None);
        let end = loop {
            let erasure = Erasure {
                membership: Membership {
                    channels: &channels,
                    connections: &connections,
                    sockets: &sockets,
                    fan_out: &NoFanOut,
                    clock: &SystemClock,
                    deadline: SystemClock.now().plus(PUSHES),
                },
                messages: ChannelMessages {
                    channels: &channels,
                    messages: &messages,
                    clock: &SystemClock,
                    change_duration: CHANGE_DURATION,
                },
                items: &items,
            };
            let read = progress.read;
            let mut attempt = 0;
            let step = loop {
                match erasure.step(&mut progress).await {
                    Ok(step) => break step,
                    Err(error) if attempt + 1 < ATTEMPTS && is_transient(&error) => {
                        BACKOFF.pause(&SystemClock, attempt).await;
                        attempt += 1;
                    }
                    Err(error) => {
                        file.save(&progress)?;
                        return Err(error).context("the progress is kept: run the command again to continue");
                    }
                }
            };
            file.save(&progress)?;
            bar.add(progress.read.saturating_sub(read));
            bar.name(format!("pass {}: items read", progress.pass));
            if step != Step::More {
                break step;
            }
        };
        drop(bar);
        self.finish(target, output, &progress, end, &file).await
    }

    /// Asks, and returns the progress of a new erasure.
    fn begun(&self, target: &Target, output: &Output) -> Result<Progress> {
        let (user, id) = (&self.user, if self.with_id { " and the id itself" } else { "" });
        output.confirm(format!("erase all data of {user}{id} in {}? This cannot be undone.", target.name))?;
        let alias = alias(MessageId::generate(SystemClock.seed())).context("no alias could be made")?;
        let extent = if self.with_id { Extent::ContentAndId } else { Extent::Content };
        let request = ErasureRequest { user_id: user.clone(), alias, extent, heir: self.heir.clone() };
        Ok(Progress::new(request))
    }

    /// Returns the file of this erasure.
    fn file(&self, target: &Target) -> ProgressFile<Progress> {
        let Self { user, with_id, .. } = self;
        let path = self.progress_file.clone().unwrap_or_else(|| format!("erase-{user}.progress").into());
        let id = if *with_id { " with the id" } else { "" };
        let work = format!("the erasure of {user}{id}, tenant {:?}", target.tenant);
        ProgressFile::new(Some(path), &target.name, work, "name another --progress-file")
    }

    /// Returns the progress of an interrupted erasure.
    fn resumed(&self, mut progress: Progress, output: &Output) -> Progress {
        output.note(format!("continuing in pass {}", progress.pass));
        if self.heir.is_some() {
            progress.request.heir.clone_from(&self.heir);
        }
        progress
    }

    async fn finish(
        self,
        target: &Target,
        output: &Output,
        progress: &Progress,
        end: Step,
        file: &ProgressFile<Progress>,
    ) -> Result<()> {
        let user_id = if self.with_id { &progress.request.alias } else { &self.user };
        self.operator.record(target, output, AuditAction::UserErased { user_id: user_id.clone() }).await;
        let report = Report {
            user_id,
            passes: progress.pass,
            read: progress.read,
            erased: progress.erased,
            is_clean: end == Step::Done && progress.is_clean(),
            left: progress.left.iter().collect(),
            ownerless: progress.ownerless.iter().map(ToString::to_string).collect(),
        };
        output.result(&report, text(&report))?;
        file.remove()?;
        if end == Step::StillWritten {
            bail!("the user or the agent still writes: make the user's tokens invalid, and run the command again");
        }
        if !report.ownerless.is_empty() {
            bail!("the user is still the only owner of {}: run again with --heir", report.ownerless.join(", "));
        }
        if !report.left.is_empty() {
            let left = counted(u64::try_from(report.left.len())?, "item", "items");
            bail!("the id is left as a word in {left} of others: look there, and change the text by hand");
        }
        Ok(())
    }
}

fn is_transient(error: &ChatError) -> bool {
    match error {
        ChatError::Contended { .. } => true,
        ChatError::Store(error) => error.retryable,
        _ => false,
    }
}

fn text(report: &Report<'_>) -> String {
    let Erased { messages, replies, mentions, reactions, memberships, connections, items } = report.erased;
    let erased = [
        counted(messages, "message", "messages"),
        counted(replies, "reply to them", "replies to them"),
        counted(mentions, "mention", "mentions"),
        counted(reactions, "reaction", "reactions"),
        counted(memberships, "membership", "memberships"),
        counted(connections, "connection", "connections"),
    ]
    .join(", ");
    let (items, passes) = (counted(items, "other item", "other items"), counted(report.passes, "pass", "passes"));
    let mut text = format!("{}: {erased} and {items} erased in {passes}", report.user_id);
    if report.is_clean {
        text.push_str("; the last pass read all tables and found nothing");
    }
    for place in &report.left {
        text.push_str("\nleft: ");
        text.push_str(&place.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_that_the_proof_was_made_only_if_it_was() {
        let user_id = "alice".parse().unwrap();
        let report = |is_clean| {
            let (erased, left, ownerless) = (Erased::default(), Vec::new(), Vec::new());
            text(&Report { user_id: &user_id, passes: 2, read: 9, erased, is_clean, left, ownerless })
        };
        assert!(report(true).contains("found nothing") && !report(false).contains("found nothing"));
    }
}
