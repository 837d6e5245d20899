//! Export of the same values through OTLP.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, MeterProvider},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality, data::ResourceMetrics,
        reader::MetricReader,
    },
};

use super::{Kind, METRICS, MODEL_DURATION, MODEL_TOKENS, Metric, Recorded};

/// Buckets of durations in milliseconds, and of counts.
const BUCKETS: [f64; 14] =
    [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0];

/// Buckets that the conventions recommend ("Semantic conventions for generative AI metrics").
const TOKEN_BUCKETS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Buckets for durations in seconds, from the same conventions.
const SECOND_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

fn buckets(metric: &Metric) -> Vec<f64> {
    if metric.name == MODEL_TOKENS.name {
        TOKEN_BUCKETS.to_vec()
    } else if metric.name == MODEL_DURATION.name {
        SECOND_BUCKETS.to_vec()
    } else {
        BUCKETS.to_vec()
    }
}

#[derive(Debug)]
enum Instrument {
    Counter(Counter<u64>),
    Histogram(Histogram<f64>),
}

/// The SDK's instruments. They report the values since the last collection (delta temporality), because environments
/// have independent and unknown lifetimes.
#[derive(Debug)]
pub(crate) struct Instruments {
    by_name: HashMap<&'static str, Instrument>,
    reader: Reader,
    _provider: SdkMeterProvider,
}

impl Instruments {
    pub(crate) fn new(resource: Resource) -> Self {
        let reader = Reader(Arc::new(ManualReader::builder().with_temporality(Temporality::Delta).build()));
        let provider = SdkMeterProvider::builder().with_reader(reader.clone()).with_resource(resource).build();
        let meter = provider.meter("switchboard");
        let instruments = METRICS.iter().map(|metric| {
            let instrument = match metric.kind {
                Kind::Counter => Instrument::Counter(
                    meter.u64_counter(metric.name).with_unit(metric.unit).with_description(metric.meaning).build(),
                ),
                Kind::Histogram => Instrument::Histogram(
                    meter
                        .f64_histogram(metric.name)
                        .with_unit(metric.unit)
                        .with_description(metric.meaning)
                        .with_boundaries(buckets(metric))
                        .build(),
                ),
            };
            (metric.name, instrument)
        });
        Self { by_name: instruments.collect(), reader, _provider: provider }
    }

    /// Adds the values that an invocation recorded.
    pub(crate) fn add(&self, recorded: &[Recorded]) {
        for Recorded { metric, dimension, values } in recorded {
            let attributes: Vec<KeyValue> =
                dimension.iter().map(|(name, value)| KeyValue::new(*name, value.clone())).collect();
            match self.by_name.get(metric.name) {
                Some(Instrument::Counter(counter)) =>
                {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                    for value in values {
                        counter.add(*value as u64, &attributes);
                    }
                }
                Some(Instrument::Histogram(histogram)) => {
                    for value in values {
                        histogram.record(*value, &attributes);
                    }
                }
                None => {}
            }
        }
    }

    /// Returns the values since the last call.
    pub(crate) fn collect(&self) -> Option<ResourceMetrics> {
        let mut metrics = ResourceMetrics::default();
        self.reader.collect(&mut metrics).ok()?;
        let is_empty = metrics.scope_metrics().next().is_none();
        (!is_empty).then_some(metrics)
    }
}

/// A shared reader, because the SDK takes ownership of its reader.
#[derive(Debug, Clone)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
