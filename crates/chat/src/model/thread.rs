//! Threads: the replies below a message, which is their root.

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{seq::Seq, time::Timestamp};

/// Summary of a thread, which its root holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadSummary {
    /// Number of replies that were stored. Deleted and expired ones count.
    pub reply_count: u64,
    /// `seq` of the last reply.
    pub last_reply_seq: Seq,
    /// Time at which the last reply was accepted.
    pub last_reply_at: Timestamp,
}

impl ThreadSummary {
    /// Returns the summary of a thread after one more reply. `before` is the summary before it, if it is not the first.
    #[must_use]
    pub fn after_reply(before: Option<Self>, seq: Seq, at: Timestamp) -> Self {
        let replies = before.map_or(0, |before| before.reply_count);
        Self { reply_count: replies + 1, last_reply_seq: seq, last_reply_at: at }
    }
}

/// Reads the summary in a stored message. A message without replies has an empty one, so that an update can add to it.
pub(crate) fn summary<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ThreadSummary>, D::Error> {
    #[derive(Deserialize)]
    struct Stored {
        reply_count: Option<u64>,
        last_reply_seq: Option<Seq>,
        last_reply_at: Option<Timestamp>,
    }
    let stored = Option::<Stored>::deserialize(deserializer)?;
    Ok(stored.and_then(|Stored { reply_count, last_reply_seq, last_reply_at }| {
        Some(ThreadSummary {
            reply_count: reply_count?,
            last_reply_seq: last_reply_seq?,
            last_reply_at: last_reply_at?,
        })
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{model::message::Message, testing::stored_message};

    #[test]
    fn an_empty_summary_is_none() {
        let message = stored_message("c", 1, "hi").message;
        let stored = serde_json::to_value(&message).unwrap();
        let summary = ThreadSummary::after_reply(None, Seq::new(2), Timestamp::from_secs(1));
        let full = json!({ "reply_count": 1, "last_reply_seq": 2, "last_reply_at": "1970-01-01T00:00:01.000Z" });
        for (thread, read) in [(None, None), (Some(json!({})), None), (Some(full), Some(summary))] {
            let mut stored = stored.clone();
            if let Some(thread) = thread {
                stored["thread"] = thread;
            }
            let found: Message = serde_json::from_value(stored).unwrap();
            assert_eq!(found.thread, read);
            let shown = serde_json::to_value(&found).unwrap();
            assert_eq!(shown.get("thread").is_some(), read.is_some(), "clients see no empty summary: {shown}");
        }
    }

    #[test]
    fn each_reply_counts() {
        let first = ThreadSummary::after_reply(None, Seq::new(2), Timestamp::from_secs(1));
        let second = ThreadSummary::after_reply(Some(first), Seq::new(5), Timestamp::from_secs(3));
        let wanted =
            ThreadSummary { reply_count: 2, last_reply_seq: Seq::new(5), last_reply_at: Timestamp::from_secs(3) };
        assert_eq!(second, wanted);
    }
}
