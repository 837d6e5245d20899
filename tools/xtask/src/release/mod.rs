//! Checks that a release is described: versions and changelogs.

mod changelog;

use std::fs;
use std::path::Path;

use semver::Version;
use serde_json::Value;

use self::changelog::Section;
use crate::Result;
use crate::workspace::Workspace;

/// Changelog of the project. Its sections are the notes of the releases.
const CHANGELOG: &str = "CHANGELOG.md";

/// Changelogs of the packages, which have the version of the project.
const OF_PACKAGES: [&str; 2] = ["clients/js/CHANGELOG.md", "clients/rust/CHANGELOG.md"];

/// Manifest of the npm package, and its lock file with the places of the version.
const NPM: [(&str, &[&str]); 2] =
    [("clients/js/package.json", &["/version"]), ("clients/js/package-lock.json", &["/version", "/packages//version"])];

/// Returns the version of the workspace, which all its packages share.
pub(crate) fn version() -> Result<Version> {
    Ok(env!("CARGO_PKG_VERSION").parse()?)
}

/// Fails unless all changelogs and manifests have the version of the workspace as their newest.
pub(crate) fn check(workspace: &Workspace) -> Result {
    current(workspace)?;
    Ok(())
}

/// Prints the changes of the version that a tag such as `v0.1.0` names. Fails if it is not that of the workspace.
pub(crate) fn print_notes(tag: &str) -> Result {
    let workspace = Workspace::open()?;
    let named = version_of_tag(tag)?;
    let section = current(&workspace)?;
    if named != section.version {
        return Err(format!("the tag {tag} is not the version of the workspace, {}", section.version).into());
    }
    println!("{}", section.body);
    Ok(())
}

fn version_of_tag(tag: &str) -> Result<Version> {
    let version = tag.strip_prefix('v').ok_or_else(|| format!("the tag {tag} does not begin with v"))?;
    Ok(version.parse::<Version>().map_err(|error| format!("the tag {tag}: {error}"))?)
}

/// Returns the section of the workspace's version, after the checks of all places that name the version.
fn current(workspace: &Workspace) -> Result<Section> {
    let version = version()?;
    for (name, places) in NPM {
        let manifest: Value = serde_json::from_str(&read(&workspace.file(name))?)?;
        for place in places {
            let found = manifest.pointer(place).and_then(Value::as_str);
            if found != Some(version.to_string().as_str()) {
                return Err(format!("{name} has the version {found:?} at {place}, and the workspace {version}").into());
            }
        }
    }
    for name in OF_PACKAGES {
        newest(&workspace.file(name), &version)?;
    }
    newest(&workspace.file(CHANGELOG), &version)
}

/// Returns the newest section of a changelog, which must be that of `version`.
fn newest(path: &Path, version: &Version) -> Result<Section> {
    let failed = |reason: String| format!("{}: {reason}", path.display());
    let sections = changelog::parse(&read(path)?).map_err(|error| failed(error.to_string()))?;
    match sections.into_iter().next() {
        Some(section) if section.version == *version => Ok(section),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |section| section.version.to_string());
            Err(failed(format!("the newest version is {found}, and that of the workspace {version}")).into())
        }
    }
}

fn read(path: &Path) -> Result<String> {
    Ok(fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_version_after_a_v() -> Result {
        assert_eq!(version_of_tag("v0.1.0")?, Version::new(0, 1, 0));
        assert!(["0.1.0", "v0.1", "release", ""].iter().all(|tag| version_of_tag(tag).is_err()));
        Ok(())
    }

    #[test]
    fn the_newest_version_is_that_of_the_workspace() -> Result {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("CHANGELOG.md");
        fs::write(&path, "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-31\n\n- One.\n")?;
        assert_eq!(newest(&path, &Version::new(0, 1, 0))?.body, "- One.");
        let error = newest(&path, &Version::new(0, 2, 0)).unwrap_err().to_string();
        assert!(error.contains("the newest version is 0.1.0, and that of the workspace 0.2.0"), "{error}");
        Ok(())
    }
}
