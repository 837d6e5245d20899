//! Tests of the models with servers on this machine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bedrock;
mod bedrock_support;
mod continuation;
mod corpus;
mod limits;
mod openai;
