//! A local run within the quotas of an account.

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::Stack;

impl Stack {
    /// Returns the counts of the run's quotas.
    async fn quotas(&self) -> Value {
        let response = self.http.get(format!("{}/quotas.json", self.address("page"))).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_fits_in_an_account_and_is_counted() {
    let stack = Stack::narrow(&["--quotas", "aws"]);
    stack.create_channel("alice", "narrow", "public", "off").await;
    for number in 0..5 {
        stack.send("alice", "narrow", &format!("message {number}")).await;
    }
    assert_eq!(stack.history("alice", "narrow").await.len(), 5);
    let quotas = stack.quotas().await;
    assert_eq!(quotas["limits"]["account-rate"], 10_000);
    assert_eq!(quotas["rest"]["refused"], 0);
    assert!(quotas["rest"]["admitted"].as_u64().unwrap() >= 8, "{quotas}");
    assert!(quotas["writes"]["consumed"].as_f64().unwrap() >= 5.0, "{quotas}");
    assert!(quotas["invocations"]["admitted"].as_u64().unwrap() >= 8, "{quotas}");
    assert!(!quotas["busiest"].as_array().unwrap().is_empty(), "{quotas}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_the_rate_get_the_apis_own_response() {
    let stack = Stack::narrow(&["--quota", "account-rate=1", "--quota", "account-burst=2"]);
    let mut refused = 0;
    for _ in 0..20 {
        let (status, body) = stack.ask("alice", Method::GET, "/channels", Value::Null).await;
        if status == 429 {
            assert_eq!(body["status"], json!(429), "{body}");
            refused += 1;
        }
    }
    assert!(refused > 0);
    assert_eq!(stack.quotas().await["rest"]["refused"], refused);
}
