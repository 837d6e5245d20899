//! Drafts that a client shows, joined by the `position` of their frames.

use std::collections::BTreeSet;

use chat::{
    app::agent::progress::ReplyProgress,
    model::{error::ChatError, id::ChannelId, seq::Seq},
};
use serde_json::json;
use switchboard_client::{ChannelLog, DraftStatus, Frame, Reply};

use super::{Client, Left, reading::ChannelCopy};
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

    /// Returns the questions of which the client shows a draft of the reply.
    pub(super) fn drafts(&self) -> BTreeSet<(ChannelId, Seq)> {
        if self.world.has(Mutant::DraftKept) {
            return self.kept_drafts.clone();
        }
        let of_channel = |(of, copy): (&ChannelId, &ChannelCopy)| {
            let questions = copy.log.drafts().map(|(question, _)| (of.clone(), Seq::new(question)));
            questions.collect::<Vec<_>>()
        };
        self.copies.iter().flat_map(of_channel).collect()
    }

    /// Notes a frame of a draft for a client that ends drafts by frames only.
    pub(super) fn keep_draft(&mut self, of: &ChannelId, frame: &Frame) {
        let Frame::Draft { reply_to, status, .. } = frame else { return };
        let place = (of.clone(), Seq::new(*reply_to));
        if matches!(status, DraftStatus::Thinking | DraftStatus::Writing) {
            self.kept_drafts.insert(place);
        } else {
            self.kept_drafts.remove(&place);
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
