//! Limits of Bedrock's responses. The SDK keeps a frame of an event stream until it is complete, and an error body to
//! its end, at any length. So the body is measured before the SDK reads it.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use aws_sdk_bedrockruntime::config::{
    ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextMut,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame};

use crate::limits::{EVENT_BYTES, REFUSAL_BYTES, REPLY_BYTES};

/// The reason why a body is not read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("a reply of more than {REPLY_BYTES} bytes")]
    Reply,
    #[error("an event of more than {EVENT_BYTES} bytes")]
    Event,
    #[error("a refusal of more than {REFUSAL_BYTES} bytes")]
    Refusal,
    #[error("the body is not an event stream")]
    NoEventStream,
}

impl BodyError {
    /// Returns the body error that caused another error.
    pub(crate) fn cause_of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut at = Some(error);
        while let Some(error) = at {
            if let Some(found) = error.downcast_ref() {
                return Some(*found);
            }
            at = error.source();
        }
        None
    }
}

/// Measures the body of every response.
#[derive(Debug)]
pub(crate) struct BoundedAnswers;

impl Intercept for BoundedAnswers {
    fn name(&self) -> &'static str {
        "BoundedAnswers"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let response = context.response_mut();
        let frames = response.status().is_success().then(FramePosition::default);
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(BoundedBody { body, received: 0, frames });
        Ok(())
    }
}

/// A body that fails with a [`BodyError`] when it exceeds a limit.
struct BoundedBody {
    body: SdkBody,
    received: usize,
    /// The position within the frames of a reply. `None` for an error body.
    frames: Option<FramePosition>,
}

impl BoundedBody {
    fn measure(&mut self, data: &[u8]) -> Result<(), BodyError> {
        self.received = self.received.saturating_add(data.len());
        match &mut self.frames {
            Some(_) if self.received > REPLY_BYTES => Err(BodyError::Reply),
            Some(frames) => frames.advance(data),
            None if self.received > REFUSAL_BYTES => Err(BodyError::Refusal),
            None => Ok(()),
        }
    }
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.measure(data)?;
        }
        Poll::Ready(frame)
    }
}

/// Number of bytes before the headers of a frame: its length, the length of its headers, and their checksum. Each has
/// 32 bits ("Event stream encoding" in the Amazon Transcribe developer guide, which describes the format for all
/// services).
const PRELUDE_BYTES: usize = 12;

/// A position in a stream of frames.
#[derive(Debug, Default)]
struct FramePosition {
    prelude: [u8; PRELUDE_BYTES],
    /// Number of received bytes of the prelude.
    filled: usize,
    /// Number of further bytes of the frame.
    remaining: usize,
}

impl FramePosition {
    fn advance(&mut self, mut data: &[u8]) -> Result<(), BodyError> {
        while !data.is_empty() {
            if self.remaining > 0 {
                let passed = self.remaining.min(data.len());
                self.remaining -= passed;
                data = &data[passed..];
                continue;
            }
            let (more, rest) = data.split_at(data.len().min(PRELUDE_BYTES - self.filled));
            self.prelude[self.filled..self.filled + more.len()].copy_from_slice(more);
            self.filled += more.len();
            data = rest;
            if self.filled == PRELUDE_BYTES {
                self.filled = 0;
                let (fields, [.., checksum]) = (&self.prelude[..8], self.prelude.as_chunks::<4>().0) else {
                    return Err(BodyError::NoEventStream);
                };
                // The SDK checks this too, but only after the whole frame.
                if crc32fast::hash(fields) != u32::from_be_bytes(*checksum) {
                    return Err(BodyError::NoEventStream);
                }
                let length = self
                    .prelude
                    .first_chunk()
                    .map_or(usize::MAX, |length| usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX));
                if length > EVENT_BYTES {
                    return Err(BodyError::Event);
                }
                self.remaining = length.checked_sub(PRELUDE_BYTES).ok_or(BodyError::NoEventStream)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::Message;
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_message_to(&Message::new(vec![0; payload]), &mut bytes).unwrap();
        bytes
    }

    /// Checks that the result and its position are independent of how the bytes are cut.
    fn verdict(pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<(), BodyError> {
        let mut position = FramePosition::default();
        pieces.into_iter().try_for_each(|piece| position.advance(&piece))
    }

    #[test]
    fn the_longest_frame_is_as_long_as_is_said() {
        // A frame without payload has a prelude and a checksum.
        let longest = EVENT_BYTES - PRELUDE_BYTES - 4;
        assert_eq!(verdict([frame(longest), frame(0)]), Ok(()));
        assert_eq!(verdict([frame(0), frame(longest + 1)[..PRELUDE_BYTES].to_vec()]), Err(BodyError::Event));
        let mut short = 3_u32.to_be_bytes().to_vec();
        short.extend([0; 4]);
        short.extend(crc32fast::hash(&short).to_be_bytes());
        assert_eq!(verdict([short]), Err(BodyError::NoEventStream));
        assert_eq!(verdict([b"<html>hello</html>".to_vec()]), Err(BodyError::NoEventStream));
        assert_eq!(verdict([b"<html".to_vec()]), Ok(()), "may still become a frame");
    }

    proptest! {
        #[test]
        fn frames_are_followed_wherever_they_are_cut(
            payloads in prop::collection::vec(0..200_usize, 0..6),
            damage in prop::option::of((any::<prop::sample::Index>(), 1..=255_u8)),
            cut in 1..40_usize,
        ) {
            let mut bytes: Vec<u8> = payloads.into_iter().flat_map(frame).collect();
            if let (Some((at, bits)), false) = (damage, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            let whole = verdict([bytes.clone()]);
            prop_assert_eq!(verdict(bytes.chunks(cut).map(<[u8]>::to_vec)), whole);
            if damage.is_none() {
                prop_assert_eq!(whole, Ok(()));
            }
        }
    }
}
