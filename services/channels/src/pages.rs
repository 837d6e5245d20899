//! Pages of lists.

use std::str::FromStr;

use chat::model::validation::Violation;
use http_api::{ApiRequest, Problem};
use serde::Serialize;

/// The end of a page.
#[derive(Serialize)]
pub(crate) struct PageInfo<Id> {
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next<Id>>,
}

impl<Id> PageInfo<Id> {
    pub(crate) fn new(next_after: Option<Id>) -> Self {
        Self { has_more: next_after.is_some(), next: next_after.map(|after| Next { after }) }
    }
}

/// The query parameter that requests the next page.
#[derive(Serialize)]
struct Next<Id> {
    after: Id,
}

/// Reads `limit` and `after`.
pub(crate) fn page<Id: FromStr>(request: &ApiRequest, expected: &str) -> Result<(Option<Id>, u16), Problem> {
    let mut violations: Vec<Violation> = Vec::new();
    request.reject_unknown_query_parameters(&["limit", "after"], &mut violations);
    let limit = request.limit(&mut violations);
    let after = request.query("after", expected, &mut violations);
    Problem::require_valid(violations)?;
    Ok((after, limit))
}
