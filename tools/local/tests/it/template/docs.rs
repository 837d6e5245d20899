//! Documents that agree with the template and with the codes of problems: a part of each, between two marks, is
//! generated and compared.
//!
//! `WRITE_DOCS=1 cargo test --package local --test it template::docs` generates these parts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use emulator::stack::{EventSourceMapping, Function, Integration, Stack};
use http_api::ProblemCode;
use serde_json::Value;

use super::{backend, backend_stack, repository};

/// Compares the part `name` of a document, or writes it.
fn compare(document: &str, name: &str, expected: &str) {
    let path = repository().join(document);
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{document} has no {name}"));
    let (found, after) = rest.split_once(&end).unwrap();
    let expected = format!("\n{expected}\n");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, [before, &begin, &expected, &end, after].concat()).unwrap();
        return;
    }
    assert_eq!(found, expected, "{document} differs from its source: WRITE_DOCS=1 generates it");
}

/// Returns the functions in the order of the template.
fn functions(stack: &Stack) -> Vec<&Function> {
    let text = std::fs::read_to_string(repository().join("infra/backend.yaml")).unwrap();
    let mut functions: Vec<&Function> = stack.functions.iter().collect();
    functions.sort_by_key(|function| text.find(&format!("\n  {}:\n", function.logical_id)));
    functions
}

/// Returns the access of a function to a table, by its grants.
fn access(stack: &Stack, function: &Function, table: &str) -> Option<&'static str> {
    let arn = format!(":table/{table}");
    let actions: BTreeSet<&str> = stack.grants[&function.name]
        .iter()
        .filter(|grant| grant.resource.ends_with(&arn))
        .filter_map(|grant| grant.action.strip_prefix("dynamodb:"))
        .collect();
    let any = |of: &[&str]| of.iter().any(|action| actions.contains(action));
    let writes = any(&["PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"]);
    let reads = any(&["GetItem", "Query", "BatchGetItem", "ConditionCheckItem", "DescribeTable"]);
    match (reads, writes) {
        (true, true) => Some("reads, writes"),
        (true, false) => Some("reads"),
        (false, true) => Some("writes"),
        (false, false) => None,
    }
}

/// Describes the records of a stream that reach a function, by its filter.
fn records(mapping: &EventSourceMapping) -> String {
    mapping.filters.iter().map(records_of).collect::<Vec<_>>().join("; ")
}

fn records_of(filter: &Value) -> String {
    let names = filter["eventName"].as_array().unwrap().iter().filter_map(Value::as_str);
    let names: Vec<String> = names.map(str::to_lowercase).collect();
    let role = &filter["dynamodb"]["NewImage"]["role"]["S"][0];
    let prefix = &filter["dynamodb"]["Keys"]["pk"]["S"][0]["prefix"];
    let of = [("role ", role), ("", prefix)];
    let of = of.iter().filter_map(|(what, value)| value.as_str().map(|value| format!(" of {what}{value}")));
    let images = filter["dynamodb"]["NewImage"].as_object().into_iter().flatten();
    let presence = images.filter_map(|(name, value)| {
        let exists = ["S", "N"].iter().find_map(|kind| value[kind][0]["exists"].as_bool())?;
        Some(format!(" {} {name}", if exists { "with" } else { "without" }))
    });
    format!("{}{}", names.join(", "), of.chain(presence).collect::<String>())
}

fn diagram(stack: &Stack) -> String {
    let functions = functions(stack);
    let mut lines = vec!["flowchart LR".to_owned(), "  client([clients])".to_owned()];
    lines.push("  rest[[REST API]]".to_owned());
    lines.push("  socket[[WebSocket API]]".to_owned());
    for schedule in &stack.schedules {
        lines.push(format!("  {}{{{{every {} s}}}}", schedule.logical_id, schedule.every.as_secs()));
    }
    for function in &functions {
        lines.push(format!("  {}[{}]", function.logical_id, function.binary));
    }
    for table in &stack.tables {
        lines.push(format!("  {}[({})]", table.logical_id, table.name));
    }
    for queue in &stack.queues {
        lines.push(format!("  {}>{}]", queue.logical_id, queue.logical_id));
    }
    lines.push("  client --> rest".to_owned());
    lines.push("  client <--> socket".to_owned());
    let id_of = |name: &str| {
        let found = stack.functions.iter().find(|function| function.name == name || function.arn == name);
        found.unwrap_or_else(|| panic!("no function {name}")).logical_id.clone()
    };
    let mut routes: BTreeMap<String, usize> = BTreeMap::new();
    for method in &stack.rest_api.methods {
        if let Integration::LambdaProxy { function, .. } = &method.integration {
            *routes.entry(id_of(function)).or_default() += 1;
        }
    }
    lines.extend(routes.iter().map(|(id, count)| {
        let plural = if *count == 1 { "" } else { "s" };
        format!("  rest -->|{count} route{plural}| {id}")
    }));
    let mut keys: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for route in &stack.websocket_api.routes {
        keys.entry(id_of(&route.function)).or_default().push(&route.route_key);
    }
    for (id, keys) in &mut keys {
        keys.sort_unstable();
        lines.push(format!("  socket -->|\"{}\"| {id}", keys.join(", ")));
    }
    for schedule in &stack.schedules {
        lines.extend(schedule.functions.iter().map(|name| format!("  {} --> {}", schedule.logical_id, id_of(name))));
    }
    for function in &functions {
        for table in &stack.tables {
            if let Some(access) = access(stack, function, &table.name) {
                lines.push(format!("  {} -->|{access}| {}", function.logical_id, table.logical_id));
            }
        }
        let mut invoked: BTreeSet<String> = BTreeSet::new();
        for grant in &stack.grants[&function.name] {
            match grant.action.as_str() {
                "lambda:InvokeFunction" => {
                    invoked.insert(id_of(&grant.resource));
                }
                "execute-api:ManageConnections" => {
                    lines.push(format!("  {} -->|\"@connections\"| socket", function.logical_id));
                }
                _ => {}
            }
        }
        lines.extend(invoked.iter().map(|id| format!("  {} -->|invokes| {id}", function.logical_id)));
    }
    for mapping in &stack.event_source_mappings {
        let table = stack.tables.iter().find(|table| table.name == mapping.table).unwrap();
        let id = id_of(&mapping.function);
        lines.push(format!("  {} ==>|\"{}\"| {id}", table.logical_id, records(mapping)));
    }
    let mut failures: BTreeSet<(String, &str)> = BTreeSet::new();
    let queue = |arn: &str| stack.queues.iter().find(|queue| queue.arn == arn).unwrap().logical_id.as_str();
    for mapping in &stack.event_source_mappings {
        failures.extend(mapping.on_failure.as_deref().map(|arn| (id_of(&mapping.function), queue(arn))));
    }
    for function in &functions {
        let arn = function.async_invoke.on_failure.as_deref();
        failures.extend(arn.map(|arn| (function.logical_id.clone(), queue(arn))));
    }
    lines.extend(failures.iter().map(|(id, queue)| format!("  {id} -.->|failed| {queue}")));
    format!("```mermaid\n{}\n```", lines.join("\n"))
}

fn table_of_functions(stack: &Stack) -> String {
    let mut given = super::deployment();
    given.parameters.insert("ReserveConcurrency".into(), "true".into());
    let reserving = backend().resolve(&given).unwrap();
    let mut text = "| folder in `services/` | in the template | time-out | memory | reserved | comes from |\n\
                    | --- | --- | --- | --- | --- | --- |"
        .to_owned();
    for function in functions(stack) {
        let reserved = reserving.functions.iter().find(|one| one.name == function.name).unwrap().reserved_concurrency;
        let mut origins: Vec<String> = Vec::new();
        for method in &stack.rest_api.methods {
            let Integration::LambdaProxy { function: name, .. } = &method.integration else { continue };
            if *name == function.name {
                origins.push(format!("`{} {}`", method.http_method, method.path));
            }
        }
        let routes = stack.websocket_api.routes.iter().filter(|route| route.function == function.name);
        origins.extend(routes.map(|route| format!("`{}`", route.route_key)));
        let mappings = stack.event_source_mappings.iter().filter(|mapping| mapping.function == function.name);
        origins.extend(mappings.map(|mapping| format!("stream of `{}`", mapping.table)));
        let schedules = stack.schedules.iter().filter(|schedule| schedule.functions.contains(&function.name));
        origins.extend(schedules.map(|schedule| format!("every {} s", schedule.every.as_secs())));
        for other in stack.functions.iter().filter(|other| other.name != function.name) {
            let invokes = |grant: &&emulator::stack::Grant| {
                grant.action == "lambda:InvokeFunction" && grant.resource == function.arn
            };
            if stack.grants[&other.name].iter().any(|grant| invokes(&grant)) {
                origins.push(other.binary.clone());
            }
        }
        origins.sort_unstable();
        write!(
            text,
            "\n| `{}` | `{}` | {} s | {} MB | {} | {} |",
            function.binary,
            function.logical_id,
            function.timeout.as_secs(),
            function.memory_mb,
            reserved.map_or_else(|| "–".to_owned(), |count| count.to_string()),
            origins.join(", ")
        )
        .unwrap();
    }
    text
}

#[test]
fn the_diagram_is_that_of_the_template() {
    compare("docs/architecture.md", "diagram", &diagram(&backend_stack()));
}

#[test]
fn the_functions_are_those_of_the_template() {
    compare("docs/architecture.md", "functions", &table_of_functions(&backend_stack()));
}

#[test]
fn every_folder_of_a_function_is_in_the_documents() {
    let text = std::fs::read_to_string(repository().join("docs/architecture.md")).unwrap();
    for entry in std::fs::read_dir(repository().join("services")).unwrap() {
        let folder = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("| `{folder}` |")), "docs/architecture.md does not mention {folder}");
    }
}

#[test]
fn every_parameter_is_in_the_documents() {
    let template = backend();
    let text = std::fs::read_to_string(repository().join("infra/backend.yaml")).unwrap();
    let mut parameters: Vec<(&String, &Value)> = template.parameters().iter().collect();
    parameters.sort_by_key(|(name, _)| text.find(&format!("\n  {name}: {{Type")));
    let mut table = "| parameter | default | meaning |\n| --- | --- | --- |".to_owned();
    for (name, parameter) in parameters {
        let default = match parameter.get("Default") {
            None => "none: has to be given".to_owned(),
            Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
        };
        let description = parameter["Description"].as_str().unwrap();
        write!(table, "\n| `{name}` | {default} | {description} |").unwrap();
    }
    compare("docs/guides/deploy.md", "parameters", &table);
}

#[test]
fn every_code_of_a_problem_is_in_the_documents() {
    let mut table = "| code | status | meaning | what to do |\n| --- | --- | --- | --- |".to_owned();
    for code in ProblemCode::ALL {
        let (status, meaning, remedy) = (code.status().as_u16(), code.meaning(), code.remedy());
        write!(table, "\n| `{}` | {status} | {meaning} | {remedy} |", code.as_str()).unwrap();
    }
    compare("docs/reference/problems.md", "codes", &table);
}

/// Each function has a repository of images, and there are no others.
#[test]
fn every_function_has_a_repository() {
    let text = std::fs::read_to_string(repository().join("infra/bootstrap.yaml")).unwrap();
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("RepositoryName: switchboard/"));
    let repositories: BTreeSet<&str> = names.collect();
    let stack = backend_stack();
    let functions: BTreeSet<&str> = stack.functions.iter().map(|function| function.binary.as_str()).collect();
    assert_eq!(repositories, functions);
}
