//! Names in pages: variables, log events, attributes and parameters.

use std::collections::BTreeSet;

use emulator::template;

use super::{code_spans, files, read, repository};

/// Returns the text of everything that may define a name.
fn sources() -> String {
    let kinds = ["rs", "yaml", "yml", "json", "toml", "sh", "py", "js", "mjs", "ts", "nix"];
    let folders =
        ["crates", "services", "emulator", "tools", "testing", "infra", "images", "contracts", "clients", ".github"];
    let found = folders.iter().flat_map(|folder| files(&repository().join(folder), &kinds));
    found.filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Returns the pages with descriptions of the system as it is. Reports and decisions describe one time.
fn pages() -> Vec<(String, String)> {
    let mut names: Vec<String> =
        ["README.md", "docs/architecture.md", "docs/glossary.md", "docs/security-model.md"].map(str::to_owned).into();
    for folder in ["docs/guides", "docs/reference"] {
        let found = files(&repository().join(folder), &["md"]);
        names.extend(found.iter().map(|path| format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap())));
    }
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

/// Returns whether a code span is the name of a variable or a constant, or of an attribute or a metric of Switchboard.
fn is_name(span: &str) -> bool {
    let is_variable =
        span.contains('_') && span.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let is_attribute = span.strip_prefix("switchboard.").is_some_and(|rest| {
        !rest.is_empty() && !rest.ends_with('.') && rest.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c))
    });
    is_variable || is_attribute
}

/// Variables of other programs.
const FOREIGN: [&str; 2] = ["OPENTELEMETRY_COLLECTOR_CONFIG_URI", "OTEL_EXPORTER_OTLP_HEADERS"];

#[test]
fn names_in_pages_exist() {
    let sources = sources();
    for (page, text) in pages() {
        let names: BTreeSet<&str> = code_spans(&text).filter(|span| is_name(span)).collect();
        for name in names {
            assert!(FOREIGN.contains(&name) || sources.contains(name), "{page}: nothing is called {name}");
        }
    }
}

#[test]
fn log_events_in_pages_are_logged() {
    let sources = sources();
    for (page, event) in [
        ("docs/reference/authorization.md", "token refused"),
        ("docs/reference/telemetry.md", "spans were dropped"),
        ("docs/reference/telemetry.md", "push failed"),
        ("docs/reference/telemetry.md", "a push was slow"),
        ("docs/reference/telemetry.md", "push dropped"),
        ("docs/guides/operate.md", "a stream record is no message"),
    ] {
        assert!(read(page).contains(&format!("`{event}`")), "{page} lacks {event}");
        assert!(sources.contains(&format!("\"{event}\"")), "{page}: nothing logs {event}");
    }
}

/// Parameters are named with capital letters, as `SendRate`. The rows of rate limits have no other names of this form.
#[test]
fn parameters_in_pages_are_those_of_the_template() {
    let template = template::load(&repository().join("infra/backend.yaml")).unwrap();
    let known: BTreeSet<&str> = template.parameters().keys().map(String::as_str).collect();
    for (page, text) in pages() {
        let named = text.split("parameter `").skip(1).filter_map(|rest| rest.split('`').next());
        for name in named.filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())) {
            assert!(known.contains(name), "{page}: the template has no parameter {name}");
        }
    }
    let text = read("docs/reference/authorization.md");
    let (_, section) = text.split_once("## Rate limits\n").unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let limits: BTreeSet<&str> = rows.flat_map(code_spans).collect();
    assert!(limits.len() >= 9 && limits.is_subset(&known), "{limits:?}");
}

#[test]
fn the_steps_of_the_checks_are_those_of_the_page() {
    let text = read("docs/guides/contribute.md");
    let (_, section) = text.split_once("| step |").unwrap();
    let rows = section.lines().skip(2).map_while(|line| line.strip_prefix("| `"));
    let documented: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let source = read("tools/xtask/src/steps/mod.rs");
    let steps = source.split("    step(\"").skip(1).filter_map(|rest| rest.split('"').next());
    assert_eq!(documented, steps.chain(["totals"]).collect::<Vec<_>>());
}

/// Each option is a field, and its name is that of the field unless the field has another.
#[test]
fn the_options_of_the_local_run_are_those_of_the_page() {
    let text = read("docs/guides/local.md");
    let source = read("tools/local/src/cli.rs");
    let (_, fields) = source.split_once("pub struct RunOptions {").unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    let mut other_name = None;
    for line in fields.lines().map(str::trim) {
        if let Some((_, rest)) = line.split_once("long = \"") {
            other_name = rest.split('"').next();
        } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(':')) {
            let option = other_name.take().map_or_else(|| field.replace('_', "-"), str::to_owned);
            assert!(text.contains(&format!("--{option} ")) || text.contains(&format!("--{option}`")), "--{option}");
        }
    }
    for option in text.split("`--").skip(1).filter_map(|rest| rest.split([' ', '`']).next()) {
        let field = format!("pub {}:", option.replace('-', "_"));
        assert!(source.contains(&field) || source.contains(&format!("long = \"{option}\"")), "--{option}");
    }
}
