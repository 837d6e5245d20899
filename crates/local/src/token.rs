//! Tokens that the local stack accepts.
