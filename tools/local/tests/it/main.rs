//! Tests of the local run in one process: documents, template, listeners and page.

// Clippy's exception for tests does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accepted;
mod contracts;
mod documents;
mod doors;
mod page;
mod shapes;
mod template;
