//! The draft of the agent's reply to one message.

use crate::{DraftStatus, Reply};

/// Fields of a frame of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftFrame<'a> {
    /// Id of the draft.
    pub draft_id: &'a str,
    /// State of the draft.
    pub status: DraftStatus,
    /// Number of characters before `text`.
    pub position: usize,
    /// The text after `position`.
    pub text: &'a str,
}

/// The text of a reply while the agent writes it. Detects lost frames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the name of the contract")]
pub struct Draft {
    draft_id: Option<String>,
    text: String,
    status: Option<DraftStatus>,
    /// Number of characters that a frame has named.
    told: usize,
    is_behind: bool,
    /// Whether a frame changed it since the last request.
    is_heard: bool,
}

impl Draft {
    /// Returns the text so far. The stored message replaces it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the id, or `None` before the first frame.
    #[must_use]
    pub fn draft_id(&self) -> Option<&str> {
        self.draft_id.as_deref()
    }

    /// Returns the progress, or `None` before the first frame.
    #[must_use]
    pub fn status(&self) -> Option<DraftStatus> {
        self.status
    }

    /// Returns whether a frame was lost, so that the reply must be read.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Applies a frame: `text` follows the first `position` characters. Another draft replaces this one.
    pub fn take_frame(&mut self, draft_id: &str, status: DraftStatus, position: usize, text: &str) {
        if self.draft_id.as_deref() != Some(draft_id) {
            *self = Self { draft_id: Some(draft_id.to_owned()), ..Self::default() };
        }
        let (held, added) = (self.text.chars().count(), text.chars().count());
        let end = position.saturating_add(added);
        let is_on = matches!(status, DraftStatus::Thinking | DraftStatus::Writing);
        // The text of a draft only grows, so a frame within it is a late or repeated one.
        if is_on && end < held && self.text.chars().skip(position).take(added).eq(text.chars()) {
            return;
        }
        (self.status, self.is_heard) = (Some(status), true);
        self.told = if is_on { self.told.max(end) } else { end };
        if position <= held {
            self.text = self.text.chars().take(position).chain(text.chars()).collect();
        }
        self.is_behind = self.text.chars().count() < self.told;
    }

    /// Notes that a request is sent. Its response may lack the frames that come from now on.
    pub(crate) fn ask(&mut self) {
        self.is_heard = false;
    }

    /// Returns whether a frame came since the request, and forgets it.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.is_heard)
    }

    /// Returns whether frames since the request have told more than its response, so that the reply must be read again.
    pub(crate) fn is_ahead_of(&self, reply: &Reply) -> bool {
        self.is_heard && (self.draft_id != reply.draft_id || reply.position < self.told)
    }

    /// Takes the reply as it is stored. Keeps a longer text of the same draft, which came by frames meanwhile.
    pub fn take_reply(&mut self, reply: Reply) {
        let (is_ahead, is_same) = (self.is_ahead_of(&reply), self.draft_id == reply.draft_id);
        self.is_heard = false;
        if is_ahead {
            if is_same && self.text.chars().count() < reply.position {
                self.text = reply.text;
            }
            self.is_behind = !is_same || self.text.chars().count() < self.told;
            return;
        }
        if !is_same || self.text.chars().count() < reply.position {
            self.text = reply.text;
        }
        self.draft_id = reply.draft_id;
        self.status = Some(reply.status);
        (self.told, self.is_behind) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(draft_id: &str, text: &str) -> Reply {
        let position = text.chars().count();
        Reply {
            status: DraftStatus::Writing,
            draft_id: Some(draft_id.to_owned()),
            position,
            text: text.to_owned(),
            seq: None,
        }
    }

    #[test]
    fn a_frame_that_came_during_the_request_is_not_forgotten() {
        let mut draft = Draft::default();
        draft.ask();
        draft.take_frame("d", DraftStatus::Writing, 5, " two");
        draft.take_reply(reply("d", "one"));
        assert_eq!((draft.text(), draft.is_behind()), ("one", true), "the response is older than the frame");
        draft.ask();
        draft.take_reply(reply("d", "one"));
        assert!(!draft.is_behind(), "no frame came since, so this is all");
        draft.ask();
        draft.take_frame("e", DraftStatus::Thinking, 0, "");
        draft.take_reply(reply("d", "one"));
        assert_eq!((draft.draft_id(), draft.is_behind()), (Some("e"), true), "one of both is late");
        draft.ask();
        draft.take_reply(reply("e", "three"));
        assert_eq!((draft.text(), draft.is_behind()), ("three", false));
    }

    #[test]
    fn a_late_frame_does_not_shorten_the_text() {
        let mut draft = Draft::default();
        for (position, text) in [(0, ""), (0, "one "), (4, "two "), (8, "three")] {
            draft.take_frame("d", DraftStatus::Writing, position, text);
        }
        draft.take_frame("d", DraftStatus::Thinking, 0, "");
        draft.take_frame("d", DraftStatus::Writing, 4, "two ");
        assert_eq!((draft.text(), draft.status()), ("one two three", Some(DraftStatus::Writing)));
        assert!(!draft.is_behind());
        draft.take_frame("d", DraftStatus::Writing, 20, "five");
        draft.take_frame("d", DraftStatus::Writing, 0, "one ");
        draft.take_frame("d", DraftStatus::Writing, 13, "four");
        assert!(draft.is_behind(), "a frame that was overtaken does not fill all of the gap");
        draft.take_frame("d", DraftStatus::Writing, 17, "...five");
        assert!(!draft.is_behind());
        draft.take_frame("d", DraftStatus::Done, 7, "");
        assert_eq!(
            (draft.text(), draft.status()),
            ("one two", Some(DraftStatus::Done)),
            "the end tells the whole text"
        );
        draft.take_frame("e", DraftStatus::Thinking, 0, "");
        assert_eq!((draft.text(), draft.draft_id()), ("", Some("e")), "another draft");
    }
}
