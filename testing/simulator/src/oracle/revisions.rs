//! Changes of messages: an edit changes the fields that its request names, at a version that it allows, and each change
//! adds one version.

use chat::{
    app::edit::Edit,
    memory::{Effect, State},
    model::{merge_patch::merge, message::Message, patch::Patch},
};
use serde_json::{Map, Value};

use crate::tables::{AskedEdit, Notes};

/// Returns why an edit by `process` loses another change of the message, or ignores the version that its request
/// requires, or `None`.
pub(super) fn lost(notes: &Notes, process: u64, effect: &Effect) -> Option<String> {
    let Effect::MessageRevised { before, after, .. } = effect else { return None };
    let (key, before, after) = (after.stored.channel(), &before.stored.message, &after.stored.message);
    if after.deleted_at.is_some() {
        return None;
    }
    let AskedEdit { condition, edit } = notes.edits.get(&process).cloned().unwrap_or_default();
    if condition.is_some_and(|condition| !condition.allows(before.version)) {
        return Some(format!(
            "message {} of {key} is edited at version {}, which is excluded",
            after.seq, before.version
        ));
    }
    let fields = [
        ("content", before.content == after.content || edit.content.as_ref() == Some(&after.content)),
        ("type", before.content_type == after.content_type || edit.content_type == Some(after.content_type)),
        ("metadata", patched(before, &edit) == after.metadata),
        ("reactions", before.reactions == after.reactions),
        ("agent's data", before.agent == after.agent),
    ];
    let (field, _) = fields.into_iter().find(|(_, is_kept)| !is_kept)?;
    Some(format!("message {} of {key} loses its {field} by an edit that does not name it", after.seq))
}

/// Returns the metadata of a message after an edit.
fn patched(before: &Message, edit: &Edit) -> Option<Map<String, Value>> {
    match &edit.metadata {
        Patch::Keep => before.metadata.clone(),
        Patch::Remove => None,
        Patch::Set(patch) => {
            let mut metadata = before.metadata.clone().unwrap_or_default();
            merge(&mut metadata, patch);
            Some(metadata)
        }
    }
}

/// Returns why the version of a changed message does not follow that of its state before, or `None`.
pub(super) fn misnumbered(state: &State, effect: &Effect) -> Option<String> {
    let (before, after) = match effect {
        Effect::MessageAppended { item, .. } => (0, item),
        Effect::MessageRevised { before, after, .. } => (before.stored.message.version, after),
        Effect::ReactionChanged { after, .. } => {
            let before = state.message(&after.stored.channel(), after.stored.message.seq);
            (before.map_or(0, |item| item.stored.message.version), after)
        }
        _ => return None,
    };
    let Message { seq, version, .. } = after.stored.message;
    let key = after.stored.channel();
    (version != before + 1).then(|| format!("message {seq} of {key} gets version {version} after {before}"))
}
