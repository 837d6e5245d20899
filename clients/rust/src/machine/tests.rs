//! Tests of a whole client against a scripted server.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{End, Progress};

/// A client, and the requests and sockets that it has open.
struct Run {
    core: Core,
    now: u64,
    fetches: Vec<Request>,
    sockets: Vec<(u64, Vec<String>, String)>,
    closed: Vec<u64>,
    tokens: usize,
}

impl Run {
    fn new(channels: &[&str]) -> Self {
        let channels: Vec<String> = channels.iter().map(|channel| (*channel).to_owned()).collect();
        let core = Core::new(7, "alice", &channels);
        let mut run =
            Self { core, now: 1_000, fetches: Vec::new(), sockets: Vec::new(), closed: Vec::new(), tokens: 0 };
        run.input(Input::Time);
        run
    }

    fn input(&mut self, input: Input) {
        self.core.handle(input, self.now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(action) = self.core.next_action() {
            if let Action::Send { socket, .. } = action {
                let text = json!({ "type": "pong", "connection_id": "abc=" }).to_string();
                self.core.handle(Input::Frame { socket, text }, self.now);
                continue;
            }
            match action {
                Action::Fetch(request) => self.fetches.push(request),
                Action::Open { socket, channels, token } => self.sockets.push((socket, channels, token)),
                Action::Close { socket } => self.closed.push(socket),
                Action::Token => self.tokens += 1,
                Action::Send { .. } | Action::State(_) | Action::Changed { .. } | Action::Frame(_) => {}
            }
        }
    }

    /// Gives a token of an hour.
    fn token(&mut self, iat: i64) -> String {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let claims = json!({ "iat": iat, "exp": iat + 3_600 }).to_string();
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        self.input(Input::Token(Some(token.clone())));
        token
    }

    /// Opens the sockets that are being opened.
    fn connect(&mut self) {
        for (socket, ..) in std::mem::take(&mut self.sockets) {
            self.input(Input::Opened { socket });
        }
    }

    /// Advances to the next deadline.
    fn advance(&mut self) {
        self.now = self.core.deadline().unwrap();
        self.input(Input::Time);
    }

    fn answer(&mut self, id: u64, status: u16, body: &Value) {
        let body = body.to_string().into_bytes();
        self.input(Input::Answer(Answer { id, status, body, ..Answer::default() }));
    }

    /// Takes the only request in flight.
    fn request(&mut self) -> Request {
        assert_eq!(self.fetches.len(), 1, "{:?}", self.fetches);
        self.fetches.remove(0)
    }

    fn open(&mut self, channel: &str) {
        self.core.open(channel, self.now);
        self.collect();
    }

    fn send(&mut self, content: &str) -> String {
        let key = self.core.send("general", content.into(), self.now);
        self.collect();
        key
    }
}

fn message(seq: u64) -> Value {
    json!({
        "channel_id": "general", "seq": seq, "message_id": format!("id-{seq}"), "version": 1, "sender_id": "alice",
        "role": "user", "content": "hi", "content_type": "text/plain", "created_at": "2026-05-01T12:00:00.000Z",
        "rev": 0,
    })
}

fn page(seqs: &[u64]) -> Value {
    let messages: Vec<Value> = seqs.iter().map(|seq| message(*seq)).collect();
    json!({ "messages": messages, "has_more": false, "rev": 0 })
}

#[test]
fn one_token_opens_the_sockets_and_then_the_history_is_read() {
    let mut run = Run::new(&[]);
    assert_eq!((run.tokens, run.sockets.len()), (1, 0));
    run.open("general");
    let token = run.token(100);
    assert_eq!(run.sockets[0].2, token);
    assert!(run.fetches.is_empty(), "the socket is opened first");
    run.connect();
    let request = run.request();
    assert_eq!((request.path.as_str(), request.token), ("/channels/general/messages", token));
    run.answer(request.id, 200, &page(&[2, 1]));
    assert_eq!(run.core.log("general").unwrap().messages().count(), 2);
    assert_eq!((run.core.state(), run.tokens), (Connection::Live, 1));
}

#[test]
fn many_channels_are_split_over_sockets() {
    let names: Vec<String> = (0..250).map(|number| format!("c{number}")).collect();
    let mut run = Run::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    run.token(100);
    assert_eq!(run.sockets.iter().map(|(_, channels, _)| channels.len()).collect::<Vec<_>>(), [100, 100, 50]);
    run.connect();
    for name in &names {
        run.open(name);
    }
    assert_eq!(run.fetches.len(), READS, "reads in flight are limited");
}

#[test]
fn a_channel_that_the_user_left_is_not_named_again() {
    let mut run = Run::new(&["a", "b"]);
    run.token(100);
    let socket = run.sockets[0].0;
    run.connect();
    for user in ["bob", "alice"] {
        let channel = if user == "bob" { "a" } else { "b" };
        let removed = json!({ "type": "member.removed", "channel_id": channel, "user_id": user });
        run.input(Input::Frame { socket, text: removed.to_string() });
    }
    run.input(Input::Closed { socket, end: End::default() });
    while run.sockets.is_empty() {
        run.advance();
    }
    assert_eq!(run.sockets[0].1, ["a"]);
}

#[test]
fn a_channel_that_the_user_cannot_see_does_not_end_the_others() {
    let mut run = Run::new(&["general"]);
    run.token(100);
    let socket = run.sockets[0].0;
    run.connect();
    run.open("secret");
    let (replacement, channels, _) = run.sockets.remove(0);
    assert_eq!(channels, ["general", "secret"]);
    run.input(Input::Closed { socket: replacement, end: End { status: Some(403), ..End::default() } });
    assert_eq!(run.core.state(), Connection::Live);
    let request = run.request();
    assert_eq!(request.path, "/channels/secret/messages");
    run.answer(request.id, 404, &json!({ "code": "channel_not_found" }));
    assert_eq!(run.core.refusal("secret").map(|problem| problem.status), Some(404));
    run.input(Input::Closed { socket, end: End::default() });
    while run.sockets.is_empty() {
        run.advance();
    }
    assert_eq!(run.sockets[0].1, ["general"]);
    run.connect();
    run.core.retry_now(run.now);
    run.collect();
    assert_eq!(run.sockets[0].1, ["general", "secret"], "the user asks for it again");
}

#[test]
fn a_channel_that_is_deleted_and_created_again_is_read_anew() {
    let mut run = Run::new(&["general", "other"]);
    run.token(100);
    let socket = run.sockets[0].0;
    run.connect();
    run.open("general");
    let request = run.request();
    run.answer(request.id, 200, &page(&[2, 1]));
    let frame = |run: &mut Run, socket: u64, frame: Value| {
        run.input(Input::Frame { socket, text: frame.to_string() });
    };
    let event = json!({ "type": "message.created", "seq": 4, "version": 1, "message": message(4) });
    frame(&mut run, socket, json!({ "type": "events", "channel_id": "general", "events": [event] }));
    run.advance();
    let late = run.request();
    frame(&mut run, socket, json!({ "type": "channel.deleted", "channel_id": "general" }));
    assert_eq!(run.core.log("general").unwrap().messages().count(), 0);
    let member = json!({ "channel_id": "general", "user_id": "alice", "role": "owner" });
    frame(&mut run, socket, json!({ "type": "member.joined", "channel_id": "general", "member": member }));
    run.answer(late.id, 200, &page(&[3, 4]));
    let request = run.request();
    assert_eq!(request.query, [("limit", "50".to_owned())], "the newest page, without a number of the old channel");
    run.answer(request.id, 200, &page(&[1]));
    assert_eq!(run.core.log("general").unwrap().messages().count(), 1);
    run.connect();
    assert_eq!(run.request().query[0], ("after", "1".to_owned()), "the socket that names it again");
}

#[test]
fn a_token_is_renewed_on_the_open_socket() {
    let mut run = Run::new(&[]);
    run.token(100);
    let socket = run.sockets[0].0;
    run.connect();
    let hello = json!({
        "type": "hello", "connection_id": "abc=", "user_id": "alice", "expires_at": "2026-05-01T13:00:00.000Z",
        "server_time": "1970-01-01T00:01:40.000Z", "channels_left_out": 0,
    });
    run.input(Input::Frame { socket, text: hello.to_string() });
    while run.tokens < 2 {
        run.advance();
    }
    // An hour after its issue at 100 s of the server, which were 1 s of the client.
    assert_eq!(run.now, 1_000 + 3_600_000 - 120_000);
    let token = run.token(3_500);
    let request = run.request();
    assert_eq!((request.path.as_str(), request.token), ("/connections/abc%3D/token", token));
    run.answer(request.id, 200, &json!({}));
    assert!(run.sockets.is_empty() && run.closed.is_empty(), "the same socket");
}

#[test]
fn a_refused_handshake_fetches_one_fresh_token() {
    let mut run = Run::new(&[]);
    let first = run.token(100);
    let end = End { status: Some(401), ..End::default() };
    let (socket, ..) = run.sockets.remove(0);
    run.input(Input::Closed { socket, end });
    assert_eq!(run.tokens, 2, "at once");
    let second = run.token(200);
    assert_ne!(first, second);
    while run.sockets.is_empty() {
        run.advance();
    }
    assert!(run.now <= 1_500);
    let (socket, _, token) = run.sockets.remove(0);
    assert_eq!(token, second);
    run.input(Input::Closed { socket, end });
    assert_eq!(run.tokens, 2, "the replacement was refused too");
    while run.tokens < 3 {
        run.advance();
    }
    assert!(run.now >= 61_000);
}

#[test]
fn messages_are_sent_in_order_with_their_keys() {
    let mut run = Run::new(&[]);
    run.token(100);
    run.connect();
    let (one, two) = (run.send("one"), run.send("two"));
    run.fetches.retain(|request| request.key.is_some());
    let request = run.request();
    assert_eq!(request.key.as_deref(), Some(one.as_str()));
    let retry_after = Some(Duration::from_secs(3));
    run.input(Input::Answer(Answer { id: request.id, status: 429, retry_after, ..Answer::default() }));
    run.fetches.clear();
    while run.fetches.iter().all(|request| request.key.is_none()) {
        run.advance();
    }
    assert!(run.now >= 4_000);
    run.fetches.retain(|request| request.key.is_some());
    let again = run.request();
    assert_eq!((again.key.as_deref(), &again.body), (Some(one.as_str()), &request.body));
    run.answer(again.id, 201, &message(1));
    run.fetches.retain(|request| request.key.is_some());
    let request = run.request();
    assert_eq!(request.key.as_deref(), Some(two.as_str()));
    run.answer(request.id, 403, &json!({ "code": "missing_scope" }));
    assert!(matches!(&run.core.outbox("general")[0].progress, Progress::Refused(problem) if problem.status == 403));
}

#[test]
fn a_request_without_an_answer_is_repeated() {
    let mut run = Run::new(&[]);
    run.token(100);
    run.connect();
    run.open("general");
    let first = run.request();
    while run.fetches.is_empty() {
        run.advance();
    }
    let again = run.request();
    assert_eq!((again.path, again.query), (first.path, first.query));
    // The late response counts no more.
    run.answer(first.id, 403, &json!({}));
    assert_eq!(run.core.refusal("general"), None);
    run.answer(again.id, 403, &json!({}));
    assert!(run.core.refusal("general").is_some());
}

#[test]
fn a_handshake_without_an_answer_does_not_hold_back_the_history() {
    let mut run = Run::new(&[]);
    run.open("general");
    run.token(100);
    assert!(run.fetches.is_empty());
    while run.closed.is_empty() {
        run.advance();
    }
    assert_eq!(run.request().path, "/channels/general/messages");
}

#[test]
fn a_discarded_message_lets_the_next_one_be_sent() {
    let mut run = Run::new(&[]);
    run.token(100);
    run.connect();
    let (one, two) = (run.send("one"), run.send("two"));
    run.fetches.clear();
    run.core.discard("general", &one);
    run.collect();
    assert_eq!(run.request().key, Some(two));
}
