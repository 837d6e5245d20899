//! The layers of this crate: no file imports from a layer above its own.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each layer, and the layers that its files may import from.
const LAYERS: [(&str, &[&str]); 4] = [
    ("model", &["model"]),
    ("ports", &["model"]),
    ("app", &["model", "ports", "app"]),
    ("memory", &["model", "ports", "memory"]),
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

/// The code of a file without comments and without its tests, which may import from every layer.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The layers that a piece of code names after `crate::`, alone or in a list.
fn imported(code: &str) -> Vec<String> {
    let mut layers = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if !rest.starts_with('{') {
            layers.push(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned());
            continue;
        }
        // A list: the names at its first level.
        let (mut depth, mut name) = (0, String::new());
        for c in rest.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ if depth == 1 => name.push(c),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        let names = name.split(',').map(|item| item.trim().split("::").next().unwrap().to_owned());
        layers.extend(names.filter(|item| !item.is_empty()));
    }
    layers
}

#[test]
fn no_layer_imports_from_one_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut count = 0;
    for (layer, allowed) in LAYERS {
        for file in files(&source.join(layer)) {
            if file.file_name().is_some_and(|name| name == "tests.rs")
                || file.components().any(|part| part.as_os_str() == "tests")
            {
                continue;
            }
            count += 1;
            for import in imported(&code(&file)) {
                let name = file.strip_prefix(&source).unwrap().display();
                assert!(allowed.contains(&import.as_str()), "{name} must not import from `{import}`");
            }
        }
    }
    assert!(count > 60, "only {count} files were read");
}

#[test]
fn ports_import_from_no_other_port() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ports");
    for file in files(&source) {
        assert!(!code(&file).contains("super::"), "{}", file.display());
    }
}

/// AWS's own words. The limits of its services are numbers of the ports, with the page that they are from in a comment.
#[test]
fn no_code_names_aws() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in files(&source) {
        let code = code(&file).to_lowercase();
        let names = ["dynamo", "lambda", "apigateway", "cloudwatch", "bedrock"];
        let is_of_aws = |word: &str| word == "aws" || names.iter().any(|name| word.contains(name));
        let found = code.split(|c: char| !c.is_alphanumeric()).find(|word| is_of_aws(word));
        assert!(found.is_none(), "{}: {}", file.display(), found.unwrap_or_default());
    }
}

#[test]
fn imports_are_found_wherever_they_stand() {
    let code =
        "use crate::{model::{id::UserId, time::Timestamp}, ports::clock::Clock};\nlet x = crate::app::send::f();";
    assert_eq!(imported(code), ["model", "ports", "app"]);
}
