//! Messages that the model reads.

use super::*;
use crate::{
    model::{access::Authority, channel::Instructions, rev::ChangeNumber},
    ports::message_store::UpdateResult,
};

#[tokio::test(start_paused = true)]
async fn the_model_reads_what_messages_say_by_now_and_who_said_it() {
    let world = World::new([vec![Say("fine")]]).await;
    let revise = async |seq: u64, content: &str, deleted: bool| {
        let mut message = world.store.all()[usize::try_from(seq).unwrap() - 1].revised();
        message.content = content.to_owned();
        message.deleted_at = deleted.then(|| world.clock.now());
        let (rev, trace, expires_at) = (Rev::ZERO, None, None);
        let revised = StoredMessage { message, incarnation: incarnation(), rev, trace, expires_at };
        let (channel, last) = world.store.channel_with_rev(&"c".parse().unwrap()).await.unwrap().unwrap();
        let number = ChangeNumber { last, expires_at: world.clock.now().plus(Duration::from_hours(1)) };
        let by = Authority { channel: &channel, member: None };
        assert_eq!(world.store.update_message(&by, &revised, number).await.unwrap(), UpdateResult::Done);
    };
    world.ask("a secret").await;
    let question = world.ask("waht?").await;
    revise(1, "hello", false).await;
    revise(2, "", true).await;
    revise(3, "what?", false).await;
    world.agent().answer(&question, &mut None).await.unwrap();
    let prompt = world.model.prompts.lock().unwrap()[0].clone();
    let turns: Vec<_> = prompt.turns.iter().map(|turn| (turn.speaker.as_deref(), turn.text.as_str())).collect();
    assert_eq!(turns, [(Some("alice"), "hello"), (Some("alice"), "what?")]);

    let question = world.ask("never mind").await;
    revise(question.message.seq.get(), "", true).await;
    assert_eq!(world.agent().answer(&question, &mut None).await.unwrap(), ReplyOutcome::NotWanted);
    assert_eq!(world.model.calls(), 1, "a deleted message gets no reply");
}

#[tokio::test(start_paused = true)]
async fn the_model_reads_this_channel_up_to_the_question() {
    let world = World::new([vec![Say("first")], vec![Say("second")]]).await;
    world.answer().await.unwrap();
    let question = world.ask("and now?").await;
    world.ask("later").await;
    world.agent().answer(&question, &mut None).await.unwrap();
    let prompt = world.model.prompts.lock().unwrap()[1].clone();
    let turns: Vec<_> = prompt.turns.iter().map(|turn| (turn.speaker.as_deref(), turn.text.as_str())).collect();
    assert_eq!(turns, [(Some("alice"), "hi"), (None, "first"), (Some("alice"), "and now?")]);
}

#[tokio::test(start_paused = true)]
async fn the_model_reads_the_instructions_of_the_channel() {
    let world = World::new([vec![Say("first")], vec![Say("second")]]).await;
    let instruct = |text: Option<&str>| {
        let mut state = world.store.state();
        let instructions: Instructions = text.map(str::to_owned).into();
        state.channels.values_mut().for_each(|channel| channel.agent.instructions = instructions.clone());
    };
    for (number, text) in [Some("rhyme"), None].into_iter().enumerate() {
        instruct(text);
        let question = world.ask("go on").await;
        world.agent().answer(&question, &mut None).await.unwrap();
        let prompt = world.model.prompts.lock().unwrap()[number].clone();
        assert_eq!(prompt.instructions.as_deref(), text);
    }
}
