//! Ids, times and traces as text: a parsed value can be written, and equals the value parsed from that.

use std::{fmt::Display, str::FromStr};

use chat::model::{
    id::{ChannelId, ConnectionId, IdempotencyKey, MessageId, ReservedNames, TenantId, UserId},
    time::Timestamp,
};
use telemetry::context::ParentContext;

pub fn run(data: &[u8]) {
    if let Some(millis) = data.first_chunk::<8>() {
        let time = Timestamp::from_millis(i64::from_le_bytes(*millis));
        again::<Timestamp>(&time.to_string());
        let _ = Timestamp::from_secs(time.as_millis()).to_string();
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if matches!(text, "." | "..") {
        assert!(text.parse::<ChannelId>().is_err() && text.parse::<UserId>().is_err());
        assert!(text.parse::<TenantId>().is_err() && text.parse::<ConnectionId>().is_err());
    }
    id::<ChannelId>(text, &['#', '~', '/', ' ']);
    id::<UserId>(text, &['#', '~', '/', ' ']);
    id::<TenantId>(text, &['#', '~', '/', ' ']);
    id::<ConnectionId>(text, &['#', ' ']);
    id::<IdempotencyKey>(text, &[' ']);
    again::<Timestamp>(text);
    if let Ok(user) = UserId::of_subject(None, text) {
        assert_eq!(user.subject().as_deref(), Some(text));
        assert_eq!(user.as_str().parse(), Ok(user.clone()));
    }
    if let Ok(user) = ReservedNames::default().user(text) {
        assert!(!text.eq_ignore_ascii_case("agent") && !text.eq_ignore_ascii_case("system"));
        assert_eq!(Ok(user), text.parse());
    }
    if let Ok(id) = MessageId::try_from(text.to_owned()) {
        assert_eq!(MessageId::try_from(id.to_string()), Ok(id));
        assert!(id.to_string().eq_ignore_ascii_case(text), "{text}");
    }
    if let Ok(id) = text.parse::<local::otlp::TraceId>() {
        assert!(id.to_string().eq_ignore_ascii_case(text));
    }
    let _ = local::token::parse_ttl(text);
    let mut lines = text.split('\n');
    let (traceparent, tracestate, xray) = (lines.next(), lines.next(), lines.next());
    for remote in
        [ParentContext::of(traceparent, tracestate), xray.and_then(ParentContext::of_xray)].into_iter().flatten()
    {
        let written = remote.to_trace_context();
        assert_eq!(written.traceparent.len(), 55);
        let again = ParentContext::of(Some(&written.traceparent), written.tracestate.as_deref()).expect("a trace");
        assert_eq!(again.to_trace_context(), written);
        assert_eq!(again.trace_id(), remote.trace_id());
    }
    if let Some(remote) = ParentContext::of(traceparent, None) {
        assert!(traceparent.unwrap_or_default().contains(&remote.trace_id()));
    }
    let _ = ParentContext::of_request(traceparent, tracestate, xray).trace_id();
}

fn id<Id: FromStr + Display>(text: &str, without: &[char]) {
    if let Ok(id) = text.parse::<Id>() {
        assert_eq!(id.to_string(), text);
        assert!(!text.is_empty() && text.is_ascii() && !text.contains(without), "{text}");
    }
}

fn again<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        let written = read.to_string();
        let read_again = written.parse::<T>().unwrap_or_else(|_| panic!("{text} is written as {written}"));
        assert!(read_again == read, "{text} is written as {written}");
    }
}
