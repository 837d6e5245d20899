//! The simulated language model.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use chat::ports::language_model::{LanguageModel, ModelError, Piece, Pieces, Prompt};
use futures::{StreamExt, stream};

use crate::{
    mutant::Mutant,
    node::Node,
    world::{PUBLIC, World, channel, question},
};

impl LanguageModel for Node {
    async fn reply(&self, prompt: Prompt) -> Result<Pieces, ModelError> {
        let world = Arc::clone(&self.world);
        world.time.turn().await;
        let asked = prompt.turns.last().map(|turn| turn.text.clone()).unwrap_or_default();
        let question = question(&world, &channel(PUBLIC), &asked);
        if let Some(question) = &question {
            *world.tables().notes.calls.entry(question.clone()).or_default() += 1;
        }
        let failed = |world: &World, error: ModelError| {
            if let Some(question) = &question {
                *world.tables().notes.disturbances.entry(question.clone()).or_default() += 1;
            }
            error
        };
        if world.time.inject_fault(8) {
            let retry_after = world.time.one_in(2).then(|| Duration::from_secs(world.time.below(5)));
            return Err(failed(&world, ModelError::Busy { retry_after }));
        }
        let words = words(&world, prompt.prefix.as_deref());
        let breaks =
            world.time.inject_fault(8).then(|| failed(&world, ModelError::Unavailable("it broke off".to_owned())));
        let pieces = stream::unfold((words, breaks), move |(mut words, breaks)| {
            let world = Arc::clone(&world);
            async move {
                let wait = if world.time.one_in(6) { 1_500 } else { 120 };
                let wait = world.time.below(wait);
                world.time.sleep(Duration::from_millis(wait)).await;
                match breaks {
                    // The last word is not said.
                    Some(error) if words.len() <= 1 => Some((Err(error), (VecDeque::new(), None))),
                    breaks => words.pop_front().map(|word| (Ok(Piece::Text(word)), (words, breaks))),
                }
            }
        });
        Ok(pieces.boxed())
    }

    fn continues(&self, _: Option<&str>) -> bool {
        self.world.continues && !self.world.has(Mutant::DraftAbandoned)
    }

    fn name(&self, _: Option<&str>) -> String {
        "simulated".to_owned()
    }
}

/// Returns the words that follow a prefix. A model that continues replies says exactly the rest of
/// [`World::whole_reply`]. Another one says something else in each call.
fn words(world: &World, prefix: Option<&str>) -> VecDeque<String> {
    if !world.continues {
        if prefix.is_some() {
            world.violation("a model that continues no reply gets a prefix".to_owned());
        }
        let (call, count) = (world.time.below(1_000), 1 + world.time.below(3));
        return (1..=count).map(|number| format!("wörd{call}.{number} ")).collect();
    }
    let whole = world.whole_reply();
    let prefix = prefix.filter(|_| !world.has(Mutant::WordsRepeated)).unwrap_or_default();
    let rest = whole.strip_prefix(prefix).unwrap_or(&whole);
    rest.split_inclusive(' ').map(str::to_owned).collect()
}
