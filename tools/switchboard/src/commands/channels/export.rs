//! `channels export`.
//!
//! The records go to `FILE.part`, which becomes `FILE` at the end. An interrupted export leaves a part whose last line may
//! be incomplete. The next one removes that line, and goes on after the line before it.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use chat::{
    app::transfer::{Counts, ExportError, ExportPosition, ExportProgress, Header, Record, export_channel},
    model::id::ChannelId,
    ports::clock::SystemClock,
};
use chat_aws::{DynamoTransfer, Pace};
use clap::Args;
use serde_json::json;

use super::{Place, all_channels, summary};
use crate::{
    output::{Output, Progress, counted},
    refusal::Refusal,
    target::Target,
};

/// Options of an export.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Channels; without them, all channels of all tenants or of --tenant
    channels: Vec<ChannelId>,
    /// File to write; without it, standard output, where an interrupted export cannot go on
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Begin again instead of going on with an interrupted export
    #[arg(long, requires = "output")]
    restart: bool,
    /// Maximum read capacity units per second
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    read_units: Option<u32>,
}

impl Export {
    pub(super) async fn run(self, target: &Target, output: &Output) -> Result<()> {
        let transfer = target.transfer(Pace::new(self.read_units, None));
        let is_of_all = self.channels.is_empty();
        let wanted: BTreeSet<Place> = if is_of_all {
            all_channels(&transfer, target.tenant.as_ref()).await?
        } else {
            self.channels.iter().map(|id| (target.tenant.clone(), id.clone())).collect()
        };
        let Some(file) = &self.output else {
            let mut sink =
                Sink::new(io::stdout().lock(), ExportProgress::default(), output.progress("Exporting", None));
            let counts = write_export(&transfer, &wanted, is_of_all, &mut sink).await?;
            output.note(summary(counts));
            return Ok(());
        };
        if file.exists() {
            output.confirm(format_args!("{} exists. Replace it?", file.display()))?;
        }
        let part = part_of(file);
        let (opened, done) = open_part(&part, self.restart)?;
        if !is_of_all {
            check_channels(&part, &wanted)?;
        }
        if done.has_header {
            output.note(format_args!(
                "Going on after {} in {}",
                counted(done.counts.messages, "message", "messages"),
                part.display()
            ));
        }
        let mut sink = Sink::new(opened, done, output.progress("Exporting", None));
        let counts = write_export(&transfer, &wanted, is_of_all, &mut sink).await?;
        let written = sink.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        written.sync_all()?;
        fs::rename(&part, file).with_context(|| format!("cannot rename {}", part.display()))?;
        let value = json!({
            "file": file, "channels": counts.channels, "members": counts.members, "messages": counts.messages,
        });
        output.result(&value, format_args!("{}: {}", file.display(), summary(counts)))
    }
}

/// Place of the records.
struct Sink<Out: Write> {
    out: BufWriter<Out>,
    done: ExportProgress,
    progress: Progress,
}

impl<Out: Write> Sink<Out> {
    fn new(out: Out, done: ExportProgress, progress: Progress) -> Self {
        Self { out: BufWriter::new(out), done, progress }
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        self.out.write_all(record.line()?.as_bytes())?;
        self.done.counts.add(record);
        self.progress.add(u64::from(matches!(record, Record::Message(_))));
        Ok(())
    }
}

/// Writes the records that are not written yet.
async fn write_export<Out: Write>(
    transfer: &DynamoTransfer,
    wanted: &BTreeSet<Place>,
    is_of_all: bool,
    sink: &mut Sink<Out>,
) -> Result<Counts> {
    if !sink.done.has_header {
        sink.write(&Record::Export(Header::default()))?;
    }
    if !sink.done.is_complete {
        let position = sink.done.position.clone();
        if let Some(position) = &position {
            finish_channel(transfer, position, sink).await?;
        }
        let begun = position.as_ref().map(place_of);
        for place in wanted.iter().filter(|place| begun.as_ref().is_none_or(|begun| *place > begun)) {
            write_channel(transfer, place, is_of_all, sink).await?;
        }
        let counts = sink.done.counts;
        sink.write(&Record::End(counts))?;
    }
    sink.out.flush()?;
    Ok(sink.done.counts)
}

fn place_of(position: &ExportPosition) -> Place {
    (position.channel.tenant.clone(), position.channel.channel_id.clone())
}

async fn finish_channel<Out: Write>(
    transfer: &DynamoTransfer,
    position: &ExportPosition,
    sink: &mut Sink<Out>,
) -> Result<()> {
    let (tenant, id) = place_of(position);
    sink.progress.name(format_args!("Exporting {id}"));
    let store = transfer.for_tenant(tenant.as_ref());
    let write = |record| sink.write(&record);
    export_channel(&store, (tenant.as_ref(), &id), Some(position), &SystemClock, write).await.map_err(error_of)
}

async fn write_channel<Out: Write>(
    transfer: &DynamoTransfer,
    (tenant, id): &Place,
    is_of_all: bool,
    sink: &mut Sink<Out>,
) -> Result<()> {
    sink.progress.name(format_args!("Exporting {id}"));
    let store = transfer.for_tenant(tenant.as_ref());
    let write = |record| sink.write(&record);
    match export_channel(&store, (tenant.as_ref(), id), None, &SystemClock, write).await {
        Err(ExportError::NotFound(_)) if is_of_all => Ok(()),
        exported => exported.map_err(error_of),
    }
}

fn error_of(error: ExportError<anyhow::Error>) -> anyhow::Error {
    match error {
        ExportError::NotFound(_) => Refusal::NotFound(error.to_string()).into(),
        ExportError::Write(error) => error,
        other => anyhow::anyhow!(other),
    }
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".part");
    name.into()
}

/// Opens the part of an interrupted export at the end of its last complete line, or a new one.
fn open_part(part: &Path, is_restarted: bool) -> Result<(File, ExportProgress)> {
    let unusable = || format!("cannot use {}", part.display());
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(is_restarted)
        .open(part)
        .with_context(unusable)?;
    let (mut done, mut end) = (ExportProgress::default(), 0);
    let mut lines = BufReader::new(&file);
    // The end of an incomplete line may be in the middle of a character.
    let mut line = Vec::new();
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line).with_context(unusable)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        let record = Record::read(std::str::from_utf8(&line).with_context(unusable)?).with_context(unusable)?;
        done.add(record).with_context(|| format!("{} is no part of an export: pass --restart", part.display()))?;
        end += u64::try_from(line.len())?;
    }
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok((file, done))
}

/// Checks that a part has the first of the wanted channels and no other.
fn check_channels(part: &Path, wanted: &BTreeSet<Place>) -> Result<()> {
    let mut rest = wanted.iter();
    for line in BufReader::new(File::open(part)?).lines() {
        let Record::Channel(channel) = Record::read(&line?)? else { continue };
        let place = (channel.tenant, channel.channel_id);
        if rest.next() != Some(&place) {
            bail!("{} is of other channels: pass --restart, or choose another file", part.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &Record) -> String {
        record.line().unwrap()
    }

    fn channel(id: &str) -> Record {
        let text = format!(
            r#"{{"type":"channel","channel_id":"{id}","name":"n","visibility":"public","created_by":"olga","created_at":"2026-01-02T03:04:05.678Z","version":1,"last_seq":0,"last_rev":0}}"#
        );
        Record::read(&text).unwrap()
    }

    #[test]
    fn a_part_is_cut_after_its_last_complete_line() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("all.jsonl.part");
        let whole = line(&Record::Export(Header::default())) + &line(&channel("a"));
        // The cut is within the ✓, which is no complete character then.
        let torn = [whole.as_bytes(), "{\"type\":\"member\",\"user_id\":\"✓".as_bytes()].concat();
        fs::write(&part, &torn[..torn.len() - 1]).unwrap();
        let (mut file, done) = open_part(&part, false).unwrap();
        assert!(done.has_header && done.counts.channels == 1);
        file.write_all(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&part).unwrap(), whole + "next\n");
    }

    #[test]
    fn a_new_part_is_empty_and_a_restarted_one_too() {
        let folder = tempfile::tempdir().unwrap();
        let part = part_of(&folder.path().join("all.jsonl"));
        assert_eq!(part.file_name().unwrap(), "all.jsonl.part");
        assert_eq!(open_part(&part, false).unwrap().1, ExportProgress::default());
        fs::write(&part, line(&Record::Export(Header::default()))).unwrap();
        assert_eq!(open_part(&part, true).unwrap().1, ExportProgress::default());
        assert_eq!(fs::read(&part).unwrap(), b"");
    }

    #[test]
    fn a_part_of_another_export_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("part");
        fs::write(&part, "{}\n").unwrap();
        assert!(open_part(&part, false).is_err());
        fs::write(&part, line(&Record::Export(Header::default())) + &line(&channel("b"))).unwrap();
        let places = |ids: &[&str]| ids.iter().map(|id| (None, id.parse().unwrap())).collect::<BTreeSet<Place>>();
        assert!(check_channels(&part, &places(&["b", "c"])).is_ok());
        assert!(check_channels(&part, &places(&["a", "b"])).is_err());
    }
}
