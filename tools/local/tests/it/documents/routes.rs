//! The table of requests in `docs/reference/api.md`.

use std::collections::BTreeSet;

use http_api::routes::ROUTES;

use super::{code_spans, read};

/// Returns the requests of a cell such as `` `PATCH`, `DELETE /channels/{channel_id}` ``: the methods before a path have
/// that path.
fn requests(cell: &str) -> Vec<(String, String)> {
    let (mut methods, mut found) = (Vec::new(), Vec::new());
    for span in code_spans(cell).filter(|span| span.starts_with(|c: char| c.is_ascii_uppercase())) {
        let (method, path) = span.split_once(' ').unwrap_or((span, ""));
        methods.push(method.to_owned());
        if !path.is_empty() {
            let path = path.split('?').next().unwrap_or_default();
            found.extend(methods.drain(..).map(|method| (method, path.to_owned())));
        }
    }
    found
}

#[test]
fn the_page_has_every_route_and_no_other() {
    let text = read("docs/reference/api.md");
    let (_, section) = text.split_once("## REST\n").unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with('|'));
    let documented: BTreeSet<(String, String)> =
        rows.flat_map(|row| requests(row.split(" | ").next().unwrap())).collect();
    let of = |(path, methods): &(&str, &[(http::Method, http_api::routes::Route)])| {
        methods.iter().map(|(method, _)| (method.to_string(), (*path).to_owned())).collect::<Vec<_>>()
    };
    let routes: BTreeSet<(String, String)> = ROUTES.iter().flat_map(of).collect();
    assert_eq!(documented, routes);
}
