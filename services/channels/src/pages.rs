//! Pages of lists that are ordered by ids.

use std::str::FromStr;

use chat::model::validation::Violation;
use http_api::{ApiRequest, Problem};

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
