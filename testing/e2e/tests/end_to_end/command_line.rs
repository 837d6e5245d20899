//! The command line and its error messages.

use std::{net::TcpListener, process::Output};

use crate::{
    programs::{runner, workspace},
    stack::{PATIENCE, Stack},
};

/// Returns the error of a runner that does not start.
async fn failing(arguments: &[&str]) -> String {
    let output = tokio::process::Command::from(runner()).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("the runner ends by itself").unwrap();
    let Output { status, stderr, .. } = output;
    assert!(!status.success(), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

const FREE: [&str; 6] = ["--websocket-port", "0", "--dynamodb-port", "0", "--page-port", "0"];

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_option() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = failing(&[&["--in-memory", "--rest-port", &port], &FREE[..]].concat()).await;
    assert!(error.contains(&port) && error.contains("--rest-port"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_data_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    Stack::on(directory.path()).kill();
    for entry in std::fs::read_dir(directory.path()).unwrap().flatten() {
        let (file, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if name == "dynamodb.sqlite" {
            std::fs::write(file, "this is no database, though it is long enough to be taken for one ".repeat(100))
                .unwrap();
        } else if name.starts_with("dynamodb.sqlite-") {
            // SQLite would restore data that is not yet in the database file itself.
            std::fs::remove_file(file).unwrap();
        }
    }
    let error = failing(&[&["--data-dir", path, "--rest-port", "0"], &FREE[..]].concat()).await;
    assert!(error.contains(path) && error.contains("--data-dir"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_binary_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    let error = failing(&[&["--in-memory", "--rest-port", "0", "--bin-dir", path], &FREE[..]].concat()).await;
    assert!(error.contains(path) && error.contains("cargo build --package"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_runner_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Stack::on(directory.path());
    let path = directory.path().to_str().unwrap();
    let error = failing(&[&["--data-dir", path, "--rest-port", "0"], &FREE[..]].concat()).await;
    assert!(error.contains("another local run"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_prints_a_token_alone_on_its_last_line() {
    let stack = Stack::in_memory();
    let Output { status, stdout, .. } = runner()
        .args(["token", "--user", "alice", "--ttl", "1h", "--ready-file"])
        .arg(stack.ready_file())
        .output()
        .unwrap();
    assert!(status.success());
    let stdout = String::from_utf8(stdout).unwrap();
    assert_eq!(stdout.lines().last().unwrap().split('.').count(), 3);
    assert!(failing(&["token", "--user", ".."]).await.contains("alice@example.com"));
    assert!(failing(&["token", "--user", "a", "--ttl", "soon"]).await.contains("ttl"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alias_takes_its_options_with_and_without_a_separator() {
    let cargo = async |arguments: &[&str]| {
        let output = tokio::process::Command::new(env!("CARGO"))
            .current_dir(workspace())
            .arg("local")
            .args(arguments)
            .kill_on_drop(true)
            .output();
        // Another test may be building the functions, and Cargo builds one after another.
        let output = tokio::time::timeout(PATIENCE * 4, output).await.expect("it ends by itself").unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let stack = Stack::in_memory();
    let ready_file = stack.ready_file();
    let token = ["token", "--user", "alice", "--ready-file", ready_file.to_str().unwrap()];
    for arguments in [&[&["--"], &token[..]].concat()[..], &token] {
        let token = cargo(arguments).await;
        assert_eq!(token.lines().last().unwrap().split('.').count(), 3, "{token}");
    }
    for arguments in [&["--", "--in-memory", "--help"][..], &["--in-memory", "--help"]] {
        assert!(cargo(arguments).await.contains("--ready-file"));
    }
}
