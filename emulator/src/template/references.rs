//! Checks references: each has a target, and they form no cycle.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Template, TemplateError};

/// Intrinsic functions of the subset.
const FUNCTIONS: [&str; 10] = [
    "Fn::GetAtt",
    "Fn::Sub",
    "Fn::Join",
    "Fn::Select",
    "Fn::Split",
    "Fn::If",
    "Fn::Equals",
    "Fn::And",
    "Fn::Or",
    "Fn::Not",
];

/// Pseudo parameters of the subset.
const PSEUDO: [&str; 7] = [
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackName",
    "AWS::StackId",
    "AWS::URLSuffix",
];

/// References of a part of a template. Conditions and resources have separate names: one can have the name of the
/// other.
#[derive(Default)]
struct Found {
    conditions: BTreeSet<String>,
    resources: BTreeSet<String>,
}

pub(super) fn check(template: &Template) -> Result<(), TemplateError> {
    let mut graph = BTreeMap::new();
    for (id, value) in &template.conditions {
        let mut found = Found::default();
        walk(template, id, value, &mut found)?;
        // The rule of CloudFormation. It also excludes a cycle of a resource and its own condition.
        if let Some(resource) = found.resources.first() {
            return Err(TemplateError::at(id, format!("a condition cannot ask for a resource, {resource}")));
        }
        graph.insert(id.clone(), found.conditions);
    }
    acyclic(&graph)?;
    let mut graph = BTreeMap::new();
    for (id, resource) in &template.resources {
        if !resource.is_object() {
            return Err(TemplateError::at(id, "must be a mapping"));
        }
        let mut found = Found::default();
        walk(template, id, resource, &mut found)?;
        let depends = match resource.get("DependsOn") {
            Some(Value::Array(ids)) => ids.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        for depends_on in depends {
            let name = depends_on.as_str().unwrap_or_default();
            if !template.resources.contains_key(name) {
                return Err(TemplateError::at(
                    format!("{id}.DependsOn"),
                    format!("no resource is called {depends_on}"),
                ));
            }
            found.resources.insert(name.to_owned());
        }
        if let Some(condition) = resource.get("Condition").and_then(Value::as_str) {
            condition_exists(template, &format!("{id}.Condition"), condition)?;
        }
        graph.insert(id.clone(), found.resources);
    }
    for (id, output) in &template.outputs {
        walk(template, id, output, &mut Found::default())?;
    }
    acyclic(&graph)
}

fn acyclic(graph: &BTreeMap<String, BTreeSet<String>>) -> Result<(), TemplateError> {
    let mut done = BTreeSet::new();
    for id in graph.keys() {
        visit(id, graph, &mut Vec::new(), &mut done)?;
    }
    Ok(())
}

fn visit<'a>(
    id: &'a str,
    graph: &'a BTreeMap<String, BTreeSet<String>>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Result<(), TemplateError> {
    if done.contains(id) {
        return Ok(());
    }
    if let Some(start) = path.iter().position(|step| *step == id) {
        return Err(TemplateError::at(id, format!("circular reference: {} → {id}", path[start..].join(" → "))));
    }
    path.push(id);
    for next in graph.get(id).into_iter().flatten() {
        visit(next, graph, path, done)?;
    }
    path.pop();
    done.insert(id);
    Ok(())
}

fn walk(template: &Template, at: &str, value: &Value, found: &mut Found) -> Result<(), TemplateError> {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| walk(template, &format!("{at}.{index}"), item, found))
        }
        Value::Object(map) => {
            for (key, inner) in map {
                let at = &format!("{at}.{key}");
                match (key.as_str(), inner) {
                    ("Ref", Value::String(name)) if map.len() == 1 => refer(template, at, name, found)?,
                    ("Condition", Value::String(name)) if map.len() == 1 => {
                        condition_exists(template, at, name)?;
                        found.conditions.insert(name.clone());
                    }
                    ("Fn::GetAtt", inner) => match get_att(inner) {
                        Some((name, _)) if template.resources.contains_key(&name) => {
                            found.resources.insert(name);
                        }
                        _ => {
                            return Err(TemplateError::at(at, format!("no resource has what {inner} asks for")));
                        }
                    },
                    ("Fn::Sub", inner) => {
                        let (text, own) = match inner {
                            Value::Array(pair) => (pair.first(), pair.get(1).and_then(Value::as_object)),
                            text => (Some(text), None),
                        };
                        let text = text.and_then(Value::as_str);
                        let text =
                            text.ok_or_else(|| TemplateError::at(at, "takes a text, or a text and a mapping"))?;
                        for name in variables(text) {
                            if !own.is_some_and(|own| own.contains_key(name)) {
                                refer(template, at, name, found)?;
                            }
                        }
                        for inner in own.into_iter().flat_map(|own| own.values()) {
                            walk(template, at, inner, found)?;
                        }
                    }
                    ("Fn::If", Value::Array(items)) if items.len() == 3 => {
                        condition_exists(template, at, items[0].as_str().unwrap_or_default())?;
                        walk(template, at, inner, found)?;
                    }
                    (other, _) if other.starts_with("Fn::") && !FUNCTIONS.contains(&other) => {
                        return Err(TemplateError::at(at, format!("{other} is not supported by the local run")));
                    }
                    _ => walk(template, at, inner, found)?,
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn condition_exists(template: &Template, at: &str, name: &str) -> Result<(), TemplateError> {
    if template.conditions.contains_key(name) {
        return Ok(());
    }
    Err(TemplateError::at(at, format!("no condition is called {name:?}")))
}

fn refer(template: &Template, at: &str, name: &str, found: &mut Found) -> Result<(), TemplateError> {
    let id = name.split('.').next().unwrap_or_default();
    if template.resources.contains_key(id) {
        found.resources.insert(id.to_owned());
        return Ok(());
    }
    if template.parameters.contains_key(name) || PSEUDO.contains(&name) {
        return Ok(());
    }
    Err(TemplateError::at(at, format!("no parameter or resource is called {name}")))
}

/// Parses `A.B` or `[A, B]`.
pub(super) fn get_att(value: &Value) -> Option<(String, String)> {
    match value {
        Value::String(text) => text.split_once('.').map(|(id, name)| (id.to_owned(), name.to_owned())),
        Value::Array(pair) => Some((pair.first()?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned())),
        _ => None,
    }
}

/// Returns the `${…}` of a text, without the literal `${!…}`. A name ends at the next brace.
fn variables(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (name, rest) = text.split_once("${")?.1.split_once('}')?;
        text = rest;
        Some(name.trim())
    })
    .filter(|name| !name.starts_with('!'))
}
