//! Spans in the form of the page, converted from OTLP.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::{self as proto, span::SpanKind, status::StatusCode},
};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// Id of a trace: 32 hexadecimal digits, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

/// Id of a span: 16 hexadecimal digits, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(u64);

/// Error: the text is not an id.
#[derive(Debug, thiserror::Error)]
#[error("an id of a trace has 32 hexadecimal digits, not all of them zero")]
pub struct NoTraceId;

impl TraceId {
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let id = u128::from_be_bytes(bytes.try_into().ok()?);
        (id != 0).then_some(Self(id))
    }
}

impl SpanId {
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let id = u64::from_be_bytes(bytes.try_into().ok()?);
        (id != 0).then_some(Self(id))
    }
}

impl FromStr for TraceId {
    type Err = NoTraceId;

    fn from_str(text: &str) -> Result<Self, NoTraceId> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u128::from_str_radix(text, 16).ok().filter(|id| is_hex && *id != 0);
        id.map(Self).ok_or(NoTraceId)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Attributes by name. Bytes are encoded in base64.
pub type Attributes = BTreeMap<String, Value>;

/// A span. Times are nanoseconds since the epoch, as text in JSON, because they exceed the integers of JavaScript.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// Id of its trace.
    pub trace_id: TraceId,
    /// Id of the span.
    pub span_id: SpanId,
    /// Id of the parent span. The parent may not have been received.
    pub parent_span_id: Option<SpanId>,
    /// Name of the span.
    pub name: String,
    /// Its role in a call.
    pub kind: Kind,
    /// `service.name` of the exporter; empty if it has none.
    pub service: String,
    /// Instrumentation scope.
    pub scope: String,
    /// Time at which it began.
    #[serde(serialize_with = "as_text")]
    pub start_ns: u64,
    /// Time at which it ended.
    #[serde(serialize_with = "as_text")]
    pub end_ns: u64,
    /// Status of the span.
    pub status: Status,
    /// Reason of a failure; empty otherwise.
    pub status_message: String,
    /// Attributes of the span.
    pub attributes: Attributes,
    /// Events during the span, in order of time.
    pub events: Vec<Event>,
    /// Related spans of this or other traces.
    pub links: Vec<Link>,
    /// Attributes of the exporter. All spans of one export share them.
    #[serde(serialize_with = "shared")]
    pub resource: Arc<Attributes>,
}

/// Role of a span in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Inside one program, or unspecified.
    Internal,
    /// Server of a request.
    Server,
    /// Client of a request.
    Client,
    /// Start of an operation that continues later.
    Producer,
    /// Continuation of a producer's operation.
    Consumer,
}

/// Result of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not specified, which is usual for successful spans.
    Unset,
    /// Success.
    Ok,
    /// Failure.
    Error,
}

/// An event within a span.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Time of the event.
    #[serde(serialize_with = "as_text")]
    pub time_ns: u64,
    /// Name of the event.
    pub name: String,
    /// Attributes of the event.
    pub attributes: Attributes,
}

/// Relation to another span that is not the parent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Link {
    /// Id of its trace.
    pub trace_id: TraceId,
    /// Id of the span.
    pub span_id: SpanId,
    /// Attributes of the relation.
    pub attributes: Attributes,
}

impl Span {
    /// Converts a span. Returns `None` if an id has the wrong length or is zero: such a span is invalid ("Span" in
    /// trace.proto).
    pub(super) fn of_proto(span: proto::Span, scope: &str, resource: &Arc<Attributes>) -> Option<Self> {
        let kind = span.kind();
        let status = span.status.unwrap_or_default();
        let mut events: Vec<Event> = span.events.into_iter().map(Event::of_proto).collect();
        events.sort_by_key(|event| event.time_ns);
        Some(Self {
            trace_id: TraceId::of_bytes(&span.trace_id)?,
            span_id: SpanId::of_bytes(&span.span_id)?,
            parent_span_id: SpanId::of_bytes(&span.parent_span_id),
            name: span.name,
            kind: kind.into(),
            service: resource.get("service.name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            scope: scope.to_owned(),
            start_ns: span.start_time_unix_nano,
            end_ns: span.end_time_unix_nano,
            status: match status.code() {
                StatusCode::Unset => Status::Unset,
                StatusCode::Ok => Status::Ok,
                StatusCode::Error => Status::Error,
            },
            status_message: status.message,
            attributes: attributes(span.attributes),
            events,
            links: span.links.into_iter().filter_map(Link::of_proto).collect(),
            resource: resource.clone(),
        })
    }

    /// Returns `true` if the span concerns only this message.
    pub(super) fn is_about(&self, channel_id: &str, seq: u64) -> bool {
        // Some exporters write unsigned numbers as text.
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        self.attributes.get("switchboard.seq").and_then(number) == Some(seq)
            && self.attributes.get("switchboard.channel_id").and_then(Value::as_str) == Some(channel_id)
    }
}

impl From<SpanKind> for Kind {
    fn from(kind: SpanKind) -> Self {
        match kind {
            // "Implementations MAY assume SpanKind to be INTERNAL when receiving UNSPECIFIED" (trace.proto).
            SpanKind::Unspecified | SpanKind::Internal => Self::Internal,
            SpanKind::Server => Self::Server,
            SpanKind::Client => Self::Client,
            SpanKind::Producer => Self::Producer,
            SpanKind::Consumer => Self::Consumer,
        }
    }
}

impl Event {
    fn of_proto(event: proto::span::Event) -> Self {
        Self { time_ns: event.time_unix_nano, name: event.name, attributes: attributes(event.attributes) }
    }
}

impl Link {
    fn of_proto(link: proto::span::Link) -> Option<Self> {
        Some(Self {
            trace_id: TraceId::of_bytes(&link.trace_id)?,
            span_id: SpanId::of_bytes(&link.span_id)?,
            attributes: attributes(link.attributes),
        })
    }
}

/// Converts attributes to JSON.
pub(super) fn attributes(list: Vec<KeyValue>) -> Attributes {
    list.into_iter().map(|KeyValue { key, value, .. }| (key, json(value))).collect()
}

fn json(value: Option<AnyValue>) -> Value {
    use any_value::Value as Any;
    match value.and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::BoolValue(flag)) => flag.into(),
        Some(Any::IntValue(number)) => number.into(),
        Some(Any::DoubleValue(number)) => number.into(),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(|value| json(Some(value))).collect(),
        Some(Any::KvlistValue(list)) => list.values.into_iter().map(|entry| (entry.key, json(entry.value))).collect(),
        Some(Any::BytesValue(bytes)) => STANDARD.encode(bytes).into(),
        // Indexes into a table of strings that only profiles have.
        Some(Any::StringValueStrindex(_)) | None => Value::Null,
    }
}

// Serializes a time as text. The signature is that of serde.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(super) fn as_text<S: Serializer>(time: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// Serializes the content of an `Arc`. The feature of serde for it would also affect the build of the functions.
fn shared<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
    T::serialize(value, serializer)
}

pub(super) fn all_shared<T: Serialize, S: Serializer>(values: &[Arc<T>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| &**value))
}
