//! Instructions of an agent, which are read beside their channel.

use super::*;
use crate::{
    app::channels::{AgentChanges, Changes, ChosenChannelIds, Created, CreationRules},
    memory::Call,
    model::{channel::Instructions, patch::Patch},
    testing::Before,
};

fn told(text: &str) -> Instructions {
    Instructions::Text(text.to_owned())
}

fn telling(instructions: Patch<String>) -> Changes {
    Changes { agent: AgentChanges { instructions, ..AgentChanges::default() }, ..Changes::default() }
}

#[test]
fn a_repeated_creation_and_a_change_of_settings_show_the_instructions() {
    run(async {
        let world = World::new(1, Visibility::Private);
        let (membership, bob) = (world.membership(), USER.parse::<UserId>().unwrap());
        let rules = CreationRules { chosen_ids: ChosenChannelIds::Any, channels_per_user: 9 };
        let mut new = invited::room(Some("told"), Visibility::Public);
        new.agent.instructions = told("be brief");
        let create = async || membership.create_channel(&bob, new.clone(), Some("k".parse().unwrap()), rules).await;
        assert!(matches!(create().await, Ok(Created::New { .. })));
        let Ok(Created::Replayed(again)) = create().await else { panic!("it is not the same channel") };
        assert_eq!(again.agent.instructions, told("be brief"));

        let id = "told".parse().unwrap();
        let renaming = Changes { name: Some("Other".to_owned()), ..Changes::default() };
        for (changes, instructions, version) in [
            (renaming, told("be brief"), 2),
            (telling(Patch::Set("be brief".to_owned())), told("be brief"), 2),
            (telling(Patch::Set("rhyme".to_owned())), told("rhyme"), 3),
            (telling(Patch::Remove), Instructions::None, 4),
            (telling(Patch::Remove), Instructions::None, 4),
        ] {
            let (changed, _) = membership.change_channel(&id, &bob, None, &changes).await.unwrap();
            assert_eq!((changed.agent.instructions, changed.version), (instructions, version), "{changes:?}");
        }
    });
}

/// A change that would change nothing is decided on the instructions and the settings of one version.
#[test]
fn instructions_of_a_later_version_do_not_make_a_change_look_done() {
    run(async {
        let world = World::new(1, Visibility::Private);
        let alice: UserId = "alice".parse().unwrap();
        let set = |name: &str, text: &str, version: u64| {
            let mut state = world.store.state();
            let channel = state.channels.values_mut().next().unwrap();
            (channel.name, channel.agent.instructions, channel.version) = (name.to_owned(), told(text), version);
        };
        set("one", "be brief", 1);
        let racing = world.store.through(Before::new(Call::Instructions, || set("two", "rhyme", 2)));
        let Membership { sockets, fan_out, clock, deadline, .. } = world.membership();
        let membership = Membership { channels: &racing, connections: &racing, sockets, fan_out, clock, deadline };
        let changes = Changes { name: Some("one".to_owned()), ..telling(Patch::Set("rhyme".to_owned())) };
        let (changed, _) = membership.change_channel(&CHANNEL.parse().unwrap(), &alice, None, &changes).await.unwrap();
        assert_eq!((changed.name.as_str(), &changed.agent.instructions, changed.version), ("one", &told("rhyme"), 3));
        assert_eq!(world.store.state().channels.values().next(), Some(&changed));
    });
}
