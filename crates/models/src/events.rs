//! Server-sent events of a reply ("Parsing an event stream" in the HTML standard). Each byte is looked at once, however the
//! body is cut, and no event, and no reply, is longer than [`ReplyLimits`] allow.

use std::{fmt::Display, num::NonZeroUsize};

use bytes::Bytes;
use chat::agent::ModelError;
use futures::{StreamExt, stream::BoxStream};
use sse_core::{SseDecoder, SseEvent};

use crate::limits::ReplyLimits;

/// The events in a body.
pub(crate) struct Events<E> {
    body: BoxStream<'static, Result<Bytes, E>>,
    decoder: SseDecoder,
    /// What of the last chunk is not decoded yet.
    chunk: Bytes,
    received: usize,
    limits: ReplyLimits,
}

impl<E: Display> Events<E> {
    pub(crate) fn new(body: BoxStream<'static, Result<Bytes, E>>, limits: ReplyLimits) -> Self {
        let event_bytes = NonZeroUsize::new(limits.event_bytes).unwrap_or(NonZeroUsize::MIN);
        Self { body, decoder: SseDecoder::with_limit(event_bytes), chunk: Bytes::new(), received: 0, limits }
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
            let Some(chunk) = self.body.next().await else { return Ok(None) };
            let chunk = chunk.map_err(|error| ModelError::Unavailable(error.to_string()))?;
            self.received = self.received.saturating_add(chunk.len());
            if self.received > self.limits.reply_bytes {
                return Err(oversized("a reply", self.limits.reply_bytes));
            }
            self.chunk = chunk;
        }
    }
}

/// The error for what is longer than it may be.
pub(crate) fn oversized(what: &str, bytes: usize) -> ModelError {
    ModelError::Oversized(format!("{what} of more than {bytes} bytes"))
}
