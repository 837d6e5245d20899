//! Images of the items of `chat_events` in its stream: the event that leads from one to the next.

use chat::model::{
    id::TenantId,
    incarnation::{ChannelKey, KeyError},
    message::{Change, Message, MessageEvent, StoredMessage},
    rev::Rev,
    time::Timestamp,
    trace::TraceContext,
};
use serde_dynamo::{AttributeValue, Item};

use crate::dynamodb::keys;

/// The reason why an image is not a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Item(#[from] serde_dynamo::Error),
    #[error("channel_id {0}")]
    Channel(#[from] KeyError),
}

/// Returns the text in an attribute of an image.
pub(super) fn text<'a>(image: &'a Item, name: &str) -> Option<&'a str> {
    match image.get(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    }
}

/// Returns the digits in an attribute of an image.
fn number<'a>(image: &'a Item, name: &str) -> Option<&'a str> {
    match image.get(name) {
        Some(AttributeValue::N(digits)) => Some(digits),
        _ => None,
    }
}

/// Returns the event of a new message, or of a change from the image `before`, with the tenant. Returns `None` if the
/// version stays the same.
pub(super) fn message_event(
    before: Option<Item>,
    after: Item,
) -> Result<Option<(Option<TenantId>, MessageEvent)>, Unreadable> {
    let (tenant, channel) = keys::channel_key(text(&after, "channel_id").unwrap_or_default())?;
    let of_request = |name: &str| text(&after, name).map(str::to_owned);
    let trace =
        of_request("traceparent").map(|traceparent| TraceContext { traceparent, tracestate: of_request("tracestate") });
    let expires_at = number(&after, "expires_at").and_then(|secs| secs.parse().ok()).map(Timestamp::from_secs);
    // A message without a number was never changed.
    let rev = number(&after, "rev").and_then(|rev| rev.parse().ok()).map(Rev::new).unwrap_or_default();
    let message = read_message(after, &channel)?;
    let change = match before {
        None => Some(Change::Created),
        Some(before) => Change::between(&read_message(before, &channel)?, &message),
    };
    let stored = StoredMessage { message, incarnation: channel.incarnation, trace, expires_at, rev };
    Ok(change.map(|change| (tenant, MessageEvent::of(change, stored))))
}

/// Reads the message in an image. Its `channel_id` is the channel's key there.
fn read_message(mut image: Item, channel: &ChannelKey) -> Result<Message, Unreadable> {
    image.insert("channel_id".to_owned(), AttributeValue::S(channel.channel_id.to_string()));
    Ok(serde_dynamo::from_item(image)?)
}

#[cfg(test)]
mod tests {
    use chat::model::reaction::{ReactionChange, Toggle};
    use serde_json::json;

    use super::*;

    /// Returns the image of a message with a version, a content, and users that react with a thumb.
    fn image(version: u64, content: &str, users: &[&str]) -> Item {
        let thumb = if users.is_empty() { json!({}) } else { json!({ "👍": { "SS": users } }) };
        let image = json!({
            "channel_id": { "S": "general@01arz3ndektsv4rrffq69g5fav" }, "seq": { "N": "7" },
            "message_id": { "S": "01ARZ3NDEKTSV4RRFFQ69G5FAV" }, "version": { "N": version.to_string() },
            "sender_id": { "S": "alice" }, "role": { "S": "user" }, "content": { "S": content },
            "content_type": { "S": "text/plain" }, "created_at": { "S": "2027-01-15T08:00:00.000Z" },
            "reactions": { "M": thumb }, "no_agent": { "S": "1" },
        });
        serde_json::from_value(image).unwrap()
    }

    #[test]
    fn a_change_is_read_from_both_images() {
        let reaction = |toggle, user: &str, count| {
            let (emoji, user_id) = ("👍".parse().unwrap(), user.parse().unwrap());
            Some(Change::Reacted(vec![ReactionChange { toggle, emoji, user_id, count }]))
        };
        let none: &[&str] = &[];
        for (before, after, expected) in [
            (None, image(1, "hi", none), Some(Change::Created)),
            (Some(image(1, "hi", none)), image(2, "hi", &["bob"]), reaction(Toggle::Add, "bob", 1)),
            (Some(image(2, "hi", &["bob"])), image(3, "better", &["bob"]), Some(Change::Updated)),
            // Another attribute of the item changed.
            (Some(image(3, "better", &["bob"])), image(3, "better", &["bob"]), None),
            (Some(image(3, "x", &["bob", "carol"])), image(4, "x", &["bob"]), reaction(Toggle::Remove, "carol", 1)),
            (Some(image(4, "x", &["bob"])), image(5, "x", none), reaction(Toggle::Remove, "bob", 0)),
        ] {
            let what = text(&after, "content").map(str::to_owned);
            let event = message_event(before, after).unwrap().map(|(_, event)| event);
            assert_eq!(event.map(|event| event.change), expected, "{what:?}");
        }
    }

    #[test]
    fn an_event_has_the_number_of_its_change() {
        let none: &[&str] = &[];
        let numbered = |version, rev: &str| {
            let mut image = image(version, "hi", none);
            image.insert("rev".to_owned(), AttributeValue::N(rev.to_owned()));
            image
        };
        for (before, after, expected) in [
            (None, image(1, "hi", none), 0),
            (Some(image(1, "hi", none)), numbered(2, "1"), 1),
            (Some(numbered(2, "1")), numbered(3, "41"), 41),
        ] {
            let (_, event) = message_event(before, after).unwrap().unwrap();
            assert_eq!((event.rev_from, event.stored.rev), (Rev::new(expected), Rev::new(expected)));
        }
    }

    #[test]
    fn a_change_without_the_image_before_is_unreadable() {
        let none: &[&str] = &[];
        let empty: Item = serde_json::from_value(json!({})).unwrap();
        assert!(matches!(message_event(Some(empty), image(2, "hi", none)), Err(Unreadable::Item(_))));
    }
}
