//! `docs/reference/limits.md`: each row names its constants and parameters, and has their values.

use std::collections::BTreeSet;

use emulator::template;
use serde_json::Value as Json;

use super::{
    code_spans,
    constants::{self, value},
    read, repository,
};

const LIMITS: &str = "crates/chat/src/model/limits.rs";

/// Header of the tables of the domain's limits. Other tables name sources of bytes and numbers.
const HEADER: &str = "| limit | value | constant |";

/// Returns the files and folders in which the constants of a row may be. The page names them from `crates/chat/src`.
fn places(cell: &str) -> Vec<String> {
    let named = code_spans(cell).filter(|span| span.contains('/'));
    let full = named.map(|place| {
        if place.starts_with("crates/") { format!("{place}/src") } else { format!("crates/chat/src/{place}") }
    });
    std::iter::once(LIMITS.to_owned()).chain(full).collect()
}

/// Returns the rows of all tables of the page whose header is accepted, with their headers.
fn rows(is_accepted: impl Fn(&str) -> bool) -> Vec<String> {
    let (mut rows, mut header) = (Vec::new(), None);
    for line in read("docs/reference/limits.md").lines() {
        if !line.starts_with('|') {
            header = None;
            continue;
        }
        if is_accepted(header.get_or_insert_with(|| line.to_owned())) {
            rows.push(line.to_owned());
        }
    }
    rows
}

#[test]
fn limits_have_the_values_of_their_constants() {
    let template = template::load(&repository().join("infra/backend.yaml")).unwrap();
    let mut documented = BTreeSet::new();
    for row in rows(|header| header == HEADER) {
        let cells: Vec<&str> = row.split('|').collect();
        let (limit, constants) = (cells[2], cells[3]);
        for name in code_spans(constants).filter(|span| !span.contains('/')) {
            let found = places(constants).iter().find_map(|place| value(place, name));
            let found = found.unwrap_or_else(|| panic!("no constant is called {name}: {row}"));
            assert!(found.is_in(limit), "{name} is {:?}: {row}", found.written());
            documented.insert(name.to_owned());
        }
        if let Some((_, parameter)) = limit.split_once("parameter `") {
            let name = parameter.split('`').next().unwrap();
            let default = match &template.parameters()[name]["Default"] {
                Json::String(text) => text.clone(),
                number => number.to_string(),
            };
            let number = constants::Value::Number(default.parse().unwrap());
            assert!(number.is_in(limit), "the default of {name} is {default}: {row}");
        }
    }
    let known: BTreeSet<String> = constants::names(LIMITS).into_iter().collect();
    let missing: Vec<&String> = known.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/reference/limits.md lacks {missing:?}");
}

/// A constant is in the file or folder that follows it, and else among the limits of the domain.
#[test]
fn limits_of_what_comes_from_outside_name_their_constants() {
    let mut checked = 0;
    for row in rows(|header| header != HEADER) {
        let Some((stated, constants)) = row.trim_end_matches([' ', '|']).rsplit_once('|') else { continue };
        let spans: Vec<&str> = code_spans(constants).collect();
        for (at, name) in spans.iter().enumerate() {
            if !name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_') {
                continue;
            }
            let place = spans[at..].iter().find(|span| span.contains('/')).unwrap_or(&LIMITS);
            let place = if constants::is_declared(place, name) { place } else { LIMITS };
            assert!(constants::is_declared(place, name), "no constant is called {name}: {row}");
            let found = value(place, name);
            let is_stated = found.is_none_or(|value| value.is_in(stated) || stated.contains("as above"));
            assert!(is_stated, "{name} is {:?}: {row}", found.map(constants::Value::written));
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked} constants");
}
