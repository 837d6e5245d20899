//! The sampling of traces.
//!
//! Sampling is parent-based: the origin of a trace decides for all of it. A ratio of the traces that begin here is
//! kept. The decision precedes the result, so that an error cannot change it for the whole trace. So each function
//! records unsampled spans too. If one fails, the function exports its own part of that trace
//! ([`crate::queue::Queue::settle`]). The parts of other functions are then missing.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt, TraceId},
};
use opentelemetry_sdk::trace::{ParentBasedSampler, Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// The variable with the ratio, 0 to 1. Default: 1.
const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";

pub(crate) fn from_env() -> ParentBasedSampler {
    let ratio = std::env::var(RATIO).ok().and_then(|ratio| ratio.trim().parse::<f64>().ok());
    parent_based(ratio.filter(|ratio| ratio.is_finite()).unwrap_or(1.0))
}

pub(crate) fn parent_based(ratio: f64) -> ParentBasedSampler {
    ParentBasedSampler::new(RecordingRatio(Sampler::TraceIdRatioBased(ratio)))
        .with_remote_parent_not_sampled(RecordOnly)
        .with_local_parent_not_sampled(RecordOnly)
}

/// Samples a ratio, and records the rest.
#[derive(Debug, Clone)]
struct RecordingRatio(Sampler);

impl ShouldSample for RecordingRatio {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.0.should_sample(parent, trace_id, name, kind, attributes, links);
        if result.decision == SamplingDecision::Drop {
            result.decision = SamplingDecision::RecordOnly;
        }
        result
    }
}

/// Samples nothing, and records everything.
#[derive(Debug, Clone)]
struct RecordOnly;

impl ShouldSample for RecordOnly {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let trace_state = parent.map(|parent| parent.span().span_context().trace_state().clone()).unwrap_or_default();
        SamplingResult { decision: SamplingDecision::RecordOnly, attributes: Vec::new(), trace_state }
    }
}
