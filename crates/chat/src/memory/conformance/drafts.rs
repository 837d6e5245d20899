//! Laws of the drafts of replies.

use std::time::Duration;

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, Outcome, Stop},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Visibility},
        draft::DraftStatus,
        id::MessageId,
        limits::{DRAFT_DURATION, LEASE_DURATION},
        seq::Seq,
        time::Timestamp,
    },
    ports::{
        clock::Clock,
        deleted_channels::DeletedChannels,
        message_store::MessageStore,
        reply_leases::{
            Acquire, CancelResult, DraftPiece, LeaseOwner, LeaseRenewal, MessageKey, PieceStored, ReplyLease,
            ReplyLeases, StoredDraft,
        },
    },
};

/// Tolerance of a store that keeps times in whole seconds.
const SECONDS: Duration = Duration::from_secs(2);

const ONE: LeaseOwner = LeaseOwner::new(1);
const TWO: LeaseOwner = LeaseOwner::new(2);

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn drafts(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("drafts", Visibility::Public).await?;
        let question = self.asked(&channel).await?;
        let [first, second] = [(); 2].map(|()| MessageId::generate(self.seed()));
        require_eq!(store.draft(&question, self.now).await?, None, "a draft without a lease");
        let lease = self.acquired(&question, ONE, self.now).await?;
        require_eq!((lease.draft_id, lease.renewed_at), (None, None), "the first lease");
        let nothing = StoredDraft { draft_id: None, status: None, text: String::new(), held: true };
        require_eq!(store.draft(&question, self.now).await?, Some(nothing), "a draft before the first call");

        self.call_model(&question, ONE, first, self.now).await?;
        require_eq!(self.text(&question, first, self.now).await?, "", "a draft before its first piece");
        let late = self.later(LEASE_DURATION);
        let one = self.store_piece(&question, ONE, (first, 0, "größer "), self.now).await?;
        require_eq!(one, PieceStored::Stored, "a piece");
        let two = self.store_piece(&question, ONE, (first, 7, "als "), late).await?;
        require_eq!(two, PieceStored::Stored, "the next piece");
        require_eq!(self.text(&question, first, late).await?, "größer als ", "the pieces");
        let until = late.plus(LEASE_DURATION);
        require_eq!(store.acquire(&question, TWO, until, late).await?, Acquire::Held { until }, "a renewal by a piece");
        let foreign = self.store_piece(&question, TWO, (first, 11, "x"), late).await?;
        require_eq!(foreign, PieceStored::LeaseLost, "a piece of another worker");
        require_eq!(self.text(&question, first, late).await?, "größer als ", "the pieces of the holder");

        // Positions with different numbers of digits are in the order of the text.
        let long = "x".repeat(1_000);
        for (position, text) in [(11, long.as_str()), (1_011, "y"), (1_012, "z")] {
            self.store_piece(&question, ONE, (first, position, text), late).await?;
        }
        let text = format!("größer als {long}yz");
        require_eq!(self.text(&question, first, late).await?, text, "pieces in their order");
        self.store_piece(&question, ONE, (first, 2_000, "after a gap"), late).await?;
        require_eq!(self.text(&question, first, late).await?, text, "a piece after a gap");

        let expiring = self.now.plus(DRAFT_DURATION);
        let before = Timestamp::from_millis(expiring.as_millis() - 2_000);
        require_eq!(self.text(&question, first, before).await?, text, "pieces that expire soon");
        require_eq!(self.text(&question, first, expiring.plus(SECONDS)).await?, "", "text without its beginning");

        let other = self.store_piece(&question, ONE, (second, 0, "so"), late).await?;
        require_eq!(other, PieceStored::Stored, "a piece of another draft");
        require_eq!(self.text(&question, second, late).await?, "so", "the other draft");
        let channel = self.current(&channel).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        require_eq!(store.cancel(&by, &question, late).await?, CancelResult::Done, "a cancellation");
        let refused = self.store_piece(&question, ONE, (second, 2, "!"), late).await?;
        require_eq!(refused, PieceStored::Cancelled, "a piece of a cancelled reply");
        let refused = self.store_piece(&question, TWO, (second, 2, "!"), late).await?;
        require_eq!(refused, PieceStored::LeaseLost, "a piece of another worker of a cancelled reply");
        require_eq!(self.text(&question, second, late).await?, "so", "a cancelled draft");
        Ok(())
    }

    pub(super) async fn draft_ends(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, _) = self.channel("draft-ends", Visibility::Public).await?;
        let question = self.asked(&channel).await?;
        let draft_id = MessageId::generate(self.seed());
        self.acquired(&question, ONE, self.now).await?;
        self.call_model(&question, ONE, draft_id, self.now).await?;
        self.store_piece(&question, ONE, (draft_id, 0, "half"), self.now).await?;
        let draft =
            |status, held| Some(StoredDraft { draft_id: Some(draft_id), status, text: "half".to_owned(), held });

        let expired = self.later(LEASE_DURATION);
        require_eq!(store.draft(&question, expired).await?, draft(None, false), "a draft whose lease has expired");
        let lease = self.acquired(&question, TWO, expired).await?;
        require_eq!((lease.calls, lease.draft_id), (1, Some(draft_id)), "the lease of another worker");
        require_eq!(lease.renewed_at, Some(self.now), "the last renewal by the worker before");
        store.end_draft(&question, ONE, DraftStatus::Failed).await?;
        require_eq!(store.draft(&question, expired).await?, draft(None, true), "an end by a worker without the lease");
        store.end_draft(&question, TWO, DraftStatus::Cancelled).await?;
        let ended = draft(Some(DraftStatus::Cancelled), false);
        require_eq!(store.draft(&question, expired).await?, ended, "a draft that has ended");

        let lease = self.acquired(&question, ONE, expired).await?;
        require_eq!(lease.renewed_at, None, "a renewal before a release");
        self.call_model(&question, ONE, draft_id, expired).await?;
        require_eq!(store.draft(&question, expired).await?, draft(None, true), "a draft that a model continues");
        store.end_draft(&question, ONE, DraftStatus::Failed).await?;
        let ended = draft(Some(DraftStatus::Failed), false);
        require_eq!(store.draft(&question, expired).await?, ended, "a draft that has failed");
        self.acquired(&question, ONE, expired).await?;
        self.store_piece(&question, ONE, (draft_id, 0, "half"), expired).await?;
        require_eq!(store.draft(&question, expired).await?, draft(None, true), "a draft with another piece");
        Ok(())
    }

    pub(super) async fn removed_drafts(&self) -> Outcome {
        let (channel, olga) = self.channel("removed-drafts", Visibility::Public).await?;
        let question = self.asked(&channel).await?;
        let draft_id = MessageId::generate(self.seed());
        self.acquired(&question, ONE, self.now).await?;
        for position in 0..5 {
            self.store_piece(&question, ONE, (draft_id, position, "x"), self.now).await?;
        }
        self.delete(&channel, &olga).await?;
        let mut calls = 0;
        while !self.ports.removal.remove_some(&channel.key()).await? {
            calls += 1;
            require!(calls < 1_000, "the removal does not end");
        }
        require_eq!(self.ports.channels.draft(&question, self.now).await?, None, "the draft of a removed channel");
        // The lease begins again, so that a piece that is still there would be found.
        self.acquired(&question, TWO, self.now).await?;
        self.call_model(&question, TWO, draft_id, self.now).await?;
        require_eq!(self.text(&question, draft_id, self.now).await?, "", "the pieces of a removed channel");
        Ok(())
    }

    /// Sends a message and returns its key.
    async fn asked(&self, channel: &Channel) -> Outcome<MessageKey> {
        self.send(channel, "olga").await?;
        Ok(MessageKey { channel: channel.key(), seq: Seq::FIRST })
    }

    /// Acquires a lease for [`LEASE_DURATION`].
    async fn acquired(&self, question: &MessageKey, owner: LeaseOwner, now: Timestamp) -> Outcome<ReplyLease> {
        match self.ports.channels.acquire(question, owner, now.plus(LEASE_DURATION), now).await? {
            Acquire::Acquired(lease) => Ok(lease),
            held @ Acquire::Held { .. } => Err(Stop(format!("a free lease: {held:?}"))),
        }
    }

    async fn call_model(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        draft_id: MessageId,
        now: Timestamp,
    ) -> Outcome {
        let (until, renewal) = (now.plus(LEASE_DURATION), LeaseRenewal::CallModel { draft_id });
        let renewed = ReplyLeases::renew(self.ports.channels, question, owner, until, renewal).await?;
        require_eq!(renewed.and_then(|lease| lease.draft_id), Some(draft_id), "the draft of a call");
        Ok(())
    }

    async fn store_piece(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        (draft_id, position, text): (MessageId, usize, &str),
        now: Timestamp,
    ) -> Outcome<PieceStored> {
        let piece = DraftPiece { draft_id, position, text: text.to_owned() };
        Ok(self.ports.channels.store_piece(question, owner, now.plus(LEASE_DURATION), &piece, now).await?)
    }

    /// Returns the text of the draft that the lease names, which must be `draft_id` and have no status.
    async fn text(&self, question: &MessageKey, draft_id: MessageId, now: Timestamp) -> Outcome<String> {
        let draft = self.ports.channels.draft(question, now).await?;
        let Some(draft) = draft else { return Err(Stop("a draft is not there".to_owned())) };
        require_eq!((draft.draft_id, draft.status), (Some(draft_id), None), "the draft of the lease");
        Ok(draft.text)
    }
}
