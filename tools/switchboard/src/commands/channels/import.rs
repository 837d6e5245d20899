//! `channels import`.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use chat::{
    app::transfer::{Existing, Import as Records, ImportState, Record},
    model::id::{TenantId, UserId, UserPrefix},
    ports::{channel_transfer::ChannelTransfer, clock::SystemClock, deleted_channels::DeletedChannels},
};
use chat_aws::Pace;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::summary;
use crate::{
    commands::progress_file::ProgressFile,
    formats::{self, Losses, UserOptions, mattermost::Mattermost, slack::Slack, users::Attribute},
    output::{Output, Progress, counted},
    target::Target,
};

/// Maximum length of a line, in bytes. The longest message has a content of 32,768 bytes, of which JSON may make six each,
/// and 2,000 users of reactions.
const LINE_BYTES: u64 = 4 << 20;

/// Format of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Export of this program: a file, or - for standard input
    Switchboard,
    /// Export of a Slack workspace: the folder that its ZIP file contains
    Slack,
    /// Bulk export of Mattermost: the file of JSON lines in its ZIP file
    Mattermost,
}

/// Options of an import.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// File or folder to read
    source: PathBuf,
    /// Format of the source
    #[arg(long, value_enum, default_value = "switchboard")]
    format: Format,
    /// Leave out channels whose ids are taken
    #[arg(long)]
    skip_existing: bool,
    /// Maximum write capacity units per second
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    write_units: Option<u32>,
    /// File for the progress, from which an interrupted import goes on [default: the source with .progress at its end]
    #[arg(long, value_name = "FILE")]
    progress_file: Option<PathBuf>,
    /// Remove the incomplete channel of an interrupted import instead of going on
    #[arg(long)]
    discard: bool,
    /// Attribute of Slack's and Mattermost's users that is the subject of their tokens
    #[arg(long, value_enum, default_value = "email", value_name = "ATTRIBUTE")]
    subject: Attribute,
    /// Prefix of the users' issuer
    #[arg(long, value_name = "PREFIX")]
    user_prefix: Option<UserPrefix>,
    /// User id of the owner of channels that have none in Slack or Mattermost
    #[arg(long, value_name = "USER")]
    owner: Option<UserId>,
}

impl Import {
    pub(super) async fn run(self, target: &Target, output: &Output) -> Result<()> {
        let advice = "run that import to its end, or end it with --discard";
        let file = ProgressFile::new(self.progress_path(), &target.name, self.description(target), advice);
        let kept = file.load()?;
        if self.discard {
            return discard(&file, kept, target, output).await;
        }
        if let Some(state) = &kept {
            output.note(format_args!("Going on after record {}", state.records));
        }
        let imported = self.import(&file, kept.unwrap_or_default(), target, output).await;
        let (state, losses) = imported.inspect_err(|_| {
            output.note("Run the command again to go on, or with --discard to remove the incomplete channel.");
        })?;
        file.remove()?;
        for (what, count) in losses.counts() {
            output.note(format_args!("Left out: {count} {what}"));
        }
        let counts = state.counts;
        let value = json!({
            "channels": counts.channels, "members": counts.members, "messages": counts.messages,
            "skipped_channels": state.skipped, "left_out": losses,
        });
        let skipped = match state.skipped {
            0 => String::new(),
            skipped => format!(", {} skipped", counted(skipped, "channel", "channels")),
        };
        let text = summary(counts) + &skipped;
        output.result(&value, text)
    }

    fn is_standard_input(&self) -> bool {
        self.source == Path::new("-")
    }

    fn progress_path(&self) -> Option<PathBuf> {
        if self.progress_file.is_some() || self.is_standard_input() {
            return self.progress_file.clone();
        }
        // A folder may be given with a slash at its end.
        let source: PathBuf = self.source.components().collect();
        let mut name = OsString::from(source);
        name.push(".progress");
        Some(name.into())
    }

    /// Describes the source and all options on which its records depend.
    fn description(&self, target: &Target) -> String {
        let Self { format, subject, user_prefix, owner, .. } = self;
        let tenant = &target.tenant;
        match format {
            Format::Switchboard => format!("an import of switchboard, tenant {tenant:?}"),
            _ => format!(
                "an import of {format:?}, tenant {tenant:?}, {subject:?}, prefix {user_prefix:?}, owner {owner:?}"
            ),
        }
    }

    /// Imports the records after those of `state`.
    async fn import(
        &self,
        file: &ProgressFile<ImportState>,
        state: ImportState,
        target: &Target,
        output: &Output,
    ) -> Result<(ImportState, Losses)> {
        let transfer = target.transfer(Pace::new(None, self.write_units));
        let stores = |tenant: Option<&TenantId>| transfer.for_tenant(tenant);
        let existing = if self.skip_existing { Existing::Skipped } else { Existing::Refused };
        let progress = output.progress("Importing", None);
        let mut rest = state.records;
        let mut import = Records::new(stores, SystemClock, existing, state);
        let tenant = target.tenant.as_ref();
        let mut losses = Losses::default();
        let mut pass = async |record: Record| -> Result<()> {
            if rest > 0 {
                rest -= 1;
                return Ok(());
            }
            count(&progress, &record);
            if import.add(of_tenant(record, tenant)).await? {
                file.save(import.state())?;
            }
            Ok(())
        };
        let users = UserOptions { subject: self.subject, prefix: self.user_prefix.clone(), owner: self.owner.clone() };
        match self.format {
            Format::Switchboard if self.is_standard_input() => pass_lines(io::stdin().lock(), &mut pass).await?,
            Format::Switchboard => pass_lines(BufReader::new(self.open()?), &mut pass).await?,
            Format::Slack => {
                let workspace = Slack::open(&self.source, &users)?;
                formats::pass_records(&workspace, &users, &mut losses, &mut pass).await?;
            }
            Format::Mattermost => {
                let workspace = Mattermost::open(&self.source, &users)?;
                formats::pass_records(&workspace, &users, &mut losses, &mut pass).await?;
            }
        }
        Ok((import.finish()?, losses))
    }

    fn open(&self) -> Result<File> {
        File::open(&self.source).with_context(|| format!("cannot read {}", self.source.display()))
    }
}

fn count(progress: &Progress, record: &Record) {
    match record {
        Record::Channel(channel) => progress.name(format_args!("Importing {}", channel.channel_id)),
        Record::Message(_) => progress.add(1),
        _ => {}
    }
}

/// Returns the record, with the channel in `tenant` if that is given.
fn of_tenant(mut record: Record, tenant: Option<&TenantId>) -> Record {
    if let (Record::Channel(channel), Some(tenant)) = (&mut record, tenant) {
        channel.tenant = Some(tenant.clone());
    }
    record
}

/// Passes the records in lines, one at a time.
async fn pass_lines(mut input: impl BufRead, pass: &mut impl AsyncFnMut(Record) -> Result<()>) -> Result<()> {
    let (mut line, mut number) = (String::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        let read = input.by_ref().take(LINE_BYTES).read_line(&mut line);
        if read.with_context(|| format!("line {number}"))? == 0 {
            return Ok(());
        }
        if !line.ends_with('\n') {
            bail!("line {number} is longer than {LINE_BYTES} bytes, or its end is missing");
        }
        let record = Record::read(&line).with_context(|| format!("line {number}"))?;
        pass(record).await?;
    }
}

/// Removes the incomplete channel of an interrupted import, and its progress.
async fn discard(
    file: &ProgressFile<ImportState>,
    kept: Option<ImportState>,
    target: &Target,
    output: &Output,
) -> Result<()> {
    let Some(state) = kept else {
        output.note("No import was interrupted.");
        return Ok(());
    };
    if let Some(channel) = state.channel.filter(|channel| !channel.is_skipped) {
        let (key, tenant) = (channel.key(), channel.record.tenant.as_ref());
        let current = target.transfer(Pace::default()).for_tenant(tenant).channel_to_export(&key.channel_id).await?;
        if current.is_some_and(|(current, _)| current.incarnation == key.incarnation) {
            output.note(format_args!("The channel {} is complete, and stays.", key.channel_id));
        } else {
            output.confirm(format_args!("Remove the incomplete channel {}?", key.channel_id))?;
            let removal = target.deleted_channels(tenant);
            while !removal.remove_some(&key).await? {}
        }
    }
    file.remove()?;
    output.result(&json!({ "discarded": true }), "The interrupted import is discarded.")
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    fn found(text: &str) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut pass = async |record: Record| -> Result<()> {
            records.push(record);
            Ok(())
        };
        block_on(pass_lines(text.as_bytes(), &mut pass))?;
        Ok(records)
    }

    #[test]
    fn each_line_is_a_record_and_a_wrong_one_is_named() {
        let first = r#"{"type":"export","format":"switchboard","version":1}"#;
        assert_eq!(found(&format!("{first}\n")).unwrap().len(), 1);
        assert_eq!(found("").unwrap(), []);
        for (text, part) in [(format!("{first}\n{{}}\n"), "line 2"), (first.to_owned(), "its end is missing")] {
            let error = format!("{:#}", found(&text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_line_has_a_maximum_length() {
        let long = "x".repeat(usize::try_from(LINE_BYTES).unwrap() + 1) + "\n";
        assert!(found(&long).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn channels_go_to_the_tenant_that_is_named() {
        let text = r#"{"type":"channel","tenant":"a","channel_id":"c","name":"n","visibility":"public","created_by":"olga","created_at":"2026-01-02T03:04:05.678Z","version":1,"last_seq":0,"last_rev":0}"#;
        let tenant_of = |tenant: Option<&TenantId>| match of_tenant(Record::read(text).unwrap(), tenant) {
            Record::Channel(channel) => channel.tenant.unwrap().to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(tenant_of(None), "a");
        assert_eq!(tenant_of(Some(&"b".parse().unwrap())), "b");
    }
}
