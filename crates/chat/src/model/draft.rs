//! Frames of a draft.

use std::time::Duration;

use serde::Serialize;

use crate::model::{
    id::{ChannelId, MessageId},
    limits::{DELTA_INTERVAL, DRAFT_LISTENERS, DRAFT_PUSHES_PER_SECOND},
    seq::Seq,
};

/// Status of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftStatus {
    /// The model is called, and has sent no text.
    Thinking,
    /// The model sends text.
    Writing,
    /// The reply is stored as the message [`Delta::seq`].
    Done,
    /// The reply is cancelled: by a user, by the deletion of its question, or since the agent is turned off. If
    /// [`Delta::seq`] is given, the text so far is stored.
    Cancelled,
    /// The draft is abandoned: the model failed, or the channel is archived. Another draft may follow.
    Failed,
}

/// Frame of a draft: `{"type":"message.delta","channel_id":"general","draft_id":"01…","reply_to":7,
/// "status":"writing","position":12,"text":" world"}`. Its text is stored before it is shown. The frame may be lost. Only
/// the final message counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "message.delta")]
pub struct Delta {
    /// The channel.
    pub channel_id: ChannelId,
    /// Id of the draft. The final message has it too, in its [`agent`](crate::model::message::Message::agent).
    pub draft_id: MessageId,
    /// `seq` of the message that gets the reply.
    pub reply_to: Seq,
    /// Status.
    pub status: DraftStatus,
    /// Number of characters (Unicode scalar values) of the draft before `text`. A client that has at least so many keeps
    /// that many and adds `text`. A client that has fewer missed a frame, and reads the
    /// progress of the reply.
    pub position: usize,
    /// Next part of the text.
    pub text: String,
    /// `seq` of the final message, if it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
}

/// Pace of the frames of a draft: the more sockets receive them, the longer the interval between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftPace {
    /// Maximum number of pushes per second.
    pub pushes_per_second: u32,
    /// Maximum number of sockets that receive frames.
    pub listeners: usize,
}

impl Default for DraftPace {
    fn default() -> Self {
        Self { pushes_per_second: DRAFT_PUSHES_PER_SECOND, listeners: DRAFT_LISTENERS }
    }
}

impl DraftPace {
    /// Returns the shortest interval between two frames for so many sockets. Returns `None` if they are too many: then
    /// they receive the finished message only.
    ///
    /// An interval below [`DELTA_INTERVAL`] is none, since pieces are no more frequent.
    #[must_use]
    pub fn interval(self, listeners: usize) -> Option<Duration> {
        let count = u32::try_from(listeners).ok().filter(|_| listeners <= self.listeners)?;
        let interval = Duration::from_secs(1).saturating_mul(count) / self.pushes_per_second.max(1);
        Some(if interval < DELTA_INTERVAL { Duration::ZERO } else { interval })
    }

    /// Returns whether frames may have to wait before so many sockets.
    #[must_use]
    pub fn is_paced(self, listeners: usize) -> bool {
        self.interval(listeners) != Some(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_with_the_audience_until_there_are_no_frames() {
        let pace = DraftPace::default();
        for (listeners, wanted) in [
            (0, Some(0)),
            (1, Some(0)),
            (49, Some(0)),
            (50, Some(100)),
            (200, Some(400)),
            (1_000, Some(2_000)),
            (2_000, Some(4_000)),
            (2_001, None),
            (usize::MAX, None),
        ] {
            assert_eq!(pace.interval(listeners), wanted.map(Duration::from_millis), "{listeners}");
            assert_eq!(pace.is_paced(listeners), wanted != Some(0), "{listeners}");
        }
    }

    #[test]
    fn no_audience_gets_more_pushes_per_second_than_the_pace_has() {
        let pace = DraftPace::default();
        for listeners in 1..=pace.listeners {
            let interval = pace.interval(listeners).unwrap().max(DELTA_INTERVAL);
            let pushes = u128::try_from(listeners).unwrap() * 1_000 / interval.as_millis();
            assert!(pushes <= u128::from(pace.pushes_per_second), "{listeners}: {pushes}");
        }
    }
}
