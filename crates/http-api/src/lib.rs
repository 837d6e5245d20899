//! What the REST functions share: reading a request, knowing its caller, and answering.

pub mod body;
mod json;
pub mod problem;
pub mod request;
pub mod response;
pub mod rest;
pub mod routes;

pub use body::Fields;
pub use json::BODY_DEPTH;
pub use problem::Problem;
pub use request::ApiRequest;
pub use rest::Rest;
