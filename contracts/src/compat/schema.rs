//! Comparison of two JSON Schemas, limited to the keywords that the documents use. Values that clients read may only
//! become narrower. Values that they write may only become wider.

use std::{collections::BTreeSet, fmt::Display};

use serde_json::{Map, Value};

use crate::documents::Documents;

use super::{Break, Part, Place};

/// Direction of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Clients read them: every new value must have been possible before.
    Read,
    /// Clients write them: every old value must still be possible.
    Written,
}

/// One comparison.
pub(super) struct Comparison<'a> {
    old: &'a Documents,
    new: &'a Documents,
    direction: Direction,
    part: Part,
    field: Vec<String>,
    /// Pairs of references under comparison: schemas may contain themselves.
    under_way: Vec<(String, String)>,
    found: BTreeSet<Break>,
}

const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
const LOWER: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
const UPPER: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];

impl<'a> Comparison<'a> {
    pub(super) fn new(old: &'a Documents, new: &'a Documents, direction: Direction, part: Part) -> Self {
        Self { old, new, direction, part, field: Vec::new(), under_way: Vec::new(), found: BTreeSet::new() }
    }

    pub(super) fn finish(self) -> BTreeSet<Break> {
        self.found
    }

    /// Compares a field.
    pub(super) fn enter(&mut self, field: &str, look: impl FnOnce(&mut Self)) {
        self.field.push(field.to_owned());
        look(self);
        self.field.pop();
    }

    fn note(&mut self, what: impl Into<String>) {
        let place = Place { part: self.part.clone(), field: self.field.clone() };
        self.found.insert(Break { place, what: what.into() });
    }

    pub(super) fn compare(&mut self, old: &Value, new: &Value) {
        let reference = |value: &Value| value["$ref"].as_str().unwrap_or_default().to_owned();
        let pair = (reference(old), reference(new));
        let is_named = !pair.0.is_empty() || !pair.1.is_empty();
        if is_named {
            if self.under_way.contains(&pair) {
                return;
            }
            self.under_way.push(pair);
        }
        let (old, new) = (flat(self.old, old), flat(self.new, new));
        self.compare_flat(&old, &new);
        if is_named {
            self.under_way.pop();
        }
    }

    fn compare_flat(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        self.compare_types(old, new);
        self.compare_choices(old, new);
        self.compare_bounds(old, new);
        self.compare_alternatives(old, new);
        self.compare_fields(old, new);
        if let Some(old_items) = old.get("items") {
            let any = Value::Bool(true);
            let new_items = new.get("items").unwrap_or(&any).clone();
            let old_items = old_items.clone();
            self.enter("[]", |inner| inner.compare(&old_items, &new_items));
        }
    }

    fn compare_types(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        self.compare_sets(&types(old), &types(new));
    }

    /// Compares the sets of possible values. Additional values break readers; missing values break writers.
    fn compare_sets<T: Display + Ord>(&mut self, old: &BTreeSet<T>, new: &BTreeSet<T>) {
        match self.direction {
            Direction::Read => {
                for more in new.difference(old) {
                    self.note(format!("may be {more}, which is new"));
                }
            }
            Direction::Written => {
                for lost in old.difference(new) {
                    self.note(format!("may no longer be {lost}"));
                }
            }
        }
    }

    /// Compares `enum` and `const`.
    fn compare_choices(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        match (choices(old), choices(new)) {
            (None, None) => {}
            (Some(_), None) if self.direction == Direction::Read => self.note("may be anything"),
            (Some(_), None) => {}
            (None, Some(_)) if self.direction == Direction::Written => self.note("is restricted to a few values"),
            (None, Some(_)) => {}
            // The document announces further values.
            (Some(_), Some(_)) if self.direction == Direction::Read && is_extensible(old) => {}
            (Some(old), Some(new)) => self.compare_sets(&old, &new),
        }
    }

    fn compare_bounds(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        for (names, sign) in [(LOWER, 1.0), (UPPER, -1.0)] {
            for name in names {
                // The strictness of the bound: the larger, the fewer values.
                let reach = |schema: &Map<String, Value>| {
                    schema.get(name).and_then(Value::as_f64).map_or(f64::NEG_INFINITY, |bound| sign * bound)
                };
                let (before, after) = (reach(old), reach(new));
                let what = |schema: &Map<String, Value>| schema.get(name).map_or("none".to_owned(), Value::to_string);
                let changed = format!("{name} was {} and is {}", what(old), what(new));
                match self.direction {
                    Direction::Read if after < before => self.note(format!("has wider limits: {changed}")),
                    Direction::Written if after > before => self.note(format!("has narrower limits: {changed}")),
                    _ => {}
                }
            }
        }
        // Two patterns cannot be compared; an added or removed pattern can.
        let pattern = |schema: &Map<String, Value>| schema.get("pattern").and_then(Value::as_str).map(str::to_owned);
        match (pattern(old), pattern(new)) {
            (Some(before), Some(after)) if before != after => {
                self.note(format!("has another pattern: it was {before} and is {after}"));
            }
            (Some(_), None) if self.direction == Direction::Read => self.note("no longer has a pattern"),
            (None, Some(after)) if self.direction == Direction::Written => {
                self.note(format!("must match a new pattern: {after}"));
            }
            _ => {}
        }
    }

    /// Compares `anyOf` and `oneOf`: each alternative of one side must be covered by one of the other.
    fn compare_alternatives(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        for name in ["anyOf", "oneOf"] {
            let of = |schema: &Map<String, Value>| schema.get(name).and_then(Value::as_array).cloned();
            let (before, after) = match (of(old), of(new)) {
                (None, None) => continue,
                (Some(_), None) if self.direction == Direction::Read => {
                    self.note("is no longer restricted to a few shapes");
                    continue;
                }
                (None, Some(_)) if self.direction == Direction::Written => {
                    self.note("is restricted to a few shapes");
                    continue;
                }
                (Some(before), Some(after)) => (before, after),
                _ => continue,
            };
            if let Some(property) = old.get("discriminator").and_then(Value::as_str)
                && self.direction == Direction::Read
            {
                self.compare_tagged(property, &before, &after);
                continue;
            }
            let covered = |old: &Value, new: &Value| {
                let mut inner = Comparison { found: BTreeSet::new(), ..self.like() };
                inner.compare(old, new);
                inner.found.is_empty()
            };
            let is_whole = match self.direction {
                Direction::Read => after.iter().all(|new| before.iter().any(|old| covered(old, new))),
                Direction::Written => before.iter().all(|old| after.iter().any(|new| covered(old, new))),
            };
            if !is_whole {
                self.note("has other shapes than before");
            }
        }
    }

    /// Compares the alternatives of a union by the constant of their discriminator. Additional ones break no client, because
    /// clients ignore unknown types.
    fn compare_tagged(&mut self, property: &str, before: &[Value], after: &[Value]) {
        for old in before {
            let wanted = tag(self.old, old, property);
            match after.iter().find(|new| tag(self.new, new, property) == wanted) {
                Some(new) => self.compare(old, new),
                None => self.note(format!("is no longer {}", wanted.unwrap_or_default())),
            }
        }
    }

    fn compare_fields(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        let empty = Map::new();
        let fields = |schema: &Map<String, Value>| {
            schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_else(|| empty.clone())
        };
        let (old_fields, new_fields) = (fields(old), fields(new));
        let (old_required, new_required) = (required(old), required(new));
        for (name, old_field) in &old_fields {
            self.field.push(name.clone());
            match new_fields.get(name) {
                Some(new_field) => self.compare(old_field, new_field),
                None if self.direction == Direction::Read => self.note("is gone"),
                None if new.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    self.note("is no longer accepted")
                }
                None => {}
            }
            if self.direction == Direction::Read && old_required.contains(name) && !new_required.contains(name) {
                self.note("may be missing");
            }
            self.field.pop();
        }
        if self.direction == Direction::Written {
            for name in new_required.difference(&old_required) {
                self.field.push(name.clone());
                self.note("became required");
                self.field.pop();
            }
        }
        let any = Value::Bool(true);
        let rest = |schema: &Map<String, Value>| schema.get("additionalProperties").unwrap_or(&any).clone();
        match (rest(old), rest(new)) {
            (old, new) if old == new => {}
            (Value::Bool(true), Value::Bool(false)) if self.direction == Direction::Written => {
                self.note("no longer accepts other fields");
            }
            (old @ Value::Object(_), new @ Value::Object(_)) => self.enter("{}", |inner| inner.compare(&old, &new)),
            (Value::Object(_), Value::Bool(true)) if self.direction == Direction::Read => {
                self.enter("{}", |inner| inner.note("may be anything"));
            }
            (Value::Bool(true), Value::Object(_)) if self.direction == Direction::Written => {
                self.enter("{}", |inner| inner.note("may no longer be anything"));
            }
            _ => {}
        }
    }

    fn like(&self) -> Self {
        Comparison {
            old: self.old,
            new: self.new,
            direction: self.direction,
            part: self.part.clone(),
            field: self.field.clone(),
            under_way: self.under_way.clone(),
            found: BTreeSet::new(),
        }
    }
}

/// Returns a schema without its reference, and with the parts of `allOf` merged.
fn flat(documents: &Documents, schema: &Value) -> Map<String, Value> {
    let resolved = documents.resolve(schema).as_object().cloned().unwrap_or_default();
    let mut merged = resolved.clone();
    merged.remove("allOf");
    for part in resolved.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        for (name, value) in flat(documents, part) {
            match (merged.get_mut(&name), value) {
                (Some(Value::Object(held)), Value::Object(more)) if name == "properties" => held.extend(more),
                (Some(Value::Array(held)), Value::Array(more)) if name == "required" => held.extend(more),
                (Some(_), _) => {}
                (None, value) => {
                    merged.insert(name, value);
                }
            }
        }
    }
    merged
}

/// Returns the types that a value may have. An integer is a number; without a type, all types are possible.
fn types(schema: &Map<String, Value>) -> BTreeSet<&'static str> {
    let named: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => TYPES.to_vec(),
    };
    let of = |known: &&str| named.contains(known) || (*known == "integer" && named.contains(&"number"));
    TYPES.into_iter().filter(|known| of(known)).collect()
}

fn choices(schema: &Map<String, Value>) -> Option<BTreeSet<String>> {
    let listed = schema.get("enum").and_then(Value::as_array).cloned();
    let choices = listed.or_else(|| schema.get("const").map(|one| vec![one.clone()]))?;
    Some(choices.iter().map(Value::to_string).collect())
}

/// Returns the constant of the discriminator of an alternative, as JSON.
fn tag(documents: &Documents, alternative: &Value, property: &str) -> Option<String> {
    flat(documents, alternative).get("properties").map(|fields| fields[property]["const"].to_string())
}

/// Returns whether an enumeration may get further values, which clients have to expect.
fn is_extensible(schema: &Map<String, Value>) -> bool {
    schema.get("x-extensible") == Some(&Value::Bool(true))
}

fn required(schema: &Map<String, Value>) -> BTreeSet<String> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}
