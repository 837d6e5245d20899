//! On-failure destinations: the queues that take what could not be processed.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

/// Where invocation records of failed asynchronous invocations and of discarded stream records go.
pub trait OnFailure: Send + Sync + 'static {
    /// Sends `body` to the queue with this ARN; when it returns `Ok`, the queue has it.
    fn send(&self, queue_arn: &str, body: Value) -> io::Result<()>;
}

/// The queues of the local run: one file each, one JSON message a line, for people to read.
#[derive(Debug)]
pub struct Queues {
    directory: PathBuf,
    /// One line is one write; two writers must not mix theirs.
    writing: Mutex<()>,
}

impl Queues {
    /// Keeps the queues in `directory`, which is made when it does not exist.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, writing: Mutex::new(()) })
    }

    /// The file of the queue with this ARN: `<queue name>.jsonl`.
    #[must_use]
    pub fn file(&self, queue_arn: &str) -> PathBuf {
        let name = queue_arn.rsplit(':').next().unwrap_or_default();
        // A queue name holds nothing else (`CreateQueue` in the SQS API reference), so no ARN leads elsewhere.
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        self.directory.join(Path::new(&name.chars().map(safe).collect::<String>()).with_extension("jsonl"))
    }
}

impl OnFailure for Queues {
    fn send(&self, queue_arn: &str, body: Value) -> io::Result<()> {
        let mut line = serde_json::to_vec(&body)?;
        line.push(b'\n');
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        OpenOptions::new().create(true).append(true).open(self.file(queue_arn))?.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_queue_is_a_file_of_lines() {
        let directory = tempfile::tempdir().unwrap();
        let queues = Queues::open(directory.path().join("queues")).unwrap();
        let arn = "arn:aws:sqs:eu-west-1:123456789012:chat-failures";
        queues.send(arn, json!({ "n": 1, "text": "two\nlines" })).unwrap();
        Queues::open(directory.path().join("queues")).unwrap().send(arn, json!({ "n": 2 })).unwrap();

        let file = directory.path().join("queues/chat-failures.jsonl");
        assert_eq!(queues.file(arn), file);
        let content = fs::read_to_string(file).unwrap();
        let numbers: Vec<_> =
            content.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].clone()).collect();
        assert_eq!(numbers, [json!(1), json!(2)]);
    }

    #[test]
    fn a_queue_name_cannot_leave_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let queues = Queues::open(directory.path()).unwrap();
        assert_eq!(queues.file("arn:aws:sqs:r:1:../../etc/x").parent(), Some(directory.path()));
    }
}
