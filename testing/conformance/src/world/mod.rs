//! The platform of the client under test: clock, network and application, all of them virtual.

mod network;
mod script;
mod sockets;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    client::Client,
    dice::Dice,
    gateway::{Gateway, answer::Answer, token::Claims},
    plan::{Kind, Plan},
    protocol::{Handshake, Order, Request},
    rules::{Finding, Judge, Rule, channel_of},
};

use self::script::Step;

/// Beginning of each run, by the server's clock: 2026-05-01T12:00:00Z.
const START_MS: u64 = 1_777_636_800_000;
/// Longest timer of browsers and Node. A longer one fires at once there.
const LONGEST_TIMER_MS: u64 = 2_147_483_647;
/// Most lines of the kit in one run.
const MOST_LINES: u64 = 20_000;
/// The user of the client.
const USER: &str = "me";

/// Something that happens at a time.
#[derive(Debug, Clone)]
enum Event {
    /// A request reaches the server.
    Arrive(Request),
    /// A response reaches the client.
    Answer(Request, Answer),
    /// A request gets no response.
    Fail(Request),
    /// A response to a request for a token reaches the client; `None` is a failure.
    Token(u64, Option<String>),
    /// A timer of the client fires.
    Fire(u64),
    /// A handshake reaches the server.
    Handshake(Handshake),
    /// The server sends a new socket the drafts of its channels.
    Drafts(u64),
    /// A frame reaches the client.
    Frame(u64, Value),
    /// A frame of the client reaches the server.
    Receive(u64, String),
    /// The end of a socket reaches the client.
    Closed(u64, u16),
    /// The schedule goes on.
    Step(Step),
}

/// The network connection of a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wire {
    is_open: bool,
    /// Whether nothing passes, without a close.
    is_half_open: bool,
}

/// A run of one schedule with one client.
#[expect(clippy::struct_excessive_bools, reason = "each is a state of its own")]
pub(crate) struct World<'a> {
    client: &'a mut dyn Client,
    rule: Option<Rule>,
    plan: Plan,
    dice: Dice,
    gateway: Gateway,
    judge: Judge,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    wires: BTreeMap<u64, Wire>,
    timers: BTreeMap<u64, (u64, u64)>,
    faults_on: bool,
    is_outage: bool,
    /// Whether the application has no token.
    is_tokenless: bool,
    is_over: bool,
    calm_since: u64,
    round: u64,
    made: u64,
    lines: u64,
    dialogue: Vec<String>,
}

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The broken rule, if there is one.
    pub finding: Option<Finding>,
    /// All lines, with their times in milliseconds since the start.
    pub dialogue: Vec<String>,
}

impl<'a> World<'a> {
    pub(crate) fn new(seed: u64, client: &'a mut dyn Client, rule: Option<Rule>) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::new(seed, &mut dice);
        Self {
            client,
            rule,
            gateway: Gateway::new(USER, &plan.channels),
            plan,
            dice,
            judge: Judge::default(),
            now: START_MS,
            queue: BTreeMap::new(),
            queued: 0,
            wires: BTreeMap::new(),
            timers: BTreeMap::new(),
            faults_on: false,
            is_outage: false,
            is_tokenless: false,
            is_over: false,
            calm_since: START_MS,
            round: 0,
            made: 0,
            lines: 0,
            dialogue: Vec::new(),
        }
    }

    /// Runs the schedule to its end or to the first finding.
    pub(crate) fn run(mut self, seed: u64) -> Outcome {
        self.prepare();
        self.exchange(json!({"start": {
            "seed": seed,
            "user_id": USER,
            "now": self.device_now(),
            "rest": "https://kit.test",
            "websocket": "wss://kit.test",
            "channels": self.plan.channels,
            "open": self.plan.open_channels(),
        }}));
        while !self.is_over && self.judge.finding(self.rule).is_none() {
            let Some(((time, _), event)) = self.queue.pop_first() else { break };
            self.now = self.now.max(time);
            self.handle(event);
        }
        Outcome { finding: self.judge.finding(self.rule).cloned(), dialogue: self.dialogue }
    }

    /// Returns the time by the clock of the client's device.
    fn device_now(&self) -> u64 {
        self.now.saturating_add_signed(self.plan.offset_ms)
    }

    fn after(&mut self, delay: u64, event: Event) -> (u64, u64) {
        self.queued += 1;
        let key = (self.now + delay, self.queued);
        self.queue.insert(key, event);
        key
    }

    /// Passes a line to the client, and carries out its lines.
    fn exchange(&mut self, mut line: Value) {
        line["now"] = json!(self.device_now());
        let text = line.to_string();
        let time = self.now - START_MS;
        self.dialogue.push(format!("{time:>9} kit    {text}"));
        self.lines += 1;
        if self.lines > MOST_LINES {
            self.judge.protocol(format!("the schedule needs more than {MOST_LINES} lines"));
            self.is_over = true;
            return;
        }
        match self.client.exchange(&text) {
            Ok(lines) => {
                for line in lines {
                    self.dialogue.push(format!("{time:>9} client {line}"));
                    match Order::parse(&line) {
                        Ok(order) => self.carry_out(order),
                        Err(error) => self.judge.protocol(error),
                    }
                }
            }
            Err(error) => {
                self.judge.protocol(error);
                self.is_over = true;
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Fetch(request) => self.send_request(request),
            Order::Socket(handshake) => self.connect(handshake),
            Order::Send { socket, text } => {
                if self.wires.get(&socket).is_some_and(|wire| wire.is_open && !wire.is_half_open) {
                    self.after(20, Event::Receive(socket, text));
                }
            }
            Order::Close { socket } => self.close(socket),
            Order::Timer { id, ms } => {
                self.cancel(id);
                let delay = if ms > LONGEST_TIMER_MS { 1 } else { ms };
                let key = self.after(delay, Event::Fire(id));
                self.timers.insert(id, key);
            }
            Order::Cancel { id } => self.cancel(id),
            Order::Token { id } => self.issue_token(id),
            Order::Show(show) => self.judge.show(show, &self.gateway),
            Order::Idle => {}
        }
    }

    fn cancel(&mut self, id: u64) {
        if let Some(key) = self.timers.remove(&id) {
            self.queue.remove(&key);
        }
    }

    fn issue_token(&mut self, id: u64) {
        self.judge.token(self.now);
        let issued_at = self.now / 1000;
        let claims = Claims { issued_at, expires_at: issued_at + self.plan.token_seconds };
        self.made += 1;
        let fails = self.has_fault(self.plan.faults.token_fails) || self.is_tokenless;
        let token = (!fails).then(|| claims.token(USER, self.made));
        let delay = if self.is_outage { 20 } else { self.dice.between(10, 400) };
        self.after(delay, Event::Token(id, token));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive(request) => self.arrive(request),
            Event::Answer(request, answer) => self.pass_answer(&request, &answer),
            Event::Fail(request) => {
                if request.bare_path().ends_with("/tickets") {
                    self.judge.attempt_failed(self.now);
                }
                self.exchange(json!({"fail": request.id}));
            }
            Event::Token(id, token) => {
                self.judge.token_answered(token.is_some());
                self.exchange(match token {
                    Some(token) => json!({"token": id, "value": token}),
                    None => json!({"token": id, "error": "the application has no token at the moment"}),
                });
            }
            Event::Fire(id) => {
                self.timers.remove(&id);
                self.exchange(json!({"fire": id}));
            }
            Event::Handshake(handshake) => self.shake_hands(&handshake),
            Event::Drafts(socket) => self.push_drafts(socket),
            Event::Frame(socket, frame) => self.pass_frame(socket, &frame),
            Event::Receive(socket, text) => {
                if let Some(frame) = self.gateway.receive(socket, &text, self.now) {
                    self.after(20, Event::Frame(socket, frame));
                }
            }
            Event::Closed(socket, code) => self.pass_close(socket, code),
            Event::Step(step) => self.take(step),
        }
    }

    fn pass_answer(&mut self, request: &Request, answer: &Answer) {
        if request.bare_path().ends_with("/tickets") && answer.status >= 400 {
            self.judge.attempt_failed(self.now);
        }
        self.judge.answered(request, answer, self.now);
        let body = if answer.body.is_null() { String::new() } else { answer.body.to_string() };
        self.exchange(json!({
            "answer": request.id, "status": answer.status, "headers": answer.headers, "body": body,
        }));
    }

    /// Returns whether a fault happens.
    fn has_fault(&mut self, percent: u64) -> bool {
        self.faults_on && self.dice.chance(percent)
    }

    /// Returns whether the plan has a kind.
    fn is(&self, kind: Kind) -> bool {
        self.plan.kind == kind
    }

    /// Returns the channel of a request, if the client may read it.
    fn channel_of(&self, request: &Request) -> Option<String> {
        channel_of(request.bare_path()).filter(|id| self.gateway.is_readable(id)).map(str::to_owned)
    }
}
