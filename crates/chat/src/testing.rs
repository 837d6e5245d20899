//! What the domain's own tests share.

use crate::{
    clock::Timestamp,
    id::MessageId,
    message::{ContentType, Message, Role, StoredMessage},
};

/// A message of alice's.
pub(crate) fn stored_message(channel: &str, seq: u64, content: &str) -> StoredMessage {
    StoredMessage {
        message: Message {
            channel_id: channel.parse().unwrap(),
            seq,
            message_id: MessageId::try_from("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned()).unwrap(),
            sender_id: "alice".parse().unwrap(),
            role: Role::User,
            content: content.to_owned(),
            content_type: ContentType::Plain,
            created_at: Timestamp::from_secs(1_796_000_000),
            metadata: None,
            reply_to: None,
        },
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    }
}
