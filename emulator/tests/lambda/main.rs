//! The local Lambda with real processes: `examples/probe_function.rs` is the function.
//!
//! A binary of its own, because it starts processes. A new process holds all open files of its parent until it executes
//! its program. In one process with the tests of the database, it would keep their locked data directories locked.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fidelity;
mod probe;
mod quotas;

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use emulator::lambda::{FunctionError, Invoke, InvokeError, Lambda, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use futures::{FutureExt, future::join_all, poll};
use serde_json::json;

use crate::probe::{Meeting, Probe, event, failure, json_of};

/// Timeout of a function that hangs. A function that does not hang ends within it, also on a busy machine.
const HANGING: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_environment_is_reused() {
    // One environment only: a caller may come before the environment polls again, and would get another one.
    let lambda = Probe::default().concurrency(1).start();
    let first = json_of(lambda.invoke("probe", event(json!({ "n": 1 }))).await);
    let second = json_of(lambda.invoke("probe", event(json!({ "n": 2 }))).await);
    assert_eq!((&first["event"]["n"], &second["event"]["n"]), (&json!(1), &json!(2)));
    assert_eq!((&first["invocation"], &second["invocation"]), (&json!(1), &json!(2)));
    assert_eq!(first["pid"], second["pid"]);
    assert_ne!(first["request_id"], second["request_id"]);
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_function_sees_what_lambda_shows_it() {
    let probe = Probe::default().variable("TABLE", "chat").added("AWS_ACCESS_KEY_ID", "local");
    let lambda = probe.start();
    let invocation = lambda.invoke("probe", event(json!({}))).await.unwrap();
    let request_id = invocation.request_id.clone();
    let seen = json_of(Ok(invocation));
    assert_eq!(seen["request_id"], request_id);
    assert_eq!(seen["arn"], probe::ARN);
    assert!(seen["trace_id"].as_str().unwrap().starts_with("Root=1-"), "{seen}");
    let remaining = seen["remaining_ms"].as_u64().unwrap();
    assert!(remaining > 0 && remaining <= 30_000, "{remaining}");

    let variables = json_of(lambda.invoke("probe", event(json!({ "do": "environment" }))).await);
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "probe"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/probe"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("TZ", ":UTC"),
        ("_HANDLER", "probe_function"),
        ("TABLE", "chat"),
        ("AWS_ACCESS_KEY_ID", "probe"),
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
    assert!(variables.get("HOME").is_none() && variables.get("CARGO").is_none(), "{variables}");
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_function_goes_by_name_and_arn() {
    let lambda = Probe::default().start();
    for name in ["probe", "probe:$LATEST", probe::ARN, "123456789012:function:probe"] {
        json_of(lambda.invoke(name, event(json!({}))).await);
    }
    for name in ["prob", "function:probe", "probe:3", "210987654321:function:probe"] {
        assert_eq!(lambda.invoke(name, event(json!({}))).await.unwrap_err(), InvokeError::UnknownFunction(name.into()));
    }
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_function_error_leaves_the_environment() {
    let lambda = Probe::default().concurrency(1).start();
    let pid = json_of(lambda.invoke("probe", event(json!({}))).await)["pid"].clone();
    let error = failure(lambda.invoke("probe", event(json!({ "do": "fail", "message": "no such channel" }))).await);
    assert_eq!(error.message, "no such channel");
    let panic = failure(lambda.invoke("probe", event(json!({ "do": "panic" }))).await);
    assert!(panic.message.contains("as told"), "{panic:?}");
    assert_eq!(json_of(lambda.invoke("probe", event(json!({}))).await)["pid"], pid);
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_crash_fails_its_invocation_only() {
    // One environment: one that has responded but not polled yet must not be skipped for another.
    let lambda = Probe::default().concurrency(1).start();
    let pid = json_of(lambda.invoke("probe", event(json!({}))).await)["pid"].clone();
    let invocation = lambda.invoke("probe", event(json!({ "do": "exit" }))).await.unwrap();
    let id = invocation.request_id.clone();
    assert_eq!(
        failure(Ok(invocation)),
        FunctionError {
            error_type: "Runtime.ExitError".into(),
            message: format!("RequestId: {id} Error: Runtime exited with error: exit status 7"),
        }
    );
    assert_ne!(json_of(lambda.invoke("probe", event(json!({}))).await)["pid"], pid);
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_killed_function_is_replaced() {
    let lambda = Probe::default().concurrency(1).start();
    let meeting = Meeting::new().await;
    let busy = tokio::spawn(lambda.invoke("probe", meeting.event("busy")));
    let mut waiting = lambda.invoke("probe", event(json!({})));
    let guest = meeting.next().await;
    assert!(poll!(&mut waiting).is_pending());
    probe::kill(guest.process);
    assert!(failure(busy.await.unwrap()).message.ends_with("signal: killed"));
    json_of(waiting.await);
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn an_idle_environment_that_was_killed_is_not_used() {
    let lambda = Probe::default().start();
    let witness = Meeting::new().await;
    let pid = json_of(lambda.invoke("probe", witness.hold(false)).await)["pid"].clone();
    probe::kill(witness.next().await.process);
    // The runner detects the exit at any time: before, while or after it sends the next event.
    loop {
        let invocation = lambda.invoke("probe", event(json!({}))).await.unwrap();
        if let Ok(answer) = invocation.outcome {
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
            assert_ne!(answer["pid"], pid);
            break;
        }
    }
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_hanging_function_is_killed_and_replaced() {
    let witness = Meeting::new().await;
    let lambda = Probe::default().concurrency(1).timeout(HANGING).start();
    let invocation = lambda.invoke("probe", witness.hold(true)).await.unwrap();
    let id = invocation.request_id.clone();
    assert_eq!(
        failure(Ok(invocation)),
        FunctionError {
            error_type: "Sandbox.Timedout".into(),
            message: format!("RequestId: {id} Error: Task timed out after 5.00 seconds"),
        }
    );
    witness.next().await.gone().await;
    assert_eq!(json_of(lambda.invoke("probe", event(json!({}))).await)["invocation"], 1);
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn failed_starts_fail_one_invocation_each() {
    for (init, kind, message) in [
        ("exit", "Runtime.ExitError", "Error: Runtime exited with error: exit status 3"),
        ("error", "Probe.NoConfiguration", "nothing works"),
        ("hang", "Sandbox.Timedout", "Error: Task timed out after 1.00 seconds"),
    ] {
        let probe = Probe::default().variable("PROBE_INIT", init);
        // The others fail by themselves, in their own time.
        let lambda = if init == "hang" { probe.init_timeout(Duration::from_secs(1)) } else { probe }.start();
        for attempt in 0..2 {
            let error = failure(lambda.invoke("probe", event(json!({}))).await);
            assert_eq!(error.error_type, kind, "{init} {attempt}");
            assert!(error.message.ends_with(message), "{init} {attempt}: {error}");
        }
        let many = join_all((0..5).map(|_| lambda.invoke("probe", event(json!({}))))).await;
        assert!(many.into_iter().all(|one| failure(one).error_type == kind));
        lambda.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn a_binary_that_cannot_start_is_an_error() {
    let lambda = Probe::default().binary("/dev/null".into()).start();
    let error = failure(lambda.invoke("probe", event(json!({}))).await);
    assert_eq!(error.error_type, "Runtime.InvalidEntrypoint");
    assert!(error.message.contains("/dev/null"), "{error}");
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn payloads_have_limits() {
    let lambda = Probe::default().start();
    // The two quotes belong to the JSON string.
    let fits = json!({ "do": "big", "bytes": MAX_RESPONSE_BYTES - 2 });
    assert_eq!(json_of(lambda.invoke("probe", event(fits)).await).as_str().unwrap().len(), MAX_RESPONSE_BYTES - 2);
    let error = failure(lambda.invoke("probe", event(json!({ "do": "big", "bytes": MAX_RESPONSE_BYTES - 1 }))).await);
    assert_eq!(error.error_type, "Function.ResponseSizeTooLarge");
    assert_eq!(error.message, "Response payload size exceeded maximum allowed payload size (6291556 bytes).");
    // The runtime client decides whether the process survives its rejected response; the function continues.
    assert!(json_of(lambda.invoke("probe", event(json!({}))).await)["invocation"].is_u64());

    let too_large = format!("\"{}\"", "x".repeat(MAX_REQUEST_BYTES));
    assert_eq!(
        lambda.invoke("probe", too_large.into()).await.unwrap_err(),
        InvokeError::PayloadTooLarge { size: MAX_REQUEST_BYTES + 2, limit: MAX_REQUEST_BYTES }
    );
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn concurrency_is_capped_and_the_queue_is_fair() {
    let meeting = Meeting::new().await;
    let lambda = Probe::default().concurrency(2).queue_capacity(3).start();
    let mut running: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| lambda.invoke("probe", meeting.event(name))).into();
    assert!(running[..2].iter_mut().all(|one| one.now_or_never().is_none()));
    let mut guests = vec![meeting.next().await, meeting.next().await];
    let names: BTreeSet<_> = guests.iter().map(|guest| guest.name.clone()).collect();
    assert_eq!(names, BTreeSet::from(["a".to_owned(), "b".to_owned()]));

    // A future runs up to the queue on its first poll.
    assert!(running[2..].iter_mut().all(|one| one.now_or_never().is_none()));
    assert_eq!(lambda.invoke("probe", event(json!({}))).await.unwrap_err(), InvokeError::Throttled);

    for expected in ["c", "d", "e"] {
        guests.remove(0).dismiss().await;
        let guest = meeting.next().await;
        assert_eq!(guest.name, expected);
        guests.push(guest);
    }
    for guest in guests {
        guest.dismiss().await;
    }
    let mut pids = BTreeSet::new();
    for one in running {
        pids.insert(json_of(one.await)["pid"].as_u64().unwrap());
    }
    assert_eq!(pids.len(), 2);
    lambda.shutdown(Duration::ZERO).await;
}

/// Maximum duration of a turn.
const TURN: Duration = Duration::from_millis(50);

#[tokio::test]
async fn as_many_invocations_as_processors_run_at_once_and_those_that_hang_keep_no_other_from_its_turn() {
    let turns = thread::available_parallelism().unwrap().get().max(2);
    let (lambda, meeting) = (Probe::default().concurrency(turns + 2).start(), Meeting::new().await);
    // In the first round the environments start.
    for _ in 0..2 {
        let began = Instant::now();
        for _ in 0..=turns {
            lambda.invoke_async("probe", meeting.event("hanging")).await.unwrap();
        }
        let mut guests = Vec::new();
        for _ in 0..=turns {
            guests.push(meeting.next().await);
        }
        assert!(began.elapsed() >= TURN, "the last one waits for a turn");
        let request = tokio::spawn(lambda.invoke("probe", meeting.event("request")));
        let guest = meeting.next().await;
        assert_eq!(guest.name, "request");
        for guest in guests.into_iter().chain([guest]) {
            guest.dismiss().await;
        }
        json_of(request.await.unwrap());
    }
    lambda.shutdown(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn no_concurrency_throttles() {
    let lambda = Probe::default().concurrency(0).start();
    assert_eq!(lambda.invoke("probe", event(json!({}))).await.unwrap_err(), InvokeError::Throttled);
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_invocations_from_many_tasks() {
    const INVOCATIONS: u64 = 500;
    const TASKS: u64 = 32;
    let lambda = Probe::default().concurrency(4).start();
    let tasks = (0..TASKS).map(|task| {
        let lambda = lambda.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for n in (task..INVOCATIONS).step_by(usize::try_from(TASKS).unwrap()) {
                let answer = json_of(lambda.invoke("probe", event(json!({ "n": n }))).await);
                assert_eq!(answer["event"]["n"], n);
                seen.push((answer["pid"].as_u64().unwrap(), answer["invocation"].as_u64().unwrap()));
            }
            seen
        })
    });
    let seen: Vec<_> = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(seen.len(), 500);
    // Each event ran once: no environment counted one twice.
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 500);
    assert!(seen.iter().map(|(pid, _)| pid).collect::<BTreeSet<_>>().len() <= 4);
    lambda.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn shutdown_lets_the_busy_finish_and_refuses_the_rest() {
    let meeting = Meeting::new().await;
    let witness = Meeting::new().await;
    let lambda = Probe::default().concurrency(1).start();
    json_of(lambda.invoke("probe", witness.hold(false)).await);
    let held = witness.next().await;
    let busy = tokio::spawn(lambda.invoke("probe", meeting.event("busy")));
    let guest = meeting.next().await;
    let mut waiting = lambda.invoke("probe", event(json!({})));
    assert!(poll!(&mut waiting).is_pending());

    let stopping = tokio::spawn({
        let lambda = lambda.clone();
        async move { lambda.shutdown(Duration::from_mins(1)).await }
    });
    assert_eq!(waiting.await.unwrap_err(), InvokeError::Stopping);
    assert_eq!(lambda.invoke("probe", event(json!({}))).await.unwrap_err(), InvokeError::Stopping);
    guest.dismiss().await;
    json_of(busy.await.unwrap());
    stopping.await.unwrap();
    held.gone().await;
}

#[tokio::test]
async fn shutdown_kills_what_does_not_finish() {
    let witness = Meeting::new().await;
    let lambda = Probe::default().start();
    let busy = tokio::spawn(lambda.invoke("probe", witness.hold(true)));
    let held = witness.next().await;
    lambda.shutdown(Duration::ZERO).await;
    assert_eq!(busy.await.unwrap().unwrap_err(), InvokeError::Stopping);
    held.gone().await;
}

#[tokio::test]
async fn a_graceful_function_is_told_to_end() {
    let witness = Meeting::new().await;
    let lambda =
        Probe::default().variable("PROBE_GRACEFUL", &witness.address()).shutdown_phase(Duration::from_secs(30)).start();
    json_of(lambda.invoke("probe", event(json!({}))).await);
    let (goodbye, ()) = tokio::join!(witness.next(), lambda.shutdown(Duration::from_secs(30)));
    assert_eq!(goodbye.name, "goodbye");
}

#[tokio::test]
async fn the_environments_of_a_dead_guardian_are_replaced() {
    let lambda = Probe::default().start();
    let witness = Meeting::new().await;
    json_of(lambda.invoke("probe", witness.hold(false)).await);
    let held = witness.next().await;
    probe::kill(held.guardian());
    held.gone().await;
    // The runner detects the exit at any time, so the next event may still go to the dead process.
    loop {
        let invocation = lambda.invoke("probe", event(json!({}))).await.unwrap();
        if let Ok(answer) = invocation.outcome {
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["invocation"], 1);
            break;
        }
    }
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_function_without_binary_is_named() {
    let mut config = Probe::default().config();
    config.binaries.clear();
    let message = Lambda::new(config).unwrap_err().to_string();
    assert!(message.contains("probe_function"), "{message}");
}

#[tokio::test]
async fn a_caller_has_its_answer_while_an_extension_still_works() {
    let meeting = Meeting::new().await;
    let lambda = Probe::default().variable("PROBE_EXTENSION", &meeting.address()).concurrency(1).start();
    let invocation = lambda.invoke("probe", event(json!({}))).await.unwrap();
    let request_id = invocation.request_id.clone();
    let first = json_of(Ok(invocation));
    // The response has arrived, but the extension is not finished: the only environment is busy.
    let guest = meeting.next().await;
    assert_eq!(guest.name, request_id);
    let mut second = lambda.invoke("probe", event(json!({})));
    assert!(poll!(&mut second).is_pending());
    guest.dismiss().await;
    let second = json_of(second.await);
    assert_eq!((&second["pid"], &second["invocation"]), (&first["pid"], &json!(2)));
    meeting.next().await.dismiss().await;
    lambda.shutdown(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn who_would_wait_for_a_slow_extension_gets_another_environment() {
    let meeting = Meeting::new().await;
    let lambda = Probe::default().variable("PROBE_EXTENSION", &meeting.address()).concurrency(2).start();
    let first = json_of(lambda.invoke("probe", event(json!({}))).await);
    let slow = meeting.next().await;
    let second = json_of(lambda.invoke("probe", event(json!({}))).await);
    assert_ne!(second["pid"], first["pid"]);
    slow.dismiss().await;
    meeting.next().await.dismiss().await;
    lambda.shutdown(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn an_extension_that_fails_takes_its_environment_along() {
    let meeting = Meeting::new().await;
    let lambda = Probe::default().variable("PROBE_EXTENSION", &meeting.address()).concurrency(1).start();
    let first = json_of(lambda.invoke("probe", event(json!({}))).await);
    meeting.next().await.fail().await;
    let second = json_of(lambda.invoke("probe", event(json!({}))).await);
    assert_ne!(second["pid"], first["pid"]);
    meeting.next().await.dismiss().await;
    lambda.shutdown(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn an_extension_that_never_ends_is_killed_with_its_function() {
    let meeting = Meeting::new().await;
    let lambda =
        Probe::default().variable("PROBE_EXTENSION", &meeting.address()).concurrency(1).timeout(HANGING).start();
    let first = json_of(lambda.invoke("probe", event(json!({}))).await);
    let guest = meeting.next().await;
    let second = tokio::spawn(lambda.invoke("probe", event(json!({}))));
    guest.gone().await;
    meeting.next().await.dismiss().await;
    assert_ne!(json_of(second.await.unwrap())["pid"], first["pid"]);
    lambda.shutdown(Duration::from_secs(30)).await;
}
