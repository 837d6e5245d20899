//! Pages of lists, with their cursors.

use std::str::FromStr;

use chat::model::validation::Violation;
use http_api::{ApiRequest, Cursor, Problem, page::NextPage};
use serde::Serialize;

/// The end of a page.
#[derive(Serialize)]
pub(crate) struct PageEnd {
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<NextPage>,
}

impl PageEnd {
    /// Returns the end of a page of a list of the kind `kind`, after which the next page begins at `next`.
    pub(crate) fn new(kind: &'static str, next: Option<&[&str]>) -> Self {
        let next = next.map(|parts| NextPage::cursor(Cursor::encode(kind, parts)));
        Self { has_more: next.is_some(), next }
    }

    /// Returns the end of a page of a list that is ordered by ids.
    pub(crate) fn by_id(kind: &'static str, next: Option<&str>) -> Self {
        Self::new(kind, next.as_ref().map(std::slice::from_ref))
    }
}

/// Reads `limit` and the cursor of a list that is ordered by ids.
pub(crate) fn page<Id: FromStr>(request: &ApiRequest, kind: &'static str) -> Result<(Option<Id>, u16), Problem> {
    let mut violations: Vec<Violation> = Vec::new();
    request.reject_unknown_query_parameters(&["limit", "cursor"], &mut violations);
    let limit = request.limit(&mut violations);
    let after = request.position(kind, &mut violations, |parts| match parts {
        [id] => id.parse().ok(),
        _ => None,
    });
    Problem::require_valid(violations)?;
    Ok((after, limit))
}
