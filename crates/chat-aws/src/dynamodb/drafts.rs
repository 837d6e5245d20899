//! Pieces of the drafts of replies, in `chat_channels`: see [`crate::dynamodb::keys`].
//!
//! A piece is stored in the transaction that renews its lease, so that only the holder adds to a draft, and only until
//! the reply is cancelled.

use chat::{
    model::{
        draft::DraftStatus,
        error::StoreError,
        id::MessageId,
        limits::{CONTENT_BYTES, DRAFT_DURATION},
        time::Timestamp,
    },
    ports::reply_leases::{DraftPiece, LeaseOwner, MessageKey, PieceStored, StoredDraft},
};

use crate::dynamodb::{
    channels::DynamoChannels,
    item::{Item, attribute, is_unexpired, n, number, s, text},
    keys,
    reply_leases::draft_id,
    transaction::{Part, Ran, Transaction, Write},
};

impl DynamoChannels {
    /// Renews a lease and stores the next piece of its draft.
    pub(super) async fn put_piece(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        piece: &DraftPiece,
        now: Timestamp,
    ) -> Result<PieceStored, StoreError> {
        let owner = s(owner.to_string());
        let update = "SET lease_until = :until, draft_id = :draft_id REMOVE draft_status";
        let lease = Write::update(&self.table, self.keys.reply_lease(question), update)
            .when("#owner = :owner AND attribute_not_exists(cancelled)")
            .name("owner", "owner")
            .value("owner", owner.clone())
            .value("until", n(until.as_millis()))
            .value("draft_id", s(piece.draft_id.to_string()))
            .showing_old();
        let mut item = self.keys.draft_piece(question, piece.draft_id, piece.position);
        item.insert("text".to_owned(), s(&piece.text));
        item.insert("expires_at".to_owned(), n(now.plus(DRAFT_DURATION).as_secs()));
        let mut transaction = Transaction::default();
        transaction.add(Part::Lease, lease)?;
        transaction.add(Part::Other, Write::put(&self.table, item))?;
        Ok(match self.run(transaction).await? {
            Ran::Done => PieceStored::Stored,
            Ran::Refused(refused) => {
                let is_held = refused.item(Part::Lease).is_some_and(|item| item.get("owner") == Some(&owner));
                if is_held { PieceStored::Cancelled } else { PieceStored::LeaseLost }
            }
        })
    }

    /// Returns the draft of a reply, by its lease.
    pub(super) async fn read_draft(
        &self,
        question: &MessageKey,
        now: Timestamp,
    ) -> Result<Option<StoredDraft>, StoreError> {
        let Some(lease) = self.get(self.keys.reply_lease(question)).await? else { return Ok(None) };
        let draft_id = draft_id(&lease);
        let text = match draft_id {
            Some(draft_id) => self.draft_text(question, draft_id, now).await?,
            None => String::new(),
        };
        let held = number(&lease, "lease_until").is_some_and(|until| until > now.as_millis());
        Ok(Some(StoredDraft { draft_id, status: ended(&lease)?, text, held }))
    }

    /// Returns the pieces of a draft that have not expired by `now`, joined from position 0 on.
    async fn draft_text(
        &self,
        question: &MessageKey,
        draft_id: MessageId,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        // A piece has at least one byte.
        let (pieces, _) = self.page(&self.keys.draft_pieces(question, draft_id), CONTENT_BYTES).await?;
        Ok(joined(&pieces, now))
    }
}

/// Joins pieces in the order of their positions, up to the first gap.
fn joined(pieces: &[Item], now: Timestamp) -> String {
    let (mut joined, mut chars) = (String::new(), 0);
    for piece in pieces {
        let Some(position) = text(piece, "sk").and_then(keys::position_of) else { continue };
        // A longer piece of an earlier position replaces it.
        if position < chars {
            continue;
        }
        if position > chars || !is_unexpired(piece, now) {
            break;
        }
        let part = text(piece, "text").unwrap_or_default();
        joined.push_str(part);
        chars += part.chars().count();
    }
    joined
}

/// Returns the status of a draft that ended without a message.
fn ended(lease: &Item) -> Result<Option<DraftStatus>, StoreError> {
    let Some(stored) = lease.get("draft_status") else { return Ok(None) };
    for status in [DraftStatus::Cancelled, DraftStatus::Failed] {
        if attribute("GetItem", status)? == *stored {
            return Ok(Some(status));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn piece(position: usize, text: &str, ends_in: i64) -> Item {
        Item::from([
            ("sk".to_owned(), s(format!("draft#7#id#{position:016}"))),
            ("text".to_owned(), s(text)),
            ("expires_at".to_owned(), n(NOW.as_secs() + ends_in)),
        ])
    }

    #[test]
    fn pieces_are_joined_by_characters_up_to_the_first_gap() {
        let all = [piece(0, "größer", 1), piece(6, " als 👍", 1), piece(12, "!", 1)];
        assert_eq!(joined(&all, NOW), "größer als 👍!");
        assert_eq!(joined(&all[..2], NOW), "größer als 👍");
        assert_eq!(joined(&[piece(0, "a", 1), piece(2, "c", 1)], NOW), "a", "a piece is missing");
        assert_eq!(joined(&[piece(0, "a", 0), piece(1, "b", 1)], NOW), "", "the first piece has expired");
        assert_eq!(joined(&[piece(0, "a", 1), piece(1, "b", 0)], NOW), "a");
        assert_eq!(joined(&[piece(1, "b", 1)], NOW), "");
        assert_eq!(joined(&[piece(0, "abc", 1), piece(1, "x", 1), piece(3, "d", 1)], NOW), "abcd");
        assert_eq!(joined(&[], NOW), "");
    }
}
