//! The client's end of a socket.

use std::collections::VecDeque;

use serde_json::Value;
use switchboard_client::Ended;

use crate::patience::{LOST, PATIENCE};

/// Prefixes of the types of frames that are not stored, in addition to `hello` and `closing`.
const UNSTORED: [&str; 4] = ["presence.", "channel.", "member.", "read."];

/// The client's end of a socket. Pushes come at least once, so it drops events that it has heard before. A subscription
/// also gets events from before it, if their push is late: it drops those up to its position.
pub(crate) struct Socket {
    stream: switchboard_client::Socket,
    /// The `seq` and the `rev` of its channel when it was opened, or 0 for all events.
    position: [u64; 2],
    /// All events so far.
    known: Vec<Value>,
    /// Frames to hear before those of the stream.
    waiting: VecDeque<Value>,
    /// The frame that greets the client, and its repetitions. It comes at any time after the handshake.
    greetings: Vec<Value>,
}

impl Socket {
    pub(crate) fn new(stream: switchboard_client::Socket) -> Self {
        Self { stream, position: [0; 2], known: Vec::new(), waiting: VecDeque::new(), greetings: Vec::new() }
    }

    /// Drops the events of messages up to `seq`, and of changes up to `rev`.
    pub(crate) fn after(self, seq: u64, rev: u64) -> Self {
        Self { position: [seq, rev], ..self }
    }

    pub(crate) async fn say(&mut self, text: impl Into<String>) {
        let text: String = text.into();
        self.stream.say(&text).await.unwrap();
    }

    /// Returns the next text frame of the stream, or the end of the socket. A frame has only the events that no frame had
    /// before it, and a frame without such events is left out.
    async fn receive(&mut self) -> Result<Value, Ended> {
        loop {
            let text = tokio::time::timeout(PATIENCE, self.stream.hear()).await.expect("a frame in time")?;
            let mut frame: Value = serde_json::from_str(&text).unwrap_or_else(|_| text.as_str().into());
            if self.is_news(&mut frame) {
                return Ok(frame);
            }
        }
    }

    /// Returns the next frame other than the greeting, or the end of the socket.
    pub(crate) async fn hear(&mut self) -> Result<Value, Ended> {
        loop {
            let frame = match self.waiting.pop_front() {
                Some(frame) => frame,
                None => self.receive().await?,
            };
            if frame["type"] != "hello" {
                return Ok(frame);
            }
            self.greetings.push(frame);
        }
    }

    /// Returns the greeting of the socket. Frames that come before it are left for the next call.
    pub(crate) async fn hello(&mut self) -> Value {
        loop {
            if let Some(greeting) = self.greetings.first() {
                return greeting.clone();
            }
            let frame = self.receive().await.expect("an open socket");
            if frame["type"] == "hello" {
                self.greetings.push(frame);
            } else {
                self.waiting.push_back(frame);
            }
        }
    }

    /// Returns the next frame that `wanted` accepts. Frames before it are dropped.
    pub(crate) async fn hear_that(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.hear().await.expect("an open socket");
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Returns the next frame of a type. Frames before it are dropped.
    pub(crate) async fn hear_of(&mut self, kind: &str) -> Value {
        self.hear_that(|frame| frame["type"] == kind).await
    }

    /// Returns the next frame that `wanted` accepts, or `None` if it is lost. Frames before it are dropped.
    pub(crate) async fn hear_unless_lost(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        tokio::time::timeout(LOST, self.hear_that(wanted)).await.ok()
    }

    /// Removes known events from a frame, and records the others. Returns `false` if none is left.
    fn is_news(&mut self, frame: &mut Value) -> bool {
        if frame["type"] != "events" {
            return true;
        }
        let events = frame["events"].as_array_mut().unwrap();
        let [seq, rev] = self.position;
        let is_late = |event: &Value| match event["rev"].as_u64() {
            Some(number) => number <= rev,
            None => event["seq"].as_u64().is_some_and(|number| number <= seq),
        };
        events.retain(|event| !is_late(event) && !self.known.contains(event));
        self.known.extend(events.iter().cloned());
        !events.is_empty()
    }

    /// Returns the next frame other than those that are not stored: presence, and changes of channels, members and read
    /// marks. Returns the end of the socket if it is closed.
    pub(crate) async fn hear_but_presence(&mut self) -> Result<Value, Ended> {
        loop {
            let frame = self.hear().await?;
            let kind = frame["type"].as_str().unwrap_or_default();
            if kind != "closing" && !UNSTORED.iter().any(|prefix| kind.starts_with(prefix)) {
                return Ok(frame);
            }
        }
    }

    /// Returns the next `count` events. Later events of the same frame are left for the next call.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let mut frame = self.hear().await.expect("an open socket");
            if frame["type"] != "events" {
                continue;
            }
            let pushed = frame["events"].as_array_mut().unwrap();
            let later = pushed.split_off(pushed.len().min(count - events.len()));
            events.append(pushed);
            if !later.is_empty() {
                *pushed = later;
                self.waiting.push_front(frame);
            }
        }
        events
    }

    /// Returns the messages of the next `count` events.
    pub(crate) async fn messages(&mut self, count: usize) -> Vec<Value> {
        self.events(count).await.into_iter().map(|mut event| event["message"].take()).collect()
    }

    /// Returns the connection id, from a pong. Frames that come before the pong are left for the next call.
    pub(crate) async fn id(&mut self) -> String {
        self.say(r#"{"action":"ping"}"#).await;
        let mut earlier = Vec::new();
        loop {
            let frame = self.hear_but_presence().await.unwrap();
            if frame["type"] == "pong" {
                self.waiting.extend(earlier);
                return frame["connection_id"].as_str().unwrap().to_owned();
            }
            earlier.push(frame);
        }
    }

    /// Sends the same frame repeatedly, and counts the responses until the server closes the socket.
    pub(crate) async fn flood(self, text: &str, frames: usize) -> usize {
        let (mut speaker, mut listener) = self.stream.split();
        let send = async {
            for _ in 0..frames {
                if speaker.say(text).await.is_err() {
                    return;
                }
            }
        };
        let hear = async {
            let mut answers = 0;
            loop {
                match tokio::time::timeout(PATIENCE, listener.hear()).await.expect("the socket is closed") {
                    Ok(text) if text.contains("pong") => answers += 1,
                    Ok(_) => {}
                    Err(_) => return answers,
                }
            }
        };
        futures::future::join(send, hear).await.1
    }

    /// Closes the socket without a closing handshake.
    pub(crate) fn vanish(self) {
        self.stream.cut();
    }
}
