//! A scripted language model. It speaks the chat-completions protocol of OpenAI ("Chat completion chunk object" in its
//! API reference), so that replies take the agent's real path.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// Next step of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The model sends this text.
    Say(String),
    /// The model ends its reply.
    End,
}

/// Script of a reply.
#[derive(Debug)]
enum Script {
    /// Sends each line; a script that ends without [`Line::End`] breaks the connection.
    Lines {
        lines: mpsc::UnboundedReceiver<Line>,
        /// Receives a value when the model is asked.
        asked: oneshot::Sender<()>,
    },
    /// Refuses the request.
    Refusal,
}

/// Scripted replies by a word in the question. Any other question gets a short reply immediately.
#[derive(Debug, Clone, Default)]
pub struct Model {
    scripts: Arc<Mutex<HashMap<String, Script>>>,
}

impl Model {
    /// Registers a script for a question that contains `word`. Returns its sender, and a receiver of the moment when
    /// the model is asked.
    pub fn expect(&self, word: &str) -> (mpsc::UnboundedSender<Line>, oneshot::Receiver<()>) {
        let ((sender, lines), (asked, is_asked)) = (mpsc::unbounded_channel(), oneshot::channel());
        self.keep(word, Script::Lines { lines, asked });
        (sender, is_asked)
    }

    /// Refuses the question that contains `word`.
    pub fn refuse(&self, word: &str) {
        self.keep(word, Script::Refusal);
    }

    fn keep(&self, word: &str, script: Script) {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).insert(word.to_owned(), script);
    }

    fn take(&self, question: &str) -> Option<Script> {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        let word = scripts.keys().find(|word| question.contains(*word)).cloned()?;
        scripts.remove(&word)
    }
}

/// `POST /v1/chat/completions`.
pub async fn complete(State(model): State<Model>, Json(request): Json<Value>) -> Response {
    let question = request["messages"].as_array().and_then(|messages| messages.last());
    let question = question.and_then(|message| message["content"].as_str()).unwrap_or_default();
    let lines = match model.take(question) {
        Some(Script::Refusal) => {
            let error = json!({ "error": { "message": "no such model", "code": "model_not_found" } });
            return (StatusCode::NOT_FOUND, Json(error)).into_response();
        }
        Some(Script::Lines { lines, asked }) => {
            // Most states do not wait for it.
            let _ = asked.send(());
            lines
        }
        None => {
            let (at_once, lines) = mpsc::unbounded_channel();
            for line in [Line::Say("Noted.".to_owned()), Line::End] {
                // The receiver exists in this function.
                let _ = at_once.send(line);
            }
            lines
        }
    };
    let events = stream::unfold(lines, async |mut lines| Some((lines.recv().await?, lines)));
    let body = events.map(|line| Ok::<_, Infallible>(event(&line)));
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}

fn event(line: &Line) -> String {
    match line {
        Line::Say(text) => {
            let chunk = json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] });
            format!("data: {chunk}\n\n")
        }
        Line::End => {
            let chunk = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
            let usage = json!({ "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 3 } });
            format!("data: {chunk}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
        }
    }
}
