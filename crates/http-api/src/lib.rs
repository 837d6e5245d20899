//! The shared parts of the REST functions: requests, callers and responses.

pub mod adapter;
pub mod body;
pub mod conditions;
pub mod cursor;
mod headers;
mod json;
mod location;
mod media_type;
pub mod page;
pub mod problem;
pub mod problem_code;
mod query;
pub mod request;
pub mod response;
pub mod rest;
pub mod routes;
mod surrogates;

pub use adapter::{Adapter, Complete};
pub use body::Fields;
pub use cursor::Cursor;
pub use json::BODY_DEPTH;
pub use page::{NextPage, PageEnd};
pub use problem::Problem;
pub use problem_code::ProblemCode;
pub use request::ApiRequest;
pub use rest::Rest;
