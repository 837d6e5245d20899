//! The queue of ended spans that are not exported yet.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opentelemetry::{
    Context,
    trace::{SpanKind, Status},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};

/// Maximum number of queued spans; further ones are dropped. Equal to the SDK's batch processor
/// (`OTEL_BSP_MAX_QUEUE_SIZE`).
pub(crate) const QUEUED_SPANS: usize = 2_048;

/// The queue of spans. The end of a span only costs a push to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<SpanData>,
    /// Number of spans, from the oldest on, whose export is decided.
    settled: usize,
    dropped: u64,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the spans of traces that are not sampled, unless one of their spans failed. Must be called between
    /// invocations, when no trace of this environment is active.
    pub(crate) fn settle(&self) {
        let mut state = self.state();
        let failed: HashSet<_> = state
            .spans
            .range(state.settled..)
            .filter(|span| matches!(span.status, Status::Error { .. }))
            .map(|span| span.span_context.trace_id())
            .collect();
        state.spans.retain(|span| span.span_context.is_sampled() || failed.contains(&span.span_context.trace_id()));
        state.settled = state.spans.len();
    }

    /// Returns up to `most` settled spans, the oldest first.
    pub(crate) fn take(&self, most: usize) -> Vec<SpanData> {
        let mut state = self.state();
        let count = most.min(state.settled);
        state.settled -= count;
        state.spans.drain(..count).collect()
    }

    /// Returns the number of queued spans.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state().spans.len()
    }

    /// Returns the number of dropped spans since the last call.
    pub(crate) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.state().dropped)
    }
}

/// Corrects spans of SDK calls, which are not marked as a client's and have an id for the SDK's own logs.
fn finish_sdk_call(span: &mut SpanData) {
    if span.attributes.iter().any(|attribute| attribute.key.as_str() == "sdk_invocation_id") {
        span.span_kind = SpanKind::Client;
        span.attributes.retain(|attribute| attribute.key.as_str() != "sdk_invocation_id");
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, mut span: SpanData) {
        finish_sdk_call(&mut span);
        let mut state = self.state();
        if state.spans.len() < QUEUED_SPANS {
            state.spans.push_back(span);
        } else {
            state.dropped += 1;
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{
        Span as _, SpanContext, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
    };
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::sampler;

    fn provider(queue: &Queue, ratio: f64) -> SdkTracerProvider {
        SdkTracerProvider::builder()
            .with_span_processor(queue.clone())
            .with_sampler(sampler::parent_based(ratio))
            .build()
    }

    fn end_one(provider: &SdkTracerProvider, trace: u128, sampled: bool, fails: bool) {
        let tracer = provider.tracer("test");
        let flags = TraceFlags::default().with_sampled(sampled);
        let parent = SpanContext::new(TraceId::from(trace), 7_u64.into(), flags, true, TraceState::default());
        let parent = Context::new().with_remote_span_context(parent);
        let outer = Context::new().with_span(tracer.start_with_context("outer", &parent));
        let mut inner = tracer.start_with_context("inner", &outer);
        if fails {
            inner.set_status(Status::error("as told"));
        }
        inner.end();
        outer.span().end();
    }

    fn traces(queue: &Queue) -> Vec<u128> {
        let spans = queue.take(usize::MAX);
        spans.iter().map(|span| u128::from_be_bytes(span.span_context.trace_id().to_bytes())).collect()
    }

    #[test]
    fn of_traces_that_are_not_sampled_only_those_with_an_error_stay() {
        let queue = Queue::default();
        let provider = provider(&queue, 1.0);
        end_one(&provider, 1, true, false);
        end_one(&provider, 2, false, false);
        end_one(&provider, 3, false, true);
        queue.settle();
        assert_eq!(traces(&queue), [1, 1, 3, 3]);
    }

    #[test]
    fn the_ratio_decides_for_traces_that_begin_here() {
        let queue = Queue::default();
        for (ratio, left) in [(0.0, 0), (1.0, 1)] {
            let provider = provider(&queue, ratio);
            provider.tracer("test").start("root").end();
            queue.settle();
            assert_eq!(queue.take(usize::MAX).len(), left, "{ratio}");
        }
    }

    #[test]
    fn what_is_not_settled_stays() {
        let queue = Queue::default();
        let provider = provider(&queue, 1.0);
        end_one(&provider, 1, false, true);
        queue.settle();
        end_one(&provider, 2, false, false);
        assert_eq!(traces(&queue), [1, 1]);
        end_one(&provider, 3, true, false);
        queue.settle();
        assert_eq!(traces(&queue), [3, 3]);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let queue = Queue::default();
        let provider = provider(&queue, 1.0);
        let half = u128::try_from(QUEUED_SPANS / 2).unwrap();
        for trace in 1..=half + 2 {
            end_one(&provider, trace, true, false);
        }
        assert_eq!((queue.len(), queue.take_dropped(), queue.take_dropped()), (QUEUED_SPANS, 4, 0));
    }
}
