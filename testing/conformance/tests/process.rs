//! The binary with clients in processes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Output};

fn conformance(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_client_that_does_nothing_is_named_with_rule_and_seed() {
    let client = r#"while read -r line; do echo '{"do":"idle"}'; done"#;
    let output = conformance(&["--seed", "4", "--rule", "live", "--", "sh", "-c", client]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("seed 4: live: "), "{text}");
    assert!(text.contains(r#""start":{"#), "the dialogue is printed: {text}");
    assert!(text.ends_with("1 failures\n"), "{text}");
}

#[test]
fn a_client_that_ends_breaks_the_protocol() {
    let output = conformance(&["--seeds", "1", "--jobs", "1", "--", "sh", "-c", "exit 0"]);
    assert!(text(&output).contains("seed 0: protocol: "), "{}", text(&output));
}

#[test]
fn an_unknown_rule_or_client_is_an_error() {
    assert_eq!(conformance(&["--rule", "none", "--", "true"]).status.code(), Some(2));
    assert_eq!(conformance(&["planted", "none"]).status.code(), Some(2));
    assert!(text(&conformance(&["--rules"])).lines().any(|line| line == "complete-messages"));
}
