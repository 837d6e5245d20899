//! Published contracts: the pacts of the consumers in this repository, and the documents. Changes of the working copy
//! are compared with them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    compat::{Pacts, breaks},
    documents::Documents,
    stack::repository,
    verify::pact_files,
};

const DOCUMENTS: [&str; 2] = ["openapi.yaml", "asyncapi.yaml"];

/// Returns this folder in the working copy.
#[must_use]
pub fn contracts() -> PathBuf {
    repository().join("contracts")
}

/// Returns the folder of published contracts.
#[must_use]
pub fn folder() -> PathBuf {
    contracts().join("published")
}

/// Returns the folder of published pacts.
#[must_use]
pub fn pacts_folder() -> PathBuf {
    folder().join("pacts")
}

/// Returns every change of the working copy that would break a client, as text.
pub fn broken(published: &Path, documents: &Path) -> Result<Vec<String>> {
    let pacts = Pacts::read(&published.join("pacts"))?;
    let (old, new) = (Documents::read(published)?, Documents::read(documents)?);
    Ok(breaks(&old, &new).iter().map(|one| one.explain(&pacts)).collect())
}

/// Compares the pacts of the consumer tests with the published ones. Returns the differences as text.
pub fn stale(written: &Path) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for published in pact_files(&pacts_folder())? {
        if published.file_name().is_some_and(|name| !written.join(name).is_file()) {
            differences.push(format!("{} is of a consumer without a test; delete it", published.display()));
        }
    }
    for file in pact_files(written)? {
        let name = file.file_name().context("a pact without a name")?;
        let published = pacts_folder().join(name);
        let before = std::fs::read_to_string(&published).unwrap_or_default();
        if before != normalised(&file)? {
            differences
                .push(format!("{} is not what the consumer tests write: cargo contracts publish", published.display()));
        }
    }
    Ok(differences)
}

/// Publishes pacts and documents. Fails if that would break a client, unless `breaking` is set.
pub fn publish(written: &Path, breaking: bool) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(pacts_folder())?;
    if !breaking && DOCUMENTS.iter().all(|name| folder().join(name).is_file()) {
        let broken = broken(&folder(), &contracts())?;
        if !broken.is_empty() {
            bail!("these changes would break clients; --breaking publishes them nevertheless\n{}", broken.join("\n"));
        }
    }
    let mut files = Vec::new();
    for file in pact_files(written)? {
        let path = pacts_folder().join(file.file_name().context("a pact without a name")?);
        std::fs::write(&path, normalised(&file)?)?;
        files.push(path);
    }
    for name in DOCUMENTS {
        let path = folder().join(name);
        std::fs::copy(contracts().join(name), &path)?;
        files.push(path);
    }
    Ok(files)
}

/// Returns a pact in a fixed order, without the versions of the libraries that wrote it.
fn normalised(file: &Path) -> Result<String> {
    let mut pact: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    if let Some(interactions) = pact["interactions"].as_array_mut() {
        interactions.sort_by_key(|interaction| {
            (interaction["description"].to_string(), interaction["providerStates"].to_string())
        });
    }
    if let Some(metadata) = pact["metadata"].as_object_mut() {
        metadata.retain(|name, _| name == "pactSpecification");
    }
    sort(&mut pact);
    Ok(format!("{:#}\n", pact))
}

/// Sorts fields by name: some libraries write them in any order.
fn sort(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<(String, Value)> = std::mem::take(fields).into_iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (_, field) in &mut sorted {
                sort(field);
            }
            fields.extend(sorted);
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}
