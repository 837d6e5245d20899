//! The local run beside AWS: each test states what AWS did, as recorded, and holds the local run to it.
//!
//! The recordings are the validated snapshots of LocalStack's tests of AWS itself (`localstack/localstack`, folder
//! `tests/aws/services`). A test names the file and the test that recorded its facts. `docs/reference/fidelity.md` lists
//! them all, with those in which the local run differs.

mod filters;
mod gateway_events;
mod gateway_responses;
mod mappings;
mod stream_records;
mod transactions;
