//! Drafts: text is stored before it is shown, and a reply that another worker continues is one draft.

use chat::{
    memory::Effect,
    model::{
        agent_data::ReplyStatus,
        draft::{Delta, DraftStatus},
        id::MessageId,
        incarnation::ChannelKey,
        message::Role,
        seq::Seq,
    },
};
use serde_json::Value;

use crate::{
    tables::{Notes, ShownDraft, StoredReply},
    world::World,
};

/// Records a stored reply. Returns why it is not the reply of the model, or `None`.
pub(super) fn note(world: &World, notes: &mut Notes, effect: &Effect) -> Option<String> {
    if let Effect::DraftEnded { question, .. } = effect {
        // Another worker may find the reply wanted again. It does not continue a draft that has ended.
        notes.drafts_of.remove(&(question.channel.clone(), question.seq));
    }
    let Effect::MessageAppended { item, .. } = effect else { return None };
    let (channel, message) = (item.stored.channel(), &item.stored.message);
    let data = message.agent.as_ref().filter(|_| message.role == Role::Agent)?;
    let (reply_to, seq, content) = (message.reply_to.unwrap_or_default(), message.seq, message.content.clone());
    let whole = world.whole_reply();
    let (said, wanted) = (content.trim_end(), whole.trim_end());
    let is_said = if data.status == ReplyStatus::Complete { said == wanted } else { wanted.starts_with(said) };
    let wrong = (world.continues && !is_said)
        .then(|| format!("the reply to message {reply_to} of {channel} is {said:?}, and the model said {wanted:?}"));
    if let Some(draft_id) = data.draft_id {
        notes.replies.insert(draft_id.to_string(), StoredReply { channel, reply_to, seq, content });
    }
    wrong
}

/// Checks a frame of a draft at the instant at which the agent shows it. `stored` is the text of the draft, or of its
/// reply, that is stored at this instant.
pub(crate) fn shown(world: &World, channel: &ChannelKey, delta: &Delta, stored: String) {
    let id = delta.draft_id.to_string();
    let is_there = world.store.state().channel(channel).is_some();
    let mut wrong = Vec::new();
    let mut tables = world.tables();
    let notes = &mut tables.notes;
    if is_there && !has_at(&stored, delta.position, &delta.text) {
        wrong.push(format!("draft {id} shows {:?} at {}, and {stored:?} is stored", delta.text, delta.position));
    }
    let reply = notes.replies.get(&id);
    let is_reply =
        |reply: &StoredReply| (&reply.channel, reply.reply_to, Some(reply.seq)) == (channel, delta.reply_to, delta.seq);
    let names_reply = delta.status == DraftStatus::Done || delta.seq.is_some();
    if names_reply && !reply.is_some_and(is_reply) {
        wrong.push(format!("draft {id} is {:?} as {:?}, and its reply is {reply:?}", delta.status, delta.seq));
    }
    if is_there && !delta.text.is_empty() {
        let drafts = notes.drafts_of.entry((channel.clone(), delta.reply_to)).or_default();
        drafts.insert(id.clone());
        if world.continues && drafts.len() > 1 {
            wrong.push(format!("message {} of {channel} has the drafts {drafts:?}", delta.reply_to));
        }
    }
    // A deleted channel stores nothing, and some of its last frames may still be pushed.
    let known = notes.drafts.get(&id).map(|draft| draft.text.as_str()).unwrap_or_default();
    let text = if is_there { stored } else { known.chars().take(delta.position).chain(delta.text.chars()).collect() };
    wrong.extend(keep(notes, channel, id, text));
    drop(tables);
    for wrong in wrong {
        world.violation(wrong);
    }
}

/// Records the text with which a worker continues a draft.
pub(crate) fn resumed(world: &World, channel: &ChannelKey, draft_id: MessageId, text: &str) {
    let wrong = keep(&mut world.tables().notes, channel, draft_id.to_string(), text.to_owned());
    if let Some(wrong) = wrong {
        world.violation(wrong);
    }
}

/// Records the stored text of a draft. Returns a message if it does not continue the text before.
fn keep(notes: &mut Notes, channel: &ChannelKey, id: String, text: String) -> Option<String> {
    let known = notes.drafts.get(&id).map(|draft| draft.text.clone()).unwrap_or_default();
    if known.starts_with(&text) {
        notes.drafts.entry(id).or_insert(ShownDraft { channel: channel.clone(), text: known });
        return None;
    }
    let wrong = (!text.starts_with(&known)).then(|| format!("draft {id} had {known:?}, and has {text:?}"));
    notes.drafts.insert(id, ShownDraft { channel: channel.clone(), text });
    wrong
}

/// Returns why a pushed frame of a draft shows text that is not stored, or `None`.
pub(super) fn unstored(notes: &Notes, frame: &Value) -> Option<String> {
    let id = frame["draft_id"].as_str()?;
    let position = usize::try_from(frame["position"].as_u64()?).ok()?;
    let (text, stored) = (frame["text"].as_str()?, notes.drafts.get(id).map(|draft| draft.text.as_str()));
    let is_stored = has_at(stored.unwrap_or_default(), position, text);
    (!is_stored).then(|| format!("a frame of draft {id} shows {text:?} at {position}, and {stored:?} is stored"))
}

/// Checks the text of a draft that a client holds after a frame.
pub(crate) fn held(world: &World, id: &str, text: &str, is_end: bool) {
    let wrong = {
        let tables = world.tables();
        let stored = tables.notes.drafts.get(id).map(|draft| draft.text.as_str()).unwrap_or_default();
        let reply = tables.notes.replies.get(id).map(|reply| reply.content.as_str());
        let read = tables.notes.read_drafts.get(id).is_some_and(|read| read.starts_with(text));
        let is_right = (read || stored.starts_with(text)) && (!is_end || reply == Some(text));
        (!is_right).then(|| format!("a client holds {text:?} of draft {id}, of {stored:?}; its reply is {reply:?}"))
    };
    if let Some(wrong) = wrong {
        world.violation(wrong);
    }
}

/// Checks the progress of a reply that a client read. `text` is that of the draft, or of the stored reply, which users
/// may have changed. A text of a draft is stored, and may not have been shown yet.
pub(crate) fn progressed(world: &World, id: Option<&str>, text: &str, position: usize, reply: Option<Seq>) {
    let wrong = {
        let mut tables = world.tables();
        let notes = &mut tables.notes;
        let draft = id.and_then(|id| notes.drafts.get(id)).map(|draft| draft.text.as_str());
        let stored = id.and_then(|id| notes.replies.get(id)).filter(|stored| Some(stored.seq) == reply);
        let is_right = match (stored, draft) {
            _ if text.chars().count() != position => false,
            (Some(stored), _) => {
                let versions = notes.states.get(&(stored.channel.clone(), stored.seq));
                versions.into_iter().flatten().any(|(_, version)| version.state.content == text)
            }
            (None, Some(draft)) if reply.is_none() => draft.starts_with(text) || text.starts_with(draft),
            _ => true,
        };
        let wrong =
            (!is_right).then(|| format!("the progress of draft {id:?} is {text:?} up to {position}, of {draft:?}"));
        if let Some(id) = id.filter(|_| stored.is_none() && reply.is_none() && wrong.is_none()) {
            let read = notes.read_drafts.entry(id.to_owned()).or_default();
            if text.starts_with(read.as_str()) {
                text.clone_into(read);
            }
        }
        wrong
    };
    if let Some(wrong) = wrong {
        world.violation(wrong);
    }
}

/// Returns whether `whole` has `text` after so many characters.
fn has_at(whole: &str, position: usize, text: &str) -> bool {
    whole.chars().skip(position).take(text.chars().count()).eq(text.chars())
}
