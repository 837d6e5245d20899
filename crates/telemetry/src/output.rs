//! Standard output of a function, to which lines are written at once or after the response.
//!
//! A write to standard output wakes its reader, which costs a caller several microseconds. A line that tells of the
//! response itself is the last one before it. It waits for the response, and is written before the next event.

use std::{
    io::{self, Write, stdout},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Name of an event whose line is written after the response. Such an event is the last of its invocation.
pub const AFTER_RESPONSE: &str = "after response";

static WAITING: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn waiting() -> MutexGuard<'static, Vec<u8>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the lines that wait.
pub(crate) fn write_waiting() -> io::Result<()> {
    let lines = std::mem::take(&mut *waiting());
    if lines.is_empty() { Ok(()) } else { stdout().lock().write_all(&lines) }
}

/// Makes the writers of lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output;

impl<'a> MakeWriter<'a> for Output {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter::AtOnce
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> LineWriter {
        if event.name() == AFTER_RESPONSE { LineWriter::AfterResponse } else { LineWriter::AtOnce }
    }
}

/// Writer of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineWriter {
    AtOnce,
    AfterResponse,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::AtOnce => {
                // Lines keep their order.
                write_waiting()?;
                stdout().write(line)
            }
            Self::AfterResponse => {
                waiting().extend_from_slice(line);
                Ok(line.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        stdout().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Notes the writer of each event, and writes nothing.
    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<LineWriter>>>);

    impl<'a> MakeWriter<'a> for Noted {
        type Writer = io::Sink;

        fn make_writer(&'a self) -> io::Sink {
            io::sink()
        }

        fn make_writer_for(&'a self, event: &Metadata<'_>) -> io::Sink {
            self.0.lock().unwrap().push(Output.make_writer_for(event));
            io::sink()
        }
    }

    #[test]
    fn only_the_last_line_of_an_invocation_waits() {
        let noted = Noted::default();
        let format = tracing_subscriber::fmt::layer().with_writer(noted.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(format), || {
            tracing::info!("first");
            tracing::info!(name: AFTER_RESPONSE, status = 200, "answered");
            tracing::error!("last");
        });
        let expected = [LineWriter::AtOnce, LineWriter::AfterResponse, LineWriter::AtOnce];
        assert_eq!(*noted.0.lock().unwrap(), expected);
    }

    #[test]
    fn a_line_waits_until_it_is_written() {
        LineWriter::AfterResponse.write_all(b"{\"message\":\"answered\"}\n").unwrap();
        assert!(waiting().ends_with(b"\"answered\"}\n"));
        write_waiting().unwrap();
        assert!(waiting().is_empty());
    }
}
