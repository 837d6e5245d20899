//! Drafts that a client shows, joined by the `position` of their frames.

use chat::{
    app::agent::progress::ReplyProgress,
    model::{error::ChatError, id::ChannelId, seq::Seq},
};
use serde_json::json;
use switchboard_client::{ChannelLog, Frame, Reply};

use super::{Client, Left};
use crate::{invocation::request, mutant::Mutant, oracle};

impl Client {
    /// Checks the text of a draft that a log holds after a frame.
    pub(super) fn check_draft(&self, log: &ChannelLog, frame: &Frame) {
        let Frame::Draft { draft_id, reply_to, text, seq, .. } = frame else { return };
        let Some((_, draft)) = log.drafts().find(|(question, _)| question == reply_to) else { return };
        if draft.draft_id() != Some(draft_id.as_str()) {
            return;
        }
        if !draft.is_behind() {
            oracle::held(&self.world, draft_id, draft.text(), seq.is_some());
        } else if self.world.has(Mutant::DraftGapIgnored) {
            oracle::held(&self.world, draft_id, &format!("{}{text}", draft.text()), seq.is_some());
        }
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
                    let draft_id = progress.draft_id.map(|id| id.to_string());
                    let (text, position) = (progress.text.as_str(), progress.position);
                    oracle::progressed(&self.world, draft_id.as_deref(), text, position, progress.seq);
                    self.copy(of).log.take_reply(question.get(), reply(&progress));
                    return Ok(());
                }
                // The question is deleted, or its reply ended without a message.
                Some(Err(ChatError::MessageNotFound | ChatError::ReplyNotFound)) => {
                    self.copy(of).log.end_draft(question.get());
                    return Ok(());
                }
                Some(Err(ChatError::ChannelNotFound)) => return Err(Left::NotFound),
                Some(Err(_)) | None => self.pause().await,
            }
        }
    }
}

/// Returns the progress of a reply as a client parses it.
fn reply(progress: &ReplyProgress) -> Reply {
    let ReplyProgress { status, draft_id, position, text, seq } = progress;
    let reply = json!({ "status": status, "draft_id": draft_id, "position": position, "text": text, "seq": seq });
    serde_json::from_value(reply).unwrap_or_else(|error| unreachable!("progress is as documented: {error}"))
}
