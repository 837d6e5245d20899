//! Rules of a channel's settings, and their merge patch.

use super::*;
use crate::testing::{TestClock, TestStore};

fn of_agent(agent: AgentChanges) -> Vec<String> {
    let violations = Changes { agent, ..Changes::default() }.check();
    violations.into_iter().map(|violation| violation.field).collect()
}

#[test]
fn a_model_is_named_in_characters_and_instructions_are_counted_in_bytes() {
    let named = |model: String| of_agent(AgentChanges { model: Patch::Set(model), ..AgentChanges::default() });
    let told = |text: String| of_agent(AgentChanges { instructions: Patch::Set(text), ..AgentChanges::default() });
    assert_eq!(named("𝐓".repeat(AGENT_MODEL_CHARS)), [""; 0]);
    for model in [String::new(), "𝐓".repeat(AGENT_MODEL_CHARS + 1)] {
        assert_eq!(named(model), ["agent.model"]);
    }
    assert_eq!(told("é".repeat(AGENT_INSTRUCTIONS_BYTES / 2)), [""; 0]);
    assert_eq!(told("é".repeat(AGENT_INSTRUCTIONS_BYTES / 2) + "e"), ["agent.instructions"]);
    let removed = AgentChanges { instructions: Patch::Remove, model: Patch::Remove, mode: None };
    assert_eq!(of_agent(removed), [""; 0]);
}

/// Returns a channel in which each setting has a value that is not its default.
fn set_channel() -> Channel {
    let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
    let found = store.state().channels.values().next().cloned().unwrap();
    let (instructions, model) = (Instructions::Text("be brief".to_owned()), Some("m".to_owned()));
    Channel {
        agent: AgentSettings { mode: AgentMode::Off, instructions, model },
        read_receipts: true,
        retention_days: Some(7),
        archived_at: Some(found.created_at),
        ..found
    }
}

#[test]
fn a_patch_changes_only_what_it_names() {
    let (before, clock) = (set_channel(), TestClock::new(1));
    let with = |change: fn(&mut Channel)| {
        let mut changed = before.clone();
        change(&mut changed);
        changed
    };
    let of_agent = |agent: AgentChanges| Changes { agent, ..Changes::default() };
    let text = |text: &str| Patch::Set(text.to_owned());
    for (changes, expected) in [
        (Changes::default(), with(|_| {})),
        (Changes { name: Some("n".to_owned()), ..Changes::default() }, with(|channel| channel.name = "n".to_owned())),
        (
            Changes { visibility: Some(Visibility::Private), ..Changes::default() },
            with(|channel| channel.visibility = Visibility::Private),
        ),
        (
            of_agent(AgentChanges { mode: Some(AgentMode::Mention), ..AgentChanges::default() }),
            with(|channel| channel.agent.mode = AgentMode::Mention),
        ),
        // An agent that is off stays off.
        (
            of_agent(AgentChanges { instructions: text("rhyme"), ..AgentChanges::default() }),
            with(|channel| channel.agent.instructions = Instructions::Text("rhyme".to_owned())),
        ),
        (
            of_agent(AgentChanges { instructions: Patch::Remove, ..AgentChanges::default() }),
            with(|channel| channel.agent.instructions = Instructions::None),
        ),
        (
            of_agent(AgentChanges { model: text("other"), ..AgentChanges::default() }),
            with(|channel| channel.agent.model = Some("other".to_owned())),
        ),
        (
            of_agent(AgentChanges { model: Patch::Remove, ..AgentChanges::default() }),
            with(|channel| channel.agent.model = None),
        ),
        (Changes { read_receipts: Some(false), ..Changes::default() }, with(|channel| channel.read_receipts = false)),
        (
            Changes { retention_days: Patch::Remove, ..Changes::default() },
            with(|channel| channel.retention_days = None),
        ),
        (
            Changes { retention_days: Patch::Set(30), ..Changes::default() },
            with(|channel| channel.retention_days = Some(30)),
        ),
        (Changes { archived: Some(true), ..Changes::default() }, with(|_| {})),
        (Changes { archived: Some(false), ..Changes::default() }, with(|channel| channel.archived_at = None)),
    ] {
        assert_eq!(changes.apply(&before, &clock), expected, "{changes:?}");
    }
}
