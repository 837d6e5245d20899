//! The license texts of the crates in an archive. The licenses that `deny.toml` allows require their texts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use xshell::cmd;

use super::crates::Crate;
use crate::Result;
use crate::workspace::Workspace;

/// Beginnings of the names of files with licenses and notices, in upper case.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

const TITLE: &str = "Licenses of the crates that the binaries are compiled from. Crates with one text share it.\n";

/// Returns the texts of all crates of other projects.
pub(super) fn collect(workspace: &Workspace, compiled: &BTreeSet<Crate>) -> Result<String> {
    let metadata = workspace.read(cmd!(workspace.shell, "cargo metadata --format-version 1 --locked"))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata has no packages")?;
    let (mut texts, mut named) = (BTreeMap::<String, BTreeSet<String>>::new(), String::new());
    for package in packages {
        let text = |field: &str| package[field].as_str().unwrap_or_default();
        let name = (text("name").to_owned(), text("version").to_owned());
        // A package without a source is one of this workspace.
        if package["source"].is_null() || !compiled.contains(&name) {
            continue;
        }
        let title = format!("{} {}", name.0, name.1);
        let _ = writeln!(named, "{title}: {}", text("license"));
        let folder = Path::new(text("manifest_path")).parent().unwrap_or(Path::new("."));
        for found in files(folder)? {
            texts.entry(found).or_default().insert(title.clone());
        }
    }
    Ok(format(&named, &texts))
}

/// Returns the texts of the license files of a folder.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if entry.file_type()?.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            let text = String::from_utf8_lossy(&fs::read(entry.path())?).replace("\r\n", "\n");
            found.push(text.trim().to_owned());
        }
    }
    Ok(found)
}

/// Returns the list of crates, and each text below the crates that have it.
fn format(named: &str, texts: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut page = format!("{TITLE}\n{named}");
    for (text, crates) in texts {
        let crates: Vec<&str> = crates.iter().map(String::as_str).collect();
        let _ = write!(page, "\n{}\n{}\n\n{text}\n", "-".repeat(80), crates.join(", "));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_licenses_are_found_by_their_names() -> Result {
        let folder = tempfile::tempdir()?;
        for (name, text) in [("LICENSE-MIT", " one\r\ntwo\n"), ("copying", "three"), ("README.md", "four")] {
            fs::write(folder.path().join(name), text)?;
        }
        let mut found = files(folder.path())?;
        found.sort();
        assert_eq!(found, ["one\ntwo", "three"]);
        Ok(())
    }

    #[test]
    fn crates_share_a_text() {
        let crates = ["a 1.0.0", "b 2.0.0"].map(str::to_owned);
        let page = format("a 1.0.0: MIT\n", &BTreeMap::from([("Text".to_owned(), BTreeSet::from(crates))]));
        assert!(page.contains("a 1.0.0, b 2.0.0\n\nText\n") && page.matches("Text").count() == 1, "{page}");
    }
}
