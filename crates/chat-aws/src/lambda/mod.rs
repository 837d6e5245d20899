//! Lambda: records of a stream that invoke a function, and functions that are invoked asynchronously.

pub mod fan_out;
pub mod maintenance;
pub mod stream;
