//! The client under the conformance kit, which is its platform: clock, network, tokens and application.
//!
//! Reads one JSON object a line, and writes its own ones. `docs/guides/conformance.md` describes both.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{self, BufRead, Write},
    mem,
    time::Duration,
};

use serde_json::{Map, Value, json};
use switchboard_client::{Action, Answer, Core, Draft, End, Entry, Input, Message, Progress, Request};

/// Longest timer that the kit takes for what it is.
const LONGEST_TIMER_MS: u64 = 2_147_483_647;

/// Number before those of the application's requests. The client counts its own from 1.
const BEFORE_ACTS: u64 = 1 << 32;

/// Most channels of a client that names none.
const CHANNELS_OF_A_SOCKET: usize = 100;

/// A request of the application, such as an edit.
#[derive(Debug, Clone)]
struct Act {
    channel: String,
    method: &'static str,
    path: String,
    body: Value,
    /// The version that an edit replaces.
    version: Option<u64>,
    /// Whether the server refused its first token.
    is_repeated: bool,
}

/// A client in one run, and the application around it.
struct Run {
    core: Core,
    now: u64,
    /// Number of the last timer, request for a token, or request of the application.
    last: u64,
    /// The timer, and the time when it fires.
    timer: Option<(u64, u64)>,
    /// Requests of the application that wait for a token.
    waiting: Vec<Act>,
    /// Requests of the application in flight, with their tokens.
    asked: BTreeMap<u64, (Act, String)>,
    changed: BTreeSet<String>,
    lines: String,
}

impl Run {
    fn new(line: &Value) -> Self {
        let start = &line["start"];
        let seed = start["seed"].as_u64().unwrap_or_default();
        let channels = texts(&start["channels"]);
        // Both ways to receive all channels are tested.
        let is_named = seed % 2 == 1 || channels.len() > CHANNELS_OF_A_SOCKET;
        let named = if is_named { channels.as_slice() } else { &[] };
        let core = Core::new(seed, start["user_id"].as_str().unwrap_or_default(), named);
        let mut run = Self {
            core,
            now: line["now"].as_u64().unwrap_or_default(),
            last: BEFORE_ACTS,
            timer: None,
            waiting: Vec::new(),
            asked: BTreeMap::new(),
            changed: BTreeSet::new(),
            lines: String::new(),
        };
        run.core.handle(Input::Time, run.now);
        for channel in texts(&start["open"]) {
            run.core.open(&channel, run.now);
        }
        run.settle();
        run
    }

    /// Takes a line of the kit.
    fn take(&mut self, line: &Value) {
        self.now = line["now"].as_u64().unwrap_or(self.now);
        if let Some(acts) = line["act"].as_object() {
            for (name, fields) in acts {
                self.act(name, fields);
            }
        } else if let Some(id) = line["answer"].as_u64() {
            self.answer(id, line);
        } else if let Some(id) = line["fail"].as_u64() {
            if self.asked.remove(&id).is_none() {
                self.core.handle(Input::NoAnswer { id }, self.now);
            }
        } else if let Some(input) = input(line) {
            if line["fire"].is_u64() {
                self.timer = None;
            }
            self.core.handle(input, self.now);
        }
        self.settle();
    }

    /// Does what the user wants.
    fn act(&mut self, name: &str, fields: &Value) {
        let channel = fields["channel"].as_str().unwrap_or_default().to_owned();
        let text = |field: &str| fields[field].as_str().unwrap_or_default().to_owned();
        let seq = fields["seq"].as_u64().unwrap_or_default();
        let path = format!("/channels/{channel}/messages/{seq}");
        let reaction = format!("{path}/reactions/{}", encoded(&text("emoji")));
        let version = self.core.log(&channel).and_then(|log| log.message(seq)).map(|message| message.version);
        let (method, path, body) = match name {
            "send" => {
                self.core.send(&channel, text("content").into(), self.now);
                return;
            }
            "retry" => return self.core.retry(&channel, &text("key"), self.now),
            "discard" => return self.core.discard(&channel, &text("key")),
            "load_earlier" => return self.core.load_earlier(&channel, self.now),
            "edit" if version.is_some() => ("PATCH", path, json!({ "content": text("content") })),
            "delete" => ("DELETE", path, Value::Null),
            "react" => ("PUT", reaction, Value::Null),
            "unreact" => ("DELETE", reaction, Value::Null),
            _ => return,
        };
        let version = version.filter(|_| method == "PATCH");
        self.waiting.push(Act { channel, method, path, body, version, is_repeated: false });
    }

    /// Takes a response.
    fn answer(&mut self, id: u64, line: &Value) {
        let status = line["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
        let header = |name: &str| line["headers"][name].as_str();
        let body = line["body"].as_str().unwrap_or_default();
        let Some((act, token)) = self.asked.remove(&id) else {
            let retry_after = header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
            let date = header("date").map(str::to_owned);
            let answer = Answer { id, status, retry_after, date, body: body.as_bytes().to_vec() };
            return self.core.handle(Input::Answer(answer), self.now);
        };
        if status == 401 && !act.is_repeated {
            self.core.refuse_token(&token, self.now);
            self.waiting.push(Act { is_repeated: true, ..act });
        } else if let Ok(message) = serde_json::from_str::<Message>(body) {
            self.core.take_message(&act.channel, message);
        }
    }

    /// Writes all that follows from a line.
    fn settle(&mut self) {
        loop {
            self.ask();
            let Some(action) = self.core.next_action() else { break };
            self.carry_out(action);
        }
        self.set_timer();
        for channel in mem::take(&mut self.changed) {
            self.show(&channel);
        }
    }

    /// Sends the requests of the application, as soon as there is a token.
    fn ask(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.core.want_token(self.now);
        let Some(token) = self.core.token().map(str::to_owned) else { return };
        for act in mem::take(&mut self.waiting) {
            let id = self.number();
            let mut headers = json!({ "authorization": format!("Bearer {token}") });
            if let Some(version) = act.version {
                headers["content-type"] = "application/merge-patch+json".into();
                headers["if-match"] = format!("\"{version}\"").into();
            }
            self.write(&json!({
                "do": "fetch", "id": id, "method": act.method, "path": act.path, "headers": headers, "body": act.body,
            }));
            self.asked.insert(id, (act, token.clone()));
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Fetch(request) => self.fetch(request),
            Action::Open { socket, channels, token } => {
                let query =
                    if channels.is_empty() { String::new() } else { format!("?channels={}", channels.join(",")) };
                self.write(&json!({
                    "do": "socket", "id": socket, "url": format!("wss://kit.test/{query}"),
                    "headers": { "authorization": format!("Bearer {token}") },
                }));
            }
            Action::Send { socket, text } => self.write(&json!({ "do": "send", "socket": socket, "text": text })),
            Action::Close { socket } => self.write(&json!({ "do": "close", "socket": socket })),
            Action::Token => {
                let id = self.number();
                self.write(&json!({ "do": "token", "id": id }));
            }
            Action::Changed { channel } => {
                self.changed.insert(channel);
            }
            Action::State(_) | Action::Frame(_) => {}
        }
    }

    fn fetch(&mut self, request: Request) {
        let Request { id, method, path, query, token, key, body } = request;
        let query: Map<String, Value> =
            query.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut headers = json!({ "authorization": format!("Bearer {token}") });
        if let Some(key) = key {
            headers["idempotency-key"] = key.into();
        }
        self.write(&json!({
            "do": "fetch", "id": id, "method": method, "path": path, "query": query, "headers": headers, "body": body,
        }));
    }

    /// Moves the timer to the client's next deadline.
    fn set_timer(&mut self) {
        let deadline = self.core.deadline().map(|at| at.min(self.now.saturating_add(LONGEST_TIMER_MS)));
        if self.timer.map(|(_, at)| at) == deadline {
            return;
        }
        if let Some((id, _)) = self.timer.take() {
            self.write(&json!({ "do": "cancel", "id": id }));
        }
        if let Some(at) = deadline {
            let id = self.number();
            self.write(&json!({ "do": "timer", "id": id, "ms": at.saturating_sub(self.now) }));
            self.timer = Some((id, at));
        }
    }

    /// Shows a channel as its user sees it.
    fn show(&mut self, channel: &str) {
        let outbox = self.core.outbox(channel);
        let Some(log) = self.core.log(channel).filter(|log| log.known().is_some() || !outbox.is_empty()) else {
            return;
        };
        let line = json!({
            "do": "show",
            "channel": channel,
            "messages": log.messages().map(shown).collect::<Vec<_>>(),
            "drafts": log.drafts().map(shown_draft).collect::<Vec<_>>(),
            "outbox": outbox.iter().map(shown_entry).collect::<Vec<_>>(),
            "rev": log.known(),
        });
        self.write(&line);
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn write(&mut self, line: &Value) {
        self.lines.push_str(&line.to_string());
        self.lines.push('\n');
    }
}

/// Returns the input of a line that is neither an act nor the end of a request.
fn input(line: &Value) -> Option<Input> {
    if line["token"].is_u64() {
        return Some(Input::Token(line["value"].as_str().map(str::to_owned)));
    }
    if line["fire"].is_u64() {
        return Some(Input::Time);
    }
    if let Some(socket) = line["opened"].as_u64() {
        return Some(Input::Opened { socket });
    }
    if let Some(is_online) = line["online"].as_bool() {
        return Some(Input::Online(is_online));
    }
    if let Some(socket) = line["frame"]["socket"].as_u64() {
        let text = line["frame"]["text"].as_str().unwrap_or_default().to_owned();
        return Some(Input::Frame { socket, text });
    }
    let socket = line["closed"]["socket"].as_u64()?;
    let code = line["closed"]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    Some(Input::Closed { socket, end: End { code, ..End::default() } })
}

fn shown(message: &Message) -> Value {
    let reactions = message.reactions.iter().map(|one| json!({ "emoji": one.emoji, "count": one.count }));
    json!({
        "seq": message.seq, "version": message.version, "content": message.content,
        "reactions": reactions.collect::<Vec<_>>(),
    })
}

fn shown_draft((question, draft): (u64, &Draft)) -> Value {
    json!({ "reply_to": question, "draft_id": draft.draft_id(), "text": draft.text() })
}

fn shown_entry(entry: &Entry) -> Value {
    let state = match entry.progress {
        Progress::Waiting => "waiting",
        Progress::Sending => "sending",
        Progress::Refused(_) => "failed",
    };
    json!({ "key": entry.key, "content": entry.message.content, "state": state })
}

/// Returns the texts of a list.
fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Returns the percent-encoding of a text.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        let _ = write!(path, "%{byte:02X}");
        path
    })
}

fn main() -> io::Result<()> {
    let mut output = io::stdout().lock();
    let mut run: Option<Run> = None;
    for text in io::stdin().lock().lines() {
        let text = text?;
        if text.trim().is_empty() {
            continue;
        }
        let line: Value = serde_json::from_str(&text)?;
        if line["start"].is_object() {
            run = Some(Run::new(&line));
        } else if line["end"] == true {
            run = None;
        } else if let Some(run) = &mut run {
            run.take(&line);
        }
        let mut lines = run.as_mut().map(|run| mem::take(&mut run.lines)).unwrap_or_default();
        lines.push_str("{\"do\":\"idle\"}\n");
        output.write_all(lines.as_bytes())?;
        output.flush()?;
    }
    Ok(())
}
