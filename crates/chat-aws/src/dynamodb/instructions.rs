//! Instructions of agents: `<key>` / `instructions` in `chat_channels`, see [`crate::dynamodb::keys`].
//!
//! A transaction pays for the whole of each item that it writes, twice ("Amazon DynamoDB Transactions: how it works",
//! "Capacity management for transactions"). So up to 4 KB of instructions are no part of the item that each send writes.
//! That item says only that there are some. The two change in one transaction, on condition of the channel's version.
//!
//! A `meta` item may hold the text itself, if an earlier version of the functions wrote it. It then counts, and the next
//! change of the settings moves it.

use chat::model::{
    channel::{AgentSettings, Channel, Instructions},
    error::StoreError,
};

use crate::dynamodb::{
    item::{Item, attribute, flag, read, s, text, write},
    keys::Keys,
    transaction::{OPERATION, Part, Transaction, Write},
};

/// Attribute of a `meta` item whose channel has an item of instructions.
pub(crate) const BESIDE: &str = "has_instructions";

const TEXT: &str = "instructions";

/// Reads the channel in a `meta` item. Instructions beside it stay [`Instructions::Unread`].
pub(crate) fn read_channel(operation: &'static str, keys: &Keys, meta: Item) -> Result<Channel, StoreError> {
    let is_beside = flag(&meta, BESIDE);
    let mut channel: Channel = read(operation, keys.plain(meta))?;
    if is_beside && channel.agent.instructions.is_none() {
        channel.agent.instructions = Instructions::Unread;
    }
    Ok(channel)
}

/// Returns the `meta` item of a channel without its key and its incarnation.
pub(crate) fn meta_of(channel: &Channel) -> Result<Item, StoreError> {
    let agent = bare(&channel.agent);
    let mut meta = write(OPERATION, Channel { agent, ..channel.clone() })?;
    meta.insert(BESIDE.to_owned(), attribute(OPERATION, is_beside(channel))?);
    Ok(meta)
}

/// Returns whether a channel has an item of instructions.
pub(crate) fn is_beside(channel: &Channel) -> bool {
    !channel.agent.instructions.is_none()
}

/// Returns the settings of an agent as they are stored with its channel.
pub(crate) fn bare(agent: &AgentSettings) -> AgentSettings {
    AgentSettings { instructions: Instructions::None, ..agent.clone() }
}

/// Returns the text in an item of instructions.
pub(crate) fn instructions_of(item: &Item) -> Instructions {
    text(item, TEXT).map(str::to_owned).into()
}

/// Writes the instructions of a changed or new channel. Those that were not read stay as they are.
pub(crate) fn change(
    transaction: &mut Transaction,
    table: &str,
    keys: &Keys,
    before: Option<&Channel>,
    changed: &Channel,
) -> Result<(), StoreError> {
    let key = keys.instructions(&changed.key());
    match &changed.agent.instructions {
        Instructions::Text(text) => {
            let mut item = key;
            item.insert(TEXT.to_owned(), s(text));
            transaction.add(Part::Other, Write::put(table, item))
        }
        Instructions::None if before.is_some_and(is_beside) => transaction.add(Part::Other, Write::delete(table, key)),
        Instructions::None | Instructions::Unread => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use chat::model::channel::AgentMode;
    use serde_json::json;

    use super::*;

    fn channel(instructions: Instructions) -> Channel {
        let channel: Channel = serde_json::from_value(json!({
            "channel_id": "c", "incarnation": "01arz3ndektsv4rrffq69g5fav", "name": "C", "visibility": "public",
            "agent": { "mode": "mention", "model": "m" }, "last_seq": 0, "created_by": "alice",
            "created_at": "2027-01-15T08:00:00.000Z", "version": 1,
        }))
        .unwrap();
        let agent = AgentSettings { instructions, ..channel.agent };
        Channel { agent, ..channel }
    }

    /// Returns the channel as it is read from the item that is written.
    fn stored(channel: &Channel, of_head: Option<&str>) -> Channel {
        let mut meta = meta_of(channel).unwrap();
        meta.insert("channel_id".to_owned(), s("c"));
        meta.insert("incarnation".to_owned(), s("01arz3ndektsv4rrffq69g5fav"));
        if let Some(text) = of_head {
            let earlier = AgentSettings { instructions: Instructions::Text(text.to_owned()), ..channel.agent.clone() };
            meta.insert("agent".to_owned(), attribute(OPERATION, earlier).unwrap());
        }
        read_channel(OPERATION, &Keys::default(), meta).unwrap()
    }

    #[test]
    fn a_channel_is_stored_without_its_instructions() {
        let told = Instructions::Text("be brief".to_owned());
        for (instructions, expected) in [
            (Instructions::None, Instructions::None),
            (told.clone(), Instructions::Unread),
            (Instructions::Unread, Instructions::Unread),
        ] {
            let written = channel(instructions);
            assert_eq!(stored(&written, None), channel(expected));
            assert_eq!(stored(&written, None).agent.mode, AgentMode::Mention);
        }
        // An earlier version of the functions wrote this text, before or after an item beside it.
        for of_item in [Instructions::None, told] {
            let old = Instructions::Text("rhyme".to_owned());
            assert_eq!(stored(&channel(of_item), Some("rhyme")), channel(old));
        }
    }
}
