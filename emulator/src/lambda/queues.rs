//! On-failure destinations: queues of records that failed.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Destination of the invocation records of failed asynchronous invocations and of discarded stream records.
pub trait OnFailure: Send + Sync + 'static {
    /// Sends `body` to the queue with this ARN. When it returns `Ok`, the message is stored.
    fn send(&self, queue_arn: &str, body: Value) -> io::Result<()>;
}

/// Queues of the local run: one readable file each, with one JSON message per line.
///
/// As in SQS, a received message is invisible for a while. If the receiver does not delete it in that time, it is
/// delivered again. After a restart, all messages are visible.
#[derive(Debug)]
pub struct Queues {
    directory: PathBuf,
    /// Received messages. The lock also serializes file access, because a deletion rewrites the file.
    received: Mutex<BTreeMap<String, Received>>,
}

/// Message in a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// `MessageId`.
    pub message_id: String,
    /// Time at which it was sent.
    pub sent_at: Timestamp,
    /// Content.
    pub body: Value,
}

/// A received message, under its id.
#[derive(Debug)]
struct Received {
    receipt: String,
    until: Instant,
    times: u32,
}

impl Queues {
    /// Opens the queues in `directory`, which is created if it does not exist.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, received: Mutex::default() })
    }

    /// Returns the file of the queue with this ARN or URL: `<queue name>.jsonl`.
    #[must_use]
    pub fn file(&self, queue: &str) -> PathBuf {
        let name = queue.rsplit([':', '/']).next().unwrap_or_default();
        // A queue name contains only these characters (`CreateQueue` in the SQS API reference), so no ARN leads outside
        // the directory.
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        self.directory.join(Path::new(&name.chars().map(safe).collect::<String>()).with_extension("jsonl"))
    }

    /// Returns all messages of a queue, oldest first, including the received ones.
    pub fn messages(&self, queue: &str) -> io::Result<Vec<Message>> {
        let _received = self.lock();
        read(&self.file(queue))
    }

    /// Receives up to `most` visible messages, oldest first. Returns each with its receipt and the number of times that
    /// it was received. The messages are invisible for `visibility`.
    pub fn receive(&self, queue: &str, most: usize, visibility: Duration) -> io::Result<Vec<(Message, String, u32)>> {
        let mut received = self.lock();
        let now = Instant::now();
        let free = |message: &Message| received.get(&message.message_id).is_none_or(|one| one.until <= now);
        let messages: Vec<Message> = read(&self.file(queue))?.into_iter().filter(free).take(most).collect();
        let take = |message: Message| {
            let receipt = Uuid::new_v4().to_string();
            let one = received.entry(message.message_id.clone()).or_insert(Received {
                receipt: String::new(),
                until: now,
                times: 0,
            });
            *one = Received { receipt: receipt.clone(), until: now + visibility, times: one.times.saturating_add(1) };
            (message, receipt, one.times)
        };
        Ok(messages.into_iter().map(take).collect())
    }

    /// Extends the invisibility of the message with this receipt to `visibility` from the call on. Returns `false` if
    /// the receipt is unknown.
    pub fn keep(&self, receipt: &str, visibility: Duration) -> bool {
        let mut received = self.lock();
        let found = received.values_mut().find(|one| one.receipt == receipt);
        found.map(|one| one.until = Instant::now() + visibility).is_some()
    }

    /// Deletes the message with this receipt. Returns `false` if the receipt is unknown.
    pub fn delete(&self, queue: &str, receipt: &str) -> io::Result<bool> {
        let mut received = self.lock();
        let Some(id) = received.iter().find(|(_, one)| one.receipt == receipt).map(|(id, _)| id.clone()) else {
            return Ok(false);
        };
        let file = self.file(queue);
        let left: Vec<Message> = read(&file)?.into_iter().filter(|message| message.message_id != id).collect();
        let mut lines = Vec::new();
        for message in left {
            serde_json::to_writer(&mut lines, &message)?;
            lines.push(b'\n');
        }
        let draft = file.with_extension("tmp");
        fs::write(&draft, lines)?;
        fs::rename(&draft, &file)?;
        received.remove(&id);
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnFailure for Queues {
    fn send(&self, queue_arn: &str, body: Value) -> io::Result<()> {
        let message = Message { message_id: Uuid::new_v4().to_string(), sent_at: Timestamp::now(), body };
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        let _received = self.lock();
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(self.file(queue_arn))?;
        let end = whole(&mut file)?;
        let written = file.seek(SeekFrom::Start(end)).and_then(|_| file.write_all(&line));
        if written.is_err() {
            // A partial line is not a message. If it cannot be removed, the next write replaces it.
            let _ = file.set_len(end);
        }
        written
    }
}

/// Returns the end of the last complete line. A killed run or a full disk may have left a partial line after it.
fn whole(file: &mut File) -> io::Result<u64> {
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let lines = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    if lines < content.len() {
        file.set_len(u64::try_from(lines).unwrap_or_default())?;
    }
    Ok(u64::try_from(lines).unwrap_or_default())
}

fn read(file: &Path) -> io::Result<Vec<Message>> {
    match fs::read(file) {
        // Skips invalid lines. They remain in the file until a message is deleted.
        Ok(content) => {
            Ok(content.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:sqs:eu-west-1:123456789012:chat-failures";

    fn numbers(queues: &Queues) -> Vec<Value> {
        queues.messages(ARN).unwrap().into_iter().map(|message| message.body["n"].clone()).collect()
    }

    #[test]
    fn a_queue_is_a_file_of_lines() {
        let directory = tempfile::tempdir().unwrap();
        let queues = Queues::open(directory.path().join("queues")).unwrap();
        queues.send(ARN, json!({ "n": 1, "text": "two\nlines" })).unwrap();
        Queues::open(directory.path().join("queues")).unwrap().send(ARN, json!({ "n": 2 })).unwrap();

        let file = directory.path().join("queues/chat-failures.jsonl");
        assert_eq!(queues.file(ARN), file);
        assert_eq!(queues.file("http://127.0.0.1:1/000000000000/chat-failures"), file);
        assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 2);
        assert_eq!(numbers(&queues), [json!(1), json!(2)]);
    }

    #[test]
    fn half_a_line_does_not_spoil_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let queues = Queues::open(directory.path()).unwrap();
        queues.send(ARN, json!({ "n": 1 })).unwrap();
        let mut content = fs::read(queues.file(ARN)).unwrap();
        content.extend_from_within(..20);
        fs::write(queues.file(ARN), content).unwrap();

        queues.send(ARN, json!({ "n": 2 })).unwrap();
        assert_eq!(numbers(&queues), [json!(1), json!(2)]);
    }

    #[test]
    fn a_message_is_one_reader_s_until_it_is_deleted_or_time_is_up() {
        let directory = tempfile::tempdir().unwrap();
        let queues = Queues::open(directory.path()).unwrap();
        for n in 1..=3 {
            queues.send(ARN, json!({ "n": n })).unwrap();
        }
        let hour = Duration::from_hours(1);
        let [(first, receipt, 1)] = &queues.receive(ARN, 1, hour).unwrap()[..] else {
            panic!("one, for the first time")
        };
        assert_eq!(first.body["n"], 1);
        let others = queues.receive(ARN, 10, hour).unwrap();
        assert_eq!(others.len(), 2);
        assert!(queues.receive(ARN, 10, hour).unwrap().is_empty());

        assert!(queues.delete(ARN, receipt).unwrap());
        assert!(!queues.delete(ARN, receipt).unwrap());
        assert_eq!(numbers(&queues), [json!(2), json!(3)]);

        assert!(queues.keep(&others[1].1, Duration::ZERO));
        let again = queues.receive(ARN, 10, hour).unwrap();
        assert_eq!(again.len(), 1);
        assert_eq!((&again[0].0, again[0].2), (&others[1].0, 2));
        assert!(!queues.keep("another's", hour));
        assert!(!queues.delete(ARN, &others[1].1).unwrap(), "an old receipt is worth nothing");
    }

    #[test]
    fn a_queue_name_cannot_leave_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let queues = Queues::open(directory.path()).unwrap();
        assert_eq!(queues.file("arn:aws:sqs:r:1:../../etc/x").parent(), Some(directory.path()));
    }
}
