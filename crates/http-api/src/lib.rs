//! The shared parts of the REST functions: requests, callers and responses.

pub mod body;
mod json;
pub mod problem;
pub mod request;
pub mod response;
pub mod rest;
pub mod routes;
mod surrogates;

pub use body::Fields;
pub use json::BODY_DEPTH;
pub use problem::Problem;
pub use request::ApiRequest;
pub use rest::Rest;
