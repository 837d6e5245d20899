//! Recent traces, in memory and with limits.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use serde::Serialize;

use super::{
    Limits,
    span::{self, Span, SpanId, TraceId},
};

/// Spans by trace.
#[derive(Debug)]
pub(super) struct Traces {
    limits: Limits,
    kept: HashMap<TraceId, Kept>,
    /// The same traces by the time of their last change, to find the oldest without a search.
    by_touch: BTreeSet<(u64, TraceId)>,
    spans: usize,
    /// Counter of additions.
    clock: u64,
}

#[derive(Debug, Default)]
struct Kept {
    /// Spans by id. A span may arrive twice, if the exporter got no response.
    spans: HashMap<SpanId, Arc<Span>>,
    /// Time of the last addition to the trace or to a linked span.
    touched: u64,
}

/// The received part of a trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// Id of the trace.
    pub trace_id: TraceId,
    /// Number that changes whenever a field below changes.
    pub version: u64,
    /// Spans in the order in which they began.
    #[serde(serialize_with = "span::all_shared")]
    pub spans: Vec<Arc<Span>>,
    /// Spans of other traces with a link to one of these: invocations that worked on several traces.
    #[serde(serialize_with = "span::all_shared")]
    pub linked: Vec<Arc<Span>>,
}

/// Summary of a trace for a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Id of the trace.
    pub trace_id: TraceId,
    /// Name of the span that began first.
    pub name: String,
    /// Start of that span, in nanoseconds since the epoch, as text in JSON.
    #[serde(serialize_with = "span::as_text")]
    pub start_ns: u64,
    /// Number of spans.
    pub spans: usize,
}

/// Numbers of rejected spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Spans with invalid ids.
    pub invalid: usize,
    /// Spans over the limit of their trace.
    pub over_limit: usize,
}

impl Rejected {
    /// Returns the number of all rejected spans.
    #[must_use]
    pub fn count(&self) -> usize {
        self.invalid + self.over_limit
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invalid, over_limit } = self;
        write!(
            formatter,
            "{invalid} spans had an id of the wrong length or zero, and {over_limit} were more than one trace may have"
        )
    }
}

impl Traces {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, kept: HashMap::new(), by_touch: BTreeSet::new(), spans: 0, clock: 0 }
    }

    /// Adds the accepted spans, and removes old traces over the limits.
    pub(super) fn add(&mut self, exported: Vec<ResourceSpans>) -> Rejected {
        self.clock += 1;
        let mut rejected = Rejected::default();
        for ResourceSpans { resource, scope_spans, .. } in exported {
            let resource = Arc::new(span::attributes(resource.unwrap_or_default().attributes));
            for scope_spans in scope_spans {
                let scope = scope_spans.scope.unwrap_or_default().name;
                for span in scope_spans.spans {
                    match Span::of_proto(span, &scope, &resource) {
                        Some(span) if self.has_room(&span) => self.insert(span),
                        Some(_) => rejected.over_limit += 1,
                        None => rejected.invalid += 1,
                    }
                }
            }
        }
        self.make_room();
        rejected
    }

    fn has_room(&self, span: &Span) -> bool {
        self.kept.get(&span.trace_id).is_none_or(|kept| {
            kept.spans.len() < self.limits.spans_of_a_trace || kept.spans.contains_key(&span.span_id)
        })
    }

    fn insert(&mut self, span: Span) {
        for link in &span.links {
            self.touch(link.trace_id);
        }
        let id = span.trace_id;
        let kept = self.kept.entry(id).or_default();
        if kept.spans.insert(span.span_id, Arc::new(span)).is_none() {
            self.spans += 1;
        }
        self.touch(id);
    }

    fn touch(&mut self, id: TraceId) {
        if let Some(kept) = self.kept.get_mut(&id) {
            self.by_touch.remove(&(kept.touched, id));
            kept.touched = self.clock;
            self.by_touch.insert((kept.touched, id));
        }
    }

    fn make_room(&mut self) {
        while self.kept.len() > self.limits.traces || self.spans > self.limits.spans {
            let Some((_, oldest)) = self.by_touch.pop_first() else { return };
            self.spans -= self.kept.remove(&oldest).map_or(0, |kept| kept.spans.len());
        }
    }

    pub(super) fn get(&self, id: TraceId) -> Option<Trace> {
        let kept = self.kept.get(&id)?;
        let others = self.kept.iter().filter(|(other, _)| **other != id).flat_map(|(_, kept)| kept.spans.values());
        let linked = others.filter(|span| span.links.iter().any(|link| link.trace_id == id));
        Some(Trace {
            trace_id: id,
            version: kept.touched,
            spans: in_order(kept.spans.values()),
            linked: in_order(linked),
        })
    }

    pub(super) fn of_message(&self, channel_id: &str, seq: u64) -> Vec<Summary> {
        let mut found: Vec<Summary> = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.spans.values().any(|span| span.is_about(channel_id, seq)))
            .filter_map(|(id, kept)| {
                let first = kept.spans.values().min_by_key(|span| (span.start_ns, span.span_id))?;
                Some(Summary {
                    trace_id: *id,
                    name: first.name.clone(),
                    start_ns: first.start_ns,
                    spans: kept.spans.len(),
                })
            })
            .collect();
        found.sort_by_key(|summary| (summary.start_ns, summary.trace_id));
        found
    }
}

fn in_order<'a>(spans: impl Iterator<Item = &'a Arc<Span>>) -> Vec<Arc<Span>> {
    let mut spans: Vec<_> = spans.cloned().collect();
    // If two spans began at the same time, the parent comes first, because it ends later.
    spans.sort_by_key(|span| (span.start_ns, std::cmp::Reverse(span.end_ns), span.span_id));
    spans
}
