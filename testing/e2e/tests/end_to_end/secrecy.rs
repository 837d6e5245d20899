//! Search of logs, exports and stored data for every secret that the stack has processed.

use local::token::DEVELOPMENT_SECRET;
use serde_json::Value;
use switchboard_client::Method;

use crate::{
    attacks::routes,
    collector::Collector,
    stack::{COLLECTOR_KEY, Stack, claims_of, signed, token_of, until},
};

/// Returns the complete files below a folder.
fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_secret_is_said_or_kept() {
    let (data, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = logs.path().join("log");
    let collector = Collector::start().await;
    let stack = Stack::talkative(data.path(), &log, &collector.address);
    let good = token_of("alice");
    let bad = signed(&claims_of("mallory", -600), "another secret that is long enough for HS256 and more");
    let mut secrets = vec![("the shared secret", DEVELOPMENT_SECRET.to_owned())];
    for token in [&good, &bad] {
        for (method, path) in routes() {
            stack.bearing(token, method, &path).send().await.unwrap();
        }
        let header = format!("Bearer {token}");
        let pair = format!("bearer, {token}");
        let (plain, query) =
            (stack.address("websocket").to_owned(), format!("{}/?token={token}", stack.address("websocket")));
        let _ = stack.handshake(&plain, &[("authorization", &header)]).await;
        let _ = stack.handshake(&plain, &[("sec-websocket-protocol", &pair)]).await;
        let _ = stack.handshake(&query, &[]).await;
        // The signature alone makes a token valid.
        secrets.push(("a token", token.rsplit('.').next().unwrap().to_owned()));
    }
    let (_, issued) = stack.ask("alice", Method::POST, "/connections/tickets", Value::Null).await;
    let ticket = issued["ticket"].as_str().unwrap().to_owned();
    let url = format!("{}/?ticket={ticket}", stack.address("websocket"));
    let (mut socket, _) = stack.handshake(&url, &[]).await.unwrap();
    socket.id().await;
    let _ = stack.handshake(&url, &[]).await;
    secrets.push(("a ticket", ticket));
    let said = "for the members of the channel only";
    stack.send("alice", "lobby", said).await;
    until("the message and its reply", async || stack.history("alice", "lobby").await.len() >= 2).await;
    collector
        .wait("the request with the message", |spans| {
            spans
                .iter()
                .find(|span| span.name.starts_with("POST") && span.attributes.contains_key("switchboard.seq"))
                .cloned()
        })
        .await;
    stack.stop();

    let mut all = files(data.path());
    // A message is stored, but neither logged nor exported.
    let mut said_only = vec![("the log".to_owned(), std::fs::read(&log).unwrap())];
    said_only.extend(collector.bodies().into_iter().map(|body| ("what was exported".to_owned(), body.to_vec())));
    for (place, content) in &said_only {
        assert!(!content.windows(said.len()).any(|window| window == said.as_bytes()), "a message is in {place}");
    }
    secrets.push(("the collector's key", COLLECTOR_KEY.to_owned()));
    all.extend(said_only.into_iter().rev());
    let said = String::from_utf8_lossy(&all.last().unwrap().1).into_owned();
    assert!(said.contains("answered $connect") && said.contains("DEBUG"), "the log is long");
    for (place, content) in &all {
        for (what, secret) in &secrets {
            let found = content.windows(secret.len()).position(|window| window == secret.as_bytes());
            let around = found.map(|at| String::from_utf8_lossy(&content[at.saturating_sub(300)..at]).into_owned());
            assert_eq!(around, None, "{what} is in {place}");
        }
    }
}
