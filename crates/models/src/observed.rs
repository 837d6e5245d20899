//! Calls of models as spans and metrics ("Semantic conventions for generative client AI spans" and "… metrics"). Both
//! contain neither the prompt nor the reply.

use std::time::Instant;

use chat::ports::language_model::{ModelError, Piece, Pieces, Usage};
use futures::StreamExt;
use telemetry::{OpenTelemetrySpanExt, Status, metrics};
use tracing::{Instrument, Span};

/// Starts a reply with `call`, in a span that ends with the reply.
pub(crate) async fn observe(
    provider: &'static str,
    model: &str,
    call: impl Future<Output = Result<Pieces, ModelError>>,
) -> Result<Pieces, ModelError> {
    let span = tracing::info_span!(
        "chat",
        otel.name = format_args!("chat {model}"),
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = provider,
        gen_ai.request.model = model,
        gen_ai.output.type = "text",
    );
    let mut under_way = Call { span: span.clone(), began: Instant::now(), usage: None, is_over: false };
    match call.instrument(span).await {
        Ok(pieces) => Ok(watch(pieces, under_way)),
        Err(error) => {
            under_way.end(Some(&error));
            Err(error)
        }
    }
}

/// Returns the same pieces, and records their usage and end.
fn watch(pieces: Pieces, call: Call) -> Pieces {
    futures::stream::unfold((pieces, call), async |(mut pieces, mut call)| {
        let piece = pieces.next().instrument(call.span.clone()).await;
        match &piece {
            Some(Ok(Piece::Usage(usage))) => call.usage = Some(*usage),
            Some(Ok(_)) => {}
            Some(Err(error)) => call.end(Some(error)),
            None => call.end(None),
        }
        Some((piece?, (pieces, call)))
    })
    .boxed()
}

/// A running call. A cancelled call ends when it is dropped.
struct Call {
    span: Span,
    began: Instant,
    /// Last report of the usage.
    usage: Option<Usage>,
    is_over: bool,
}

impl Call {
    fn record(&self, usage: Usage) {
        let tokens = [("input", usage.input_tokens), ("output", usage.output_tokens)];
        for (kind, count) in tokens {
            metrics::observe_by(&metrics::MODEL_TOKENS, kind, f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.span.set_attribute("gen_ai.usage.input_tokens", number(usage.input_tokens));
        self.span.set_attribute("gen_ai.usage.output_tokens", number(usage.output_tokens));
    }

    fn end(&mut self, error: Option<&ModelError>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        if let Some(usage) = self.usage {
            self.record(usage);
        }
        metrics::observe(&metrics::MODEL_DURATION, self.began.elapsed().as_secs_f64());
        if let Some(error) = error {
            let kind = kind(error);
            self.span.set_attribute("error.type", kind);
            self.span.set_status(Status::error(kind));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_over {
            self.span.set_attribute("switchboard.cancelled", true);
        }
        self.end(None);
    }
}

fn kind(error: &ModelError) -> &'static str {
    match error {
        ModelError::Busy { .. } => "busy",
        ModelError::Unavailable(_) => "unavailable",
        ModelError::Malformed(_) => "malformed",
        ModelError::Oversized(_) => "oversized",
        ModelError::Filtered => "filtered",
        ModelError::TooLong => "too_long",
        ModelError::Refused(_) => "refused",
    }
}
