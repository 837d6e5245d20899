//! Simulated language model: a server of OpenAI's protocol that writes at the speed of a usual one.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, http::header, routing::post, serve::ListenerExt};
use futures::{Stream, StreamExt};
use serde_json::json;

use crate::{Result, serve::listen_anywhere};

/// Interval between two words.
const INTERVAL: Duration = Duration::from_millis(100);

/// Starts the server, each of whose replies takes `lasts`. Returns its URL.
pub(super) async fn start(lasts: Duration) -> Result<String> {
    let answer = move || std::future::ready(([(header::CONTENT_TYPE, "text/event-stream")], body(lasts)));
    let router = Router::new().route("/v1/chat/completions", post(answer));
    let (listener, address) = listen_anywhere().await?;
    let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}/v1"))
}

fn body(lasts: Duration) -> Body {
    Body::from_stream(paced(events(lasts)))
}

/// Returns the events, each after an interval.
fn paced(events: Vec<String>) -> impl Stream<Item = std::result::Result<String, Infallible>> + Send + 'static {
    futures::stream::iter(events).then(|event| async move {
        tokio::time::sleep(INTERVAL).await;
        Ok::<_, Infallible>(event)
    })
}

/// Returns the events of a reply ("Chat completion chunk object" in the OpenAI API reference): at least one word, and
/// the end.
fn events(lasts: Duration) -> Vec<String> {
    let words = usize::try_from(lasts.as_millis() / INTERVAL.as_millis()).unwrap_or(usize::MAX).max(1);
    let word = |number| json!({ "choices": [{ "index": 0, "delta": { "content": format!("word {number} ") } }] });
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let chunks = (1..=words).map(word).chain([end]).map(|chunk| format!("data: {chunk}\n\n"));
    chunks.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_a_word_for_each_interval_and_an_end() {
        for (lasts, words) in [(0, 1), (100, 1), (2_000, 20)] {
            let events = events(Duration::from_millis(lasts));
            assert_eq!(events.len(), words + 2, "{lasts} ms");
            assert!(events[0].contains(r#""content":"word 1 ""#), "{}", events[0]);
            assert!(events[words].contains(r#""finish_reason":"stop""#), "{}", events[words]);
            assert!(events.iter().all(|event| event.starts_with("data: ") && event.ends_with("\n\n")));
        }
    }
}
