//! Limits of the frames that a client sends on its own socket, which only receives.
//!
//! Each frame that API Gateway takes is an invocation. A socket has two buckets. [`FRAME_BUCKET`] limits the answers,
//! and [`FRAME_FLOOD_BUCKET`] limits the accepted frames. Both are kept in memory, so a frame costs no call of a store.
//! The limit holds per execution environment of the function; its concurrency limits the number of environments.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    app::closing::push_last_frames,
    model::{
        connection::ConnectionKey,
        error::StoreError,
        frame::{Answer, ClosingReason, closing_frame},
        limits::{FRAME_BUCKET, FRAME_FLOOD_BUCKET, SOCKETS_WITH_BUDGETS},
        time::Timestamp,
    },
    ports::{clock::Clock, socket_gateway::SocketGateway},
};

/// Reaction to a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Answer it.
    Answer,
    /// Send no answer.
    Ignore,
    /// Close the socket.
    Close {
        /// `true` if an earlier frame closed it.
        again: bool,
    },
}

/// Times at which the buckets of a socket are full.
#[derive(Debug, Clone, Copy)]
struct Budget {
    answers: Timestamp,
    frames: Timestamp,
    /// `true` after a frame that closes the socket.
    is_closing: bool,
}

impl Budget {
    fn is_full(&self, now: Timestamp) -> bool {
        self.answers <= now && self.frames <= now
    }
}

/// The budgets of up to [`SOCKETS_WITH_BUDGETS`] sockets.
#[derive(Debug, Default)]
pub struct FrameBudgets {
    sockets: Mutex<HashMap<ConnectionKey, Budget>>,
}

impl FrameBudgets {
    /// Returns the answer to a frame that a socket has sent. Within the limit of accepted frames a frame may get no
    /// answer. Beyond it the socket is closed, after a frame that gives the reason. Only the first frame beyond the
    /// limit pushes that, so that a flood does not cost two calls for each of its frames.
    ///
    /// # Errors
    /// When the gateway cannot close the socket.
    pub async fn answer(
        &self,
        sockets: &impl SocketGateway,
        clock: &impl Clock,
        connection: &ConnectionKey,
        frame: &str,
    ) -> Result<Option<Answer>, StoreError> {
        match self.take(connection, clock.now()) {
            Verdict::Answer => return Ok(Some(Answer::to(frame, &connection.id))),
            Verdict::Ignore => {}
            Verdict::Close { again } => {
                if !again {
                    let last = [closing_frame(ClosingReason::TooManyFrames)];
                    push_last_frames(sockets, clock, &connection.id, &last).await;
                }
                // `false` means that another invocation or the client closed it.
                if sockets.close(&connection.id).await? {
                    tracing::warn!(connection_id = %connection.id, "closed a socket that sent too many frames");
                }
            }
        }
        Ok(None)
    }

    /// Counts a frame that a socket sent at `now`.
    fn take(&self, connection: &ConnectionKey, now: Timestamp) -> Verdict {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if !sockets.contains_key(connection) && sockets.len() >= SOCKETS_WITH_BUDGETS {
            make_room(&mut sockets, now);
        }
        let budget =
            sockets.entry(connection.clone()).or_insert(Budget { answers: now, frames: now, is_closing: false });
        let Ok(frames) = FRAME_FLOOD_BUCKET.take(Some(budget.frames), now) else {
            return Verdict::Close { again: std::mem::replace(&mut budget.is_closing, true) };
        };
        budget.frames = frames;
        let Ok(answers) = FRAME_BUCKET.take(Some(budget.answers), now) else { return Verdict::Ignore };
        budget.answers = answers;
        Verdict::Answer
    }
}

/// Removes sockets whose buckets are full, since a new socket has full buckets. If there are none, removes the socket
/// that is closest to full.
fn make_room(sockets: &mut HashMap<ConnectionKey, Budget>, now: Timestamp) {
    sockets.retain(|_, budget| !budget.is_full(now));
    if sockets.len() >= SOCKETS_WITH_BUDGETS {
        let calmest = sockets.iter().min_by_key(|(_, budget)| budget.frames).map(|(socket, _)| socket.clone());
        if let Some(calmest) = calmest {
            sockets.remove(&calmest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{model::id::ConnectionId, ports::socket_gateway::Pushed, testing::TestClock};

    /// Gateway that records its calls.
    #[derive(Default)]
    struct Gateway(Mutex<Vec<String>>);

    impl Gateway {
        fn note(&self, call: String) {
            self.0.lock().unwrap().push(call);
        }
    }

    impl SocketGateway for Gateway {
        async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
            self.note(format!("push to {id}: {frame}"));
            Ok(Pushed::Delivered)
        }

        async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
            unreachable!("the socket has just sent a frame")
        }

        async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
            self.note(format!("close {id}"));
            Ok(true)
        }
    }

    #[tokio::test]
    async fn the_client_of_a_flood_is_told_once_before_its_socket_is_closed() {
        let (budgets, gateway, clock) = (FrameBudgets::default(), Gateway::default(), TestClock::new(1));
        let socket = socket("flood=", clock.now());
        for _ in 0..FRAME_FLOOD_BUCKET.burst + 2 {
            budgets.answer(&gateway, &clock, &socket, "ping").await.unwrap();
        }
        let last = closing_frame(ClosingReason::TooManyFrames);
        let expected = [format!("push to flood=: {last}"), "close flood=".to_owned(), "close flood=".to_owned()];
        assert_eq!(*gateway.0.lock().unwrap(), expected);
    }

    const START: i64 = 1_800_000_000;

    fn socket(id: &str, connected_at: Timestamp) -> ConnectionKey {
        ConnectionKey { id: id.parse().unwrap(), connected_at }
    }

    fn count(verdicts: &[Verdict], wanted: Verdict) -> usize {
        verdicts.iter().filter(|verdict| **verdict == wanted).count()
    }

    #[test]
    fn a_flood_is_answered_up_to_its_budget_then_ignored_then_closed() {
        let (budgets, start) = (FrameBudgets::default(), Timestamp::from_secs(START));
        let verdicts: Vec<Verdict> = (0..1_000).map(|_| budgets.take(&socket("flood=", start), start)).collect();
        assert_eq!(count(&verdicts, Verdict::Answer), FRAME_BUCKET.burst as usize);
        assert_eq!(count(&verdicts, Verdict::Ignore), (FRAME_FLOOD_BUCKET.burst - FRAME_BUCKET.burst) as usize);
        let beyond = &verdicts[FRAME_FLOOD_BUCKET.burst as usize..];
        assert_eq!(beyond[0], Verdict::Close { again: false });
        assert!(beyond[1..].iter().all(|verdict| *verdict == Verdict::Close { again: true }));
        assert_eq!(budgets.take(&socket("other=", start), start), Verdict::Answer, "each socket has its own");
        let reopened = start.plus(Duration::from_secs(1));
        assert_eq!(
            budgets.take(&socket("flood=", reopened), reopened),
            Verdict::Answer,
            "an id that came again is another"
        );
    }

    #[test]
    fn a_socket_that_pings_as_often_as_it_may_is_answered_for_ever() {
        let budgets = FrameBudgets::default();
        let mut now = Timestamp::from_secs(START);
        for _ in 0..10_000 {
            assert_eq!(budgets.take(&socket("calm=", Timestamp::from_secs(START)), now), Verdict::Answer);
            now = now.plus(FRAME_BUCKET.every);
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_first_is_calm() {
        let (budgets, start) = (FrameBudgets::default(), Timestamp::from_secs(START));
        while budgets.take(&socket("flood=", start), start) != (Verdict::Close { again: false }) {}
        for number in 0..SOCKETS_WITH_BUDGETS + 500 {
            budgets.take(&socket(&format!("one{number}="), start), start);
        }
        assert_eq!(budgets.sockets.lock().unwrap().len(), SOCKETS_WITH_BUDGETS);
        assert_eq!(budgets.take(&socket("flood=", start), start), Verdict::Close { again: true });
        let later = start.plus(Duration::from_mins(10));
        budgets.take(&socket("late=", later), later);
        assert_eq!(budgets.sockets.lock().unwrap().len(), 1, "full buckets are forgotten together");
    }
}
