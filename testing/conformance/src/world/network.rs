//! Requests and their faults.

use serde_json::Value;

use super::{Event, World};
use crate::{
    gateway::{answer::Answer, channel::events_frame},
    protocol::Request,
    rules::is_send,
};

impl World<'_> {
    /// Sends a request of the client on its way.
    pub(super) fn send_request(&mut self, request: Request) {
        self.judge.request(&request, self.plan.kind, self.now);
        if request.bare_path().ends_with("/tickets") {
            self.judge.attempts(self.plan.kind, self.now);
        }
        if self.is_outage || self.has_fault(self.plan.faults.request_lost) {
            let delay = self.dice.between(5, 2_000);
            self.after(delay, Event::Fail(request));
            return;
        }
        let delay = self.delay(3_000);
        self.after(delay, Event::Arrive(request));
    }

    /// Returns the time of one way: short, or up to `slow` if a fault makes it slow.
    fn delay(&mut self, slow: u64) -> u64 {
        let is_slow = self.has_fault(self.plan.faults.slow);
        self.dice.between(10, if is_slow { slow } else { 60 })
    }

    /// Answers a request at the server.
    pub(super) fn arrive(&mut self, request: Request) {
        if let Some(answer) = self.refusal(&request) {
            if is_send(&request) && matches!(answer.status, 403 | 409) {
                self.judge.refused_send(&request);
            }
            self.after(20, Event::Answer(request, answer));
            return;
        }
        let (answer, events) = self.gateway.answer(&request, self.now);
        if is_send(&request) {
            match answer.status {
                201 => {
                    let channel = self.channel_of(&request).unwrap_or_default();
                    self.judge.stored(&channel, answer.body["content"].as_str().unwrap_or_default());
                }
                400 | 403 | 404 | 409 | 422 => self.judge.refused_send(&request),
                _ => {}
            }
        }
        if let Some((channel, events)) = events {
            self.broadcast(&channel, &events_frame(&channel, &events));
        }
        let delay = self.delay(4_000);
        if self.has_fault(self.plan.faults.response_lost) {
            self.after(delay, Event::Fail(request));
        } else {
            self.after(delay, Event::Answer(request, answer));
        }
    }

    /// Returns the response of a fault.
    fn refusal(&mut self, request: &Request) -> Option<Answer> {
        let faults = self.plan.faults;
        if self.has_fault(faults.unauthorized) {
            // All tokens until now are refused, as after the change of a key.
            self.gateway.revoked_before = self.now / 1000;
            return None;
        }
        if is_send(request) && self.has_fault(faults.refused_send) {
            return Some(Answer::problem(409, "channel_archived"));
        }
        if self.has_fault(faults.limited) {
            let seconds = self.dice.between(1, 12);
            return Some(Answer::problem(429, "rate_limited").with("retry-after", seconds.to_string()));
        }
        if self.has_fault(faults.failing) {
            let (status, code) = self
                .dice
                .pick(&[
                    (500, "internal_error"),
                    (502, "bad_gateway"),
                    (503, "store_unavailable"),
                    (504, "gateway_timeout"),
                ])
                .copied()
                .unwrap_or((500, "internal_error"));
            let answer = Answer::problem(status, code);
            return Some(if status == 503 { answer.with("retry-after", "1".to_owned()) } else { answer });
        }
        None
    }

    /// Pushes a frame to the sockets of a channel.
    pub(super) fn broadcast(&mut self, channel: &str, frame: &Value) {
        for socket in self.receivers(channel) {
            let faults = self.plan.faults;
            if self.has_fault(faults.frame_lost) {
                continue;
            }
            let late = if self.has_fault(faults.frame_late) { self.dice.between(50, 2_500) } else { 0 };
            self.after(30 + late, Event::Frame(socket, frame.clone()));
            if self.has_fault(faults.frame_doubled) {
                let delay = self.dice.between(30, 2_000);
                self.after(delay, Event::Frame(socket, frame.clone()));
            }
        }
    }

    /// Pushes a frame to the sockets of a channel after a time, without faults.
    pub(super) fn broadcast_after(&mut self, delay: u64, channel: &str, frame: &Value) {
        for socket in self.receivers(channel) {
            self.after(delay, Event::Frame(socket, frame.clone()));
        }
    }

    /// Returns the sockets that receive a channel.
    pub(super) fn receivers(&self, channel: &str) -> Vec<u64> {
        let receives = |id: &String| id == channel;
        let open = self.gateway.connections.iter().filter(|(_, connection)| connection.expires_at > self.now);
        open.filter(|(_, connection)| connection.channels.iter().any(receives)).map(|(socket, _)| *socket).collect()
    }
}
