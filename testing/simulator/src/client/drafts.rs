//! Drafts that a client shows, joined by the `position` of their frames.

use chat::model::{draft::DraftStatus, error::ChatError, id::ChannelId, seq::Seq};
use serde_json::Value;

use super::{Client, Left};
use crate::{invocation::request, mutant::Mutant, oracle};

/// Draft of a reply that a client shows.
pub(super) struct HeldDraft {
    draft_id: String,
    text: String,
}

impl Client {
    /// Takes a frame of a draft. The text keeps as many characters as the frame's position, and its text follows.
    pub(super) async fn take_delta(&mut self, of: &ChannelId, frame: &Value) -> Result<(), Left> {
        let text = |name: &str| frame[name].as_str().unwrap_or_default();
        let (Some(reply_to), Some(position)) = (frame["reply_to"].as_u64(), frame["position"].as_u64()) else {
            return Ok(());
        };
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        let (place, draft_id) = ((of.clone(), Seq::new(reply_to)), text("draft_id"));
        // Another draft of the same reply replaces the one before.
        let held = self.drafts.remove(&place).filter(|held| held.draft_id == draft_id);
        let held = held.map(|held| held.text).unwrap_or_default();
        if position > held.chars().count() && !self.world.has(Mutant::DraftGapIgnored) {
            return self.read_reply(of, place.1).await;
        }
        let joined: String = held.chars().take(position).chain(text("text").chars()).collect();
        let has_reply = frame["seq"].is_u64();
        oracle::held(&self.world, draft_id, &joined, has_reply);
        if matches!(text("status"), "thinking" | "writing") {
            self.drafts.insert(place, HeldDraft { draft_id: draft_id.to_owned(), text: joined });
        }
        Ok(())
    }

    /// Reads the progress of a reply, after a missed frame, or when a page shows that the reply is being written.
    pub(super) async fn read_reply(&mut self, of: &ChannelId, question: Seq) -> Result<(), Left> {
        loop {
            let (of_channel, of_user) = (of.clone(), self.user.clone());
            let progress = request(&self.world, self.caller(), |node| async move {
                let progress = node.channel_messages().reply_progress(&of_channel, &of_user, question).await;
                if progress.is_ok() {
                    node.answers_with_what_it_read();
                }
                progress
            });
            match progress.await.1 {
                Some(Ok(progress)) => {
                    let (draft_id, text) = (progress.draft_id.map(|id| id.to_string()), progress.text);
                    oracle::progressed(&self.world, draft_id.as_deref(), &text, progress.position, progress.seq);
                    let is_writing = matches!(progress.status, DraftStatus::Thinking | DraftStatus::Writing);
                    if let Some(draft_id) = draft_id.filter(|_| is_writing) {
                        self.drafts.insert((of.clone(), question), HeldDraft { draft_id, text });
                    }
                    return Ok(());
                }
                // The question is deleted, or its reply ended without a message.
                Some(Err(ChatError::MessageNotFound | ChatError::ReplyNotFound)) => return Ok(()),
                Some(Err(ChatError::ChannelNotFound)) => return Err(Left::NotFound),
                Some(Err(_)) | None => self.pause().await,
            }
        }
    }
}
