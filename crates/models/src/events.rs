//! Server-sent events of a reply ("Parsing an event stream" in the HTML standard). Each byte is looked at once, however the
//! body is cut, and no event, and no reply, is longer than [`ReplyLimits`] allow.

use std::{fmt::Display, num::NonZeroUsize};

use bytes::Bytes;
use chat::ports::language_model::ModelError;
use futures::{StreamExt, stream::BoxStream};
use sse_core::{SseDecoder, SseEvent};

use crate::limits::ReplyLimits;

/// The events in a body.
pub(crate) struct Events<E> {
    body: BoxStream<'static, Result<Bytes, E>>,
    decoder: SseDecoder,
    /// What of the last chunk is not decoded yet.
    chunk: Bytes,
    /// Bytes that may still come.
    room: usize,
    /// Whether more has come.
    is_cut: bool,
    limits: ReplyLimits,
}

impl<E: Display> Events<E> {
    pub(crate) fn new(body: BoxStream<'static, Result<Bytes, E>>, limits: ReplyLimits) -> Self {
        let event_bytes = NonZeroUsize::new(limits.event_bytes).unwrap_or(NonZeroUsize::MIN);
        let decoder = SseDecoder::with_limit(event_bytes);
        Self { body, decoder, chunk: Bytes::new(), room: limits.reply_bytes, is_cut: false, limits }
    }

    /// The data of the next event. `None`: the body has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, ModelError> {
        loop {
            match self.decoder.next(&mut self.chunk) {
                Some(Ok(SseEvent::Message(event))) => return Ok(Some(event.data)),
                // No call is repeated by itself.
                Some(Ok(SseEvent::Retry(_))) => continue,
                Some(Err(_)) => return Err(oversized("an event", self.limits.event_bytes)),
                None => {}
            }
            if self.is_cut {
                return Err(oversized("a reply", self.limits.reply_bytes));
            }
            let Some(chunk) = self.body.next().await else { return Ok(None) };
            self.chunk = chunk.map_err(|error| ModelError::Unavailable(error.to_string()))?;
            // What is within the limit is read first: a reply is the same however it is cut.
            self.is_cut = self.chunk.len() > self.room;
            self.chunk.truncate(self.room);
            self.room -= self.chunk.len();
        }
    }
}

/// The error for what is longer than it may be.
pub(crate) fn oversized(what: &str, bytes: usize) -> ModelError {
    ModelError::Oversized(format!("{what} of more than {bytes} bytes"))
}
