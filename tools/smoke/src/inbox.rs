//! Received frames that no step has taken yet.

use serde_json::Value;

/// Frames in the order of their arrival. A frame with several events counts as its events, since API Gateway and the
/// functions may put a message and its reply into one frame.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Vec<Value>);

impl Inbox {
    pub(crate) fn add(&mut self, mut frame: Value) {
        if frame["type"] != "events" {
            self.0.push(frame);
        } else if let Value::Array(events) = frame["events"].take() {
            self.0.extend(events);
        }
    }

    /// Removes and returns the first frame or event that matches. The others stay.
    pub(crate) fn take(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let position = self.0.iter().position(wanted)?;
        Some(self.0.remove(position))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn created(seq: u64) -> Value {
        json!({ "type": "message.created", "message": { "seq": seq } })
    }

    fn seq(wanted: u64) -> impl Fn(&Value) -> bool {
        move |event| event["type"] == "message.created" && event["message"]["seq"] == wanted
    }

    #[test]
    fn a_frame_with_a_message_and_its_reply_has_both() {
        let mut inbox = Inbox::default();
        inbox.add(json!({ "type": "events", "events": [created(1), created(2)] }));
        assert_eq!(inbox.take(seq(1)), Some(created(1)));
        assert_eq!(inbox.take(seq(2)), Some(created(2)));
        assert_eq!(inbox.take(seq(2)), None);
    }

    #[test]
    fn a_frame_that_arrives_early_is_found_later() {
        let mut inbox = Inbox::default();
        inbox.add(json!({ "type": "presence.joined", "user_id": "two" }));
        inbox.add(json!({ "type": "events", "events": [created(1)] }));
        assert_eq!(inbox.take(seq(1)), Some(created(1)));
        let joined = inbox.take(|frame| frame["type"] == "presence.joined");
        assert_eq!(joined.unwrap()["user_id"], "two");
    }
}
