//! Tests of the formats, with the samples in `tests/samples` and the example in docs/reference/export.md.

#![allow(clippy::unwrap_used)]

mod documents;
mod samples;
