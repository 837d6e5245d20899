//! Law of the reply leases.

use std::time::Duration;

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, LONG, Outcome, id},
};
use crate::{
    model::{access::Authority, channel::Visibility, draft::DraftStatus, id::MessageId, seq::Seq},
    ports::{
        clock::Clock,
        deleted_channels::DeletedChannels,
        message_store::MessageStore,
        reply_leases::{Acquire, CancelResult, LeaseOwner, LeaseRenewal, MessageKey, ReplyLeases},
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn claims(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("claims", Visibility::Public).await?;
        self.send(&channel, "olga").await?;
        let question = MessageKey { channel: channel.key(), seq: Seq::FIRST };
        let [one, two] = [1, 2].map(LeaseOwner::new);
        let draft_id = MessageId::generate(self.seed());
        let calls = LeaseRenewal::CallModel { draft_id };
        let [until, later] = [10, 20].map(|seconds| self.later(Duration::from_secs(seconds)));
        let claimed = store.acquire(&question, one, until, self.now).await?;
        require!(
            matches!(claimed, Acquire::Acquired(claim) if claim.calls == 0 && !claim.cancelled),
            "a free question"
        );
        require_eq!(store.acquire(&question, two, until, self.now).await?, Acquire::Held { until }, "one that is held");
        require_eq!(ReplyLeases::renew(store, &question, two, later, calls).await?, None, "a renewal by another");
        let renewed = ReplyLeases::renew(store, &question, one, later, calls).await?;
        require_eq!(renewed.map(|claim| claim.calls), Some(1), "the calls of a renewal");
        require_eq!(
            store.acquire(&question, two, later, until).await?,
            Acquire::Held { until: later },
            "a renewed claim"
        );
        let channel = self.current(&channel).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        require_eq!(store.cancel(&by, &question, later).await?, CancelResult::Done, "a draft between two workers");
        require_eq!(store.cancel(&by, &question, self.now).await?, CancelResult::Done, "the end of a claim");
        require_eq!(store.cancel(&by, &question, self.now).await?, CancelResult::Done, "the same again");
        let renewed = ReplyLeases::renew(store, &question, one, later, LeaseRenewal::Keep).await?;
        require_eq!(renewed.map(|claim| (claim.calls, claim.cancelled)), Some((1, true)), "a claim that is cancelled");
        let others = [Seq::new(2), Seq::FIRST];
        require_eq!(store.held(&channel.key(), &others, until).await?, vec![Seq::FIRST], "the held leases");
        require_eq!(store.held(&channel.key(), &others[..1], until).await?, vec![], "the leases of other questions");
        require_eq!(store.held(&channel.key(), &others, later).await?, vec![], "an expired lease");
        require_eq!(store.held(&channel.key(), &[], until).await?, vec![], "the leases of no questions");
        store.release(&question, two).await?;
        require_eq!(
            store.acquire(&question, two, later, until).await?,
            Acquire::Held { until: later },
            "a release by another owner"
        );
        store.release(&question, one).await?;
        require_eq!(
            store.cancel(&by, &question, self.now).await?,
            CancelResult::Done,
            "a draft whose worker has released it"
        );
        require_eq!(store.held(&channel.key(), &others, self.now).await?, vec![], "a released lease");
        let claimed = store.acquire(&question, two, later, self.now).await?;
        require!(
            matches!(claimed, Acquire::Acquired(claim) if claim.calls == 1 && claim.cancelled),
            "what was released"
        );
        store.end_draft(&question, two, DraftStatus::Cancelled).await?;
        require_eq!(store.cancel(&by, &question, self.now).await?, CancelResult::NoReply, "a draft that has ended");
        let not_begun = MessageKey { channel: channel.key(), seq: Seq::new(2) };
        require_eq!(store.cancel(&by, &not_begun, self.now).await?, CancelResult::NoReply, "what has not begun");
        let claimed = store.acquire(&not_begun, one, later, self.now).await?;
        require!(matches!(claimed, Acquire::Acquired(claim) if !claim.cancelled), "what begins is not cancelled");
        let user = id("clara")?;
        require_eq!(store.tokens_used(&user, self.now).await?, 0, "tokens used for a new user");
        store.record_tokens(&user, 5, self.now).await?;
        store.record_tokens(&user, 2, self.now).await?;
        require_eq!(store.tokens_used(&user, self.now).await?, 7, "tokens used");
        require_eq!(store.tokens_used(&user, self.later(LONG * 24)).await?, 0, "tokens used on the next day");
        Ok(())
    }
}
