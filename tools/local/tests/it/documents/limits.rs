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

/// Returns the files and folders in which the constants of a row may be. The page names them from `crates/chat/src`.
fn places(cell: &str) -> Vec<String> {
    let named = code_spans(cell).filter(|span| span.contains('/'));
    let full = named.map(|place| {
        if place.starts_with("crates/") { format!("{place}/src") } else { format!("crates/chat/src/{place}") }
    });
    std::iter::once(LIMITS.to_owned()).chain(full).collect()
}

#[test]
fn limits_have_the_values_of_their_constants() {
    let template = template::load(&repository().join("infra/backend.yaml")).unwrap();
    let mut documented = BTreeSet::new();
    for row in read("docs/reference/limits.md").lines().filter(|line| line.starts_with("| ")) {
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
