//! Errors of a model's server, before a reply and within it: of any size and form, with any status.

use std::convert::Infallible;

use bytes::Bytes;
use chat::ports::language_model::{ModelError, Piece};
use futures::StreamExt;
use http::StatusCode;
use models::{
    OpenAi,
    limits::{CODE_CHARS, RETRY_AFTER},
};
use serde_json::Value;

use crate::functions::block_on;

pub fn run(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let status = StatusCode::from_u16(400 + u16::from(*first) % 200).expect("a status of an error");
    let error = OpenAi::refusal(status, body);
    let text = error.to_string();
    assert!(text.is_ascii() && text.len() <= 64 + CODE_CHARS, "{text}");
    if let ModelError::Busy { retry_after: Some(wait) } = &error {
        assert!(*wait <= RETRY_AFTER);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        assert!(matches!(error, ModelError::Busy { .. } | ModelError::Filtered), "{error:?}");
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        assert_eq!(error, of_status(status), "the status decides");
        return;
    };
    let pretty = serde_json::to_vec_pretty(&value).expect("JSON");
    assert_eq!(OpenAi::refusal(status, &pretty), error, "blanks do not matter");
    if value["error"].as_object().is_some_and(|error| !error.is_empty()) {
        let expected = Some(OpenAi::refusal(StatusCode::INTERNAL_SERVER_ERROR, body));
        assert_eq!(within_reply(body.to_vec()), expected, "in place of a reply");
        assert_eq!(within_reply(format!("data: {value}\n\n").into_bytes()), expected, "in an event");
    }
}

/// Returns the error of a response without a readable body.
fn of_status(status: StatusCode) -> ModelError {
    let reason = format!("status {} ", status.as_u16());
    match status.as_u16() {
        429 => ModelError::Busy { retry_after: None },
        413 => ModelError::TooLong,
        408 | 500.. => ModelError::Unavailable(reason),
        _ => ModelError::Refused(reason),
    }
}

/// Returns the error of a successful response.
fn within_reply(body: Vec<u8>) -> Option<ModelError> {
    let mut pieces = OpenAi::pieces(futures::stream::iter([Ok::<_, Infallible>(Bytes::from(body))]));
    block_on(async {
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(Piece::Alive) => {}
                Ok(piece) => panic!("{piece:?} of an error"),
                Err(error) => return Some(error),
            }
        }
        None
    })
}
