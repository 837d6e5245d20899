//! `switchboard users export`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use chat::{
    app::erasure::{ExportLine, Exporter},
    model::id::UserId,
    ports::clock::SystemClock,
};
use clap::Args;

use super::{READ_UNITS, user_items};
use crate::{output::Output, target::Target};

/// Options of `users export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// User
    #[arg(value_name = "USER")]
    user: UserId,
    /// File to write; the default is standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Maximum number of read capacity units per second
    #[arg(long, default_value_t = READ_UNITS, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    read_units: u32,
}

impl Export {
    pub(super) async fn run(self, target: &Target, output: &Output) -> Result<()> {
        let items = user_items(target, self.read_units);
        let exporter = Exporter { items: &items, clock: &SystemClock };
        let mut out: Box<dyn Write> = match &self.output {
            Some(path) => {
                let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                Box::new(BufWriter::new(file))
            }
            None => Box::new(io::stdout()),
        };
        let mut write = |line: &ExportLine| -> Result<()> { Ok(writeln!(out, "{}", serde_json::to_string(line)?)?) };
        write(&exporter.header(&self.user))?;
        let progress = output.progress("items read", None);
        let mut position = None;
        loop {
            let page = exporter.page(&self.user, position.as_ref()).await?;
            for line in &page.lines {
                write(line)?;
            }
            progress.add(page.read);
            position = page.next;
            if position.is_none() {
                break;
            }
        }
        Ok(out.flush()?)
    }
}
