//! Records of the stream, by channel. A worker processes a channel's records in order. After a failure the stream
//! delivers the failed record and all later ones again.

use std::future::Future;

/// Passes records to `process` in order, each with the state that the previous one returned. Stops at the first record
/// for which `process` returns `None`: a failure. Returns that record's id.
pub async fn first_failed<Id, Event, State, Processed>(
    records: impl IntoIterator<Item = (Id, Event)>,
    mut state: State,
    mut process: impl FnMut(State, Event) -> Processed,
) -> Option<Id>
where
    Processed: Future<Output = Option<State>>,
{
    for (id, event) in records {
        match process(state, event).await {
            Some(next) => state = next,
            None => return Some(id),
        }
    }
    None
}

/// Joins records that are processed and fail together, under the id of the first. Returns `None` without records.
#[must_use]
pub fn joined<Id, Event>(records: Vec<(Id, Event)>) -> Option<(Id, Vec<Event>)> {
    let (ids, events): (Vec<Id>, Vec<Event>) = records.into_iter().unzip();
    Some((ids.into_iter().next()?, events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_ends_a_channel_and_is_its_result() {
        let records = [("a", 1), ("b", 2), ("c", 3), ("d", 4)];
        for (fails_from, failed, processed) in [(3, Some("c"), 3), (1, Some("a"), 1), (9, None, 4)] {
            let seen = std::sync::Mutex::new(Vec::new());
            let found = first_failed(records, 0, async |last, event| {
                assert_eq!(event, last + 1, "in order, with the state of the previous one");
                seen.lock().unwrap().push(event);
                (event < fails_from).then_some(event)
            });
            assert_eq!(found.await, failed);
            assert_eq!(seen.lock().unwrap().len(), processed);
        }
    }

    #[test]
    fn joined_records_have_the_id_of_the_first() {
        assert_eq!(joined(vec![("a", 1), ("b", 2)]), Some(("a", vec![1, 2])));
        assert_eq!(joined(Vec::<((), ())>::new()), None);
    }
}
