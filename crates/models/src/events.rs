//! Events of a reply: server-sent events ("Parsing an event stream" in the HTML standard), or JSON in place of them. Each
//! byte is read once, independent of the chunks. No event and no reply is longer than [`ReplyLimits`] allow.

use std::{collections::VecDeque, fmt::Display, num::NonZeroUsize};

use bytes::Bytes;
use chat::ports::language_model::ModelError;
use futures::{StreamExt, stream::BoxStream};
use serde_json::Value;
use sse_core::{MessageEvent, SseDecoder, SseEvent};

use crate::limits::ReplyLimits;

/// A part of a body.
pub(crate) enum Item {
    /// An event.
    Event(MessageEvent),
    /// A whole response, from a server that ignores `stream`.
    Json(Value),
    /// Bytes without an event: a part of one, or a comment.
    Bytes,
    /// The end.
    End,
}

/// The form of a body, by its first character.
enum Form {
    Unknown,
    Events,
    /// JSON, as far as it is received. No line of server-sent events begins like JSON.
    Json(Vec<u8>),
    /// JSON that is received completely.
    Values(VecDeque<Value>),
}

/// The events of a body.
pub(crate) struct Events<E> {
    body: BoxStream<'static, Result<Bytes, E>>,
    form: Form,
    decoder: SseDecoder,
    /// The part of the last chunk that is not decoded yet.
    chunk: Bytes,
    /// Number of bytes that the limit still allows.
    room: usize,
    /// `true` when bytes beyond the limit were cut off.
    is_cut: bool,
    /// `true` after the last byte of the body.
    is_over: bool,
    limits: ReplyLimits,
}

impl<E: Display> Events<E> {
    pub(crate) fn new(body: BoxStream<'static, Result<Bytes, E>>, limits: ReplyLimits) -> Self {
        let event_bytes = NonZeroUsize::new(limits.event_bytes).unwrap_or(NonZeroUsize::MIN);
        Self {
            body,
            form: Form::Unknown,
            decoder: SseDecoder::with_limit(event_bytes),
            chunk: Bytes::new(),
            room: limits.reply_bytes,
            is_cut: false,
            is_over: false,
            limits,
        }
    }

    /// Whether the body is read to its end. Its last event may be incomplete.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns the next item.
    pub(crate) async fn next(&mut self) -> Result<Item, ModelError> {
        if let Some(item) = self.decode()? {
            return Ok(item);
        }
        if self.is_cut {
            return Err(oversized("a reply", self.limits.reply_bytes));
        }
        if self.is_over {
            return Ok(Item::End);
        }
        if let Some(chunk) = self.body.next().await {
            self.chunk = chunk.map_err(|error| ModelError::Unavailable(error.to_string()))?;
            // Bytes within the limit are read first, so that the result is independent of the chunks.
            self.is_cut = self.chunk.len() > self.room;
            self.chunk.truncate(self.room);
            self.room -= self.chunk.len();
        } else {
            self.is_over = true;
            self.close()?;
        }
        Ok(self.decode()?.unwrap_or(Item::Bytes))
    }

    /// Ends the last event. Some servers omit the empty line after it, and clients accept that (`_iter_chunks` in
    /// `src/openai/_streaming.py` of openai/openai-python).
    fn close(&mut self) -> Result<(), ModelError> {
        if let Form::Json(bytes) = &self.form {
            // One value, or one a line.
            let values = serde_json::Deserializer::from_slice(bytes).into_iter().collect::<Result<_, _>>();
            self.form = Form::Values(values.map_err(|error| malformed(&error))?);
        } else {
            self.chunk = Bytes::from_static(b"\n\n");
        }
        Ok(())
    }

    /// Returns the next item in the received bytes.
    fn decode(&mut self) -> Result<Option<Item>, ModelError> {
        if let Form::Unknown = self.form {
            // A byte order mark may precede either form.
            let is_blank = |byte: &u8| byte.is_ascii_whitespace() || b"\xef\xbb\xbf".contains(byte);
            match self.chunk.iter().find(|byte| !is_blank(byte)) {
                Some(b'{' | b'[') => self.form = Form::Json(Vec::new()),
                Some(_) => self.form = Form::Events,
                None => {}
            }
        }
        match &mut self.form {
            Form::Values(values) => Ok(values.pop_front().map(Item::Json)),
            Form::Json(bytes) => {
                let start = if bytes.is_empty() {
                    self.chunk.iter().position(|byte| matches!(byte, b'{' | b'['))
                } else {
                    None
                };
                bytes.extend_from_slice(&self.chunk[start.unwrap_or_default()..]);
                self.chunk.clear();
                if bytes.len() > self.limits.event_bytes {
                    return Err(oversized("an event", self.limits.event_bytes));
                }
                Ok(None)
            }
            Form::Events | Form::Unknown => loop {
                match self.decoder.next(&mut self.chunk) {
                    Some(Ok(SseEvent::Message(event))) => return Ok(Some(Item::Event(event))),
                    // `retry` is ignored, because calls are not repeated automatically.
                    Some(Ok(SseEvent::Retry(_))) => {}
                    Some(Err(_)) => return Err(oversized("an event", self.limits.event_bytes)),
                    None => return Ok(None),
                }
            },
        }
    }
}

/// Returns the error of an event that is not JSON.
pub(crate) fn malformed(error: &serde_json::Error) -> ModelError {
    ModelError::Malformed(format!("an event is not JSON: {error}"))
}

/// Returns the error of an item that exceeds its limit.
pub(crate) fn oversized(what: &str, bytes: usize) -> ModelError {
    ModelError::Oversized(format!("{what} of more than {bytes} bytes"))
}
