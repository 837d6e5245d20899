//! Output of commands: tables for people, JSON for programs, questions, and progress.
//!
//! Results go to standard output. Questions, progress and notes go to standard error, so that a pipe gets results only.

use std::{
    fmt::Display,
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets::NOTHING};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::refusal::Refusal;

/// Interval of the movement of a progress bar.
const TICK: Duration = Duration::from_millis(200);

/// Number of rows of one table. A longer list is printed as several tables, so that it is never held in memory.
pub const TABLE_ROWS: usize = 500;

/// Options of the output.
#[derive(Debug, Clone, Default, Args)]
pub struct OutputOptions {
    /// Print results as JSON: one object, or one object per line for lists
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Answer all questions with yes
    #[arg(long, global = true, help_heading = "Output")]
    pub yes: bool,
    /// Print neither notes nor progress
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
}

/// Line of a list.
pub trait Row: Serialize {
    /// Headings of the columns.
    const COLUMNS: &'static [&'static str];

    /// Returns a cell for each column.
    fn cells(&self) -> Vec<String>;
}

/// Output of one command.
#[derive(Debug, Clone)]
pub struct Output {
    options: OutputOptions,
}

impl Output {
    /// Returns the output with these options.
    #[must_use]
    pub fn new(options: OutputOptions) -> Self {
        Self { options }
    }

    /// Returns whether results are printed as JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.options.json
    }

    /// Prints a list: a table, or one JSON object per line. The result of an empty list is an empty output, with a note.
    ///
    /// # Errors
    /// Fails if standard output cannot be written.
    pub fn rows<R: Row>(&self, rows: &[R]) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.options.json {
            for row in rows {
                writeln!(out, "{}", serde_json::to_string(row)?)?;
            }
        } else if rows.is_empty() {
            self.note("there are none");
        } else {
            writeln!(out, "{}", table(rows))?;
        }
        Ok(out.flush()?)
    }

    /// Prints one result: `text` for people, `value` for programs.
    ///
    /// # Errors
    /// Fails if standard output cannot be written.
    pub fn result(&self, value: &impl Serialize, text: impl Display) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.options.json {
            writeln!(out, "{}", serde_json::to_string(value)?)?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(out.flush()?)
    }

    /// Prints a note for people.
    pub fn note(&self, text: impl Display) {
        if !self.options.quiet {
            // Without a reader of notes, the command goes on.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Asks whether to go on. Anything but `yes` or `y` means no. Without a terminal, only `--yes` means yes.
    ///
    /// # Errors
    /// Fails with [`Refusal::NotConfirmed`] if the answer is no.
    pub fn confirm(&self, question: impl Display) -> Result<()> {
        if self.options.yes {
            return Ok(());
        }
        let input = io::stdin();
        if !input.is_terminal() {
            return Err(Refusal::NotConfirmed.into());
        }
        let mut terminal = io::stderr().lock();
        write!(terminal, "{question} [yes/no] ")?;
        terminal.flush()?;
        answer(&mut input.lock())
    }

    /// Shows the progress of a long work on a terminal. `total` is the number of steps, if it is known.
    #[must_use]
    pub fn progress(&self, what: &str, total: Option<u64>) -> Progress {
        if self.options.quiet {
            return Progress(ProgressBar::hidden());
        }
        // Without a terminal, the library draws nothing.
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = match total {
            Some(_) => "{msg} {bar:24} {human_pos} of {human_len} ({per_sec}, {eta} left)",
            None => "{spinner} {msg} {human_pos} ({per_sec})",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Progress(bar)
    }
}

/// Progress of a long work. It disappears when it is dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Counts a number of steps.
    pub fn add(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// Names the current part of the work.
    pub fn name(&self, what: impl Display) {
        self.0.set_message(what.to_string());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Returns a count with its noun: `one` for 1, else `many`.
pub fn counted(count: impl Into<u64>, one: &str, many: &str) -> String {
    let count = count.into();
    format!("{count} {}", if count == 1 { one } else { many })
}

fn answer(input: &mut impl BufRead) -> Result<()> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    match line.trim().to_lowercase().as_str() {
        "yes" | "y" => Ok(()),
        _ => Err(Refusal::NotConfirmed.into()),
    }
}

fn table<R: Row>(rows: &[R]) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(R::COLUMNS.iter().copied());
    for row in rows {
        table.add_row(row.cells());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    // The library pads the last column.
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair(&'static str, u32);

    impl Row for Pair {
        const COLUMNS: &'static [&'static str] = &["NAME", "COUNT"];

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), self.1.to_string()]
        }
    }

    #[test]
    fn a_table_has_aligned_columns_and_no_frame() {
        let text = table(&[Pair("general", 7), Pair("x", 12_345)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let column = lines[0].find("COUNT").unwrap();
        assert_eq!((lines[1].find('7'), lines[2].find("12345")), (Some(column), Some(column)), "{text}");
        assert!(lines.iter().all(|line| line.trim_end() == *line), "{text}");
    }

    #[test]
    fn one_of_a_thing_is_named_in_the_singular() {
        let told = [0_u64, 1, 2].map(|count| counted(count, "reply", "replies"));
        assert_eq!(told, ["0 replies", "1 reply", "2 replies"]);
    }

    #[test]
    fn only_yes_means_yes() {
        for (line, is_yes) in
            [("yes\n", true), ("Y\n", true), ("no\n", false), ("\n", false), ("", false), ("yess", false)]
        {
            let found = answer(&mut line.as_bytes());
            assert_eq!(found.is_ok(), is_yes, "{line:?}");
        }
        let output = Output::new(OutputOptions { yes: true, ..OutputOptions::default() });
        assert!(output.confirm("delete all?").is_ok());
    }
}
