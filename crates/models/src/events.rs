//! Server-sent events of a reply ("Parsing an event stream" in the HTML standard). Each byte is read once, independent
//! of the chunks. No event and no reply is longer than [`ReplyLimits`] allow.

use std::{fmt::Display, num::NonZeroUsize};

use bytes::Bytes;
use chat::ports::language_model::ModelError;
use futures::{StreamExt, stream::BoxStream};
use sse_core::{SseDecoder, SseEvent};

use crate::limits::ReplyLimits;

/// The events of a body.
pub(crate) struct Events<E> {
    body: BoxStream<'static, Result<Bytes, E>>,
    decoder: SseDecoder,
    /// The part of the last chunk that is not decoded yet.
    chunk: Bytes,
    /// Number of bytes that the limit still allows.
    room: usize,
    /// `true` when bytes beyond the limit were cut off.
    is_cut: bool,
    limits: ReplyLimits,
}

impl<E: Display> Events<E> {
    pub(crate) fn new(body: BoxStream<'static, Result<Bytes, E>>, limits: ReplyLimits) -> Self {
        let event_bytes = NonZeroUsize::new(limits.event_bytes).unwrap_or(NonZeroUsize::MIN);
        let decoder = SseDecoder::with_limit(event_bytes);
        Self { body, decoder, chunk: Bytes::new(), room: limits.reply_bytes, is_cut: false, limits }
    }

    /// Returns the data of the next event, or `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, ModelError> {
        loop {
            match self.decoder.next(&mut self.chunk) {
                Some(Ok(SseEvent::Message(event))) => return Ok(Some(event.data)),
                // `retry` is ignored, because calls are not repeated automatically.
                Some(Ok(SseEvent::Retry(_))) => continue,
                Some(Err(_)) => return Err(oversized("an event", self.limits.event_bytes)),
                None => {}
            }
            if self.is_cut {
                return Err(oversized("a reply", self.limits.reply_bytes));
            }
            let Some(chunk) = self.body.next().await else { return Ok(None) };
            self.chunk = chunk.map_err(|error| ModelError::Unavailable(error.to_string()))?;
            // Bytes within the limit are read first, so that the result is independent of the chunks.
            self.is_cut = self.chunk.len() > self.room;
            self.chunk.truncate(self.room);
            self.room -= self.chunk.len();
        }
    }
}

/// Returns the error of an item that exceeds its limit.
pub(crate) fn oversized(what: &str, bytes: usize) -> ModelError {
    ModelError::Oversized(format!("{what} of more than {bytes} bytes"))
}
