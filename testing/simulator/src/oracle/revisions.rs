//! Edits: each changes the fields that its request names, so that no acknowledged edit is lost.

use chat::memory::Effect;

use crate::tables::Notes;

/// Returns why an edit by `process` loses another change of the message, or `None`.
pub(super) fn lost(notes: &Notes, process: u64, effect: &Effect) -> Option<String> {
    let Effect::MessageRevised { before, after } = effect else { return None };
    let (key, before, after) = (after.stored.channel(), &before.stored.message, &after.stored.message);
    if after.deleted_at.is_some() {
        return None;
    }
    let edit = notes.edits.get(&process).cloned().unwrap_or_default();
    let fields = [
        ("content", before.content == after.content || edit.content.as_ref() == Some(&after.content)),
        ("type", before.content_type == after.content_type || edit.content_type == Some(after.content_type)),
        ("metadata", before.metadata == after.metadata || edit.metadata.as_ref() == Some(&after.metadata)),
        ("reactions", before.reactions == after.reactions),
    ];
    let (field, _) = fields.into_iter().find(|(_, is_kept)| !is_kept)?;
    Some(format!("message {} of {key} loses its {field} by an edit that does not name it", after.seq))
}
