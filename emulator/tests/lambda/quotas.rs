//! Quotas of concurrent executions, with real processes.

use std::{num::NonZeroU32, time::Duration};

use emulator::{
    lambda::{Invoke, InvokeError},
    quotas::{Count, Limits, Quotas},
};
use serde_json::json;

use crate::probe::{Meeting, Probe, event, json_of};

fn concurrency(limit: u32) -> Quotas {
    Quotas::new(Limits { concurrency: NonZeroU32::new(limit), ..Limits::default() })
}

#[tokio::test]
async fn an_invocation_over_the_accounts_concurrency_is_throttled_and_does_not_wait() {
    let quotas = concurrency(1);
    let (lambda, meeting) = (Probe::default().quotas(quotas.clone()).start(), Meeting::new().await);
    let busy = tokio::spawn(lambda.invoke("probe", meeting.event("busy")));
    let guest = meeting.next().await;
    assert_eq!(lambda.invoke("probe", event(json!({}))).await.unwrap_err(), InvokeError::Throttled);
    guest.dismiss().await;
    json_of(busy.await.unwrap());
    json_of(lambda.invoke("probe", event(json!({}))).await);
    assert_eq!(quotas.report().invocations, Count { admitted: 2, refused: 1 });
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn reserved_concurrency_is_a_quota_too() {
    let (lambda, meeting) = (Probe::default().concurrency(1).quotas(concurrency(1_000)).start(), Meeting::new().await);
    let busy = tokio::spawn(lambda.invoke("probe", meeting.event("busy")));
    let guest = meeting.next().await;
    assert_eq!(lambda.invoke("probe", event(json!({}))).await.unwrap_err(), InvokeError::Throttled);
    guest.dismiss().await;
    json_of(busy.await.unwrap());
    lambda.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_throttled_asynchronous_invocation_runs_later() {
    let (lambda, meeting) = (Probe::default().quotas(concurrency(1)).start(), Meeting::new().await);
    let busy = tokio::spawn(lambda.invoke("probe", meeting.event("busy")));
    let guest = meeting.next().await;
    lambda.invoke_async("probe", meeting.event("later")).await.unwrap();
    guest.dismiss().await;
    json_of(busy.await.unwrap());
    // It is invoked again after the pause of a throttled attempt.
    let later = meeting.next().await;
    assert_eq!(later.name, "later");
    later.dismiss().await;
    lambda.shutdown(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn a_caller_that_has_its_response_may_invoke_again() {
    let quotas = concurrency(1);
    let lambda = Probe::default().quotas(quotas.clone()).start();
    for _ in 0..20 {
        json_of(lambda.invoke("probe", event(json!({}))).await);
    }
    assert_eq!(quotas.report().peak_concurrency, 1);
    lambda.shutdown(Duration::ZERO).await;
}
