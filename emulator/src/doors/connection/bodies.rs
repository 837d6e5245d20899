//! The bodies of requests and responses, which record the progress of their connection.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::progress::Progress;

/// A request's body that fails if it does not arrive in time.
pub(super) struct Timed {
    body: Incoming,
    progress: Progress,
    /// Deadline of the body, set when the body is first read.
    end: Option<Instant>,
    /// Timer for the next piece of the body.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Error: a body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
struct Late;

impl Timed {
    pub(super) fn new(body: Incoming, progress: Progress) -> Self {
        Self { body, progress, end: None, timer: None }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let limits = self.progress.limits;
        let now = Instant::now();
        let end = *self.end.get_or_insert_with(|| now + limits.body);
        let due = end.min(now + limits.body_pause);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        timer.as_mut().poll(cx).is_ready()
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.timer = None;
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending if this.is_late(cx) => {
                this.progress.state().is_body_late = true;
                Poll::Ready(Some(Err(Late.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body. The connection becomes idle when hyper has taken all of it.
pub(super) struct Answer {
    body: Body,
    progress: Progress,
}

impl Answer {
    pub(super) fn new(body: Body, progress: Progress) -> Self {
        Self { body, progress }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.progress.answered();
    }
}
