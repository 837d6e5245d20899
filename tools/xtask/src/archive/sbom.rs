//! The bill of materials of an archive, in the format `CycloneDX`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xshell::cmd;

use super::PROGRAM;
use super::crates::Crate;
use super::target::Target;
use crate::Result;
use crate::install;
use crate::workspace::Workspace;

/// Program that lists the crates of each package, and its version.
const LISTER: (&str, &str) = ("cargo-cyclonedx", "0.5.9");

/// Writes the crates of all binaries as one list.
///
/// The lister writes a file beside each manifest of the workspace. It lists the crates of all features and of build
/// scripts too, and so the list is limited to the compiled crates.
pub(super) fn write(
    workspace: &Workspace,
    target: &Target,
    packages: &[String],
    compiled: &BTreeSet<Crate>,
    path: &Path,
) -> Result {
    let (name, version) = LISTER;
    let programs = install::cargo(workspace, name, version)?;
    let (shell, triple) = (&workspace.shell, target.triple());
    let list = cmd!(shell, "cargo cyclonedx --format json --spec-version 1.5 --target {triple}");
    workspace.run(list.env("PATH", install::path([programs])?))?;
    let lists = take_lists(workspace)?;
    let wanted = packages.iter().map(|package| {
        let list = lists.get(package).ok_or_else(|| format!("{name} listed no crates of {package}"))?;
        Ok::<_, String>(list.clone())
    });
    let merged = merge(wanted.collect::<std::result::Result<_, _>>()?, compiled)?;
    // The path of the repository on this machine is of no use elsewhere.
    let root = workspace.file("").display().to_string();
    Ok(fs::write(path, serde_json::to_string_pretty(&merged)?.replace(&root, "/"))?)
}

/// Reads the lists beside the manifests, by their packages, and removes the files.
fn take_lists(workspace: &Workspace) -> Result<BTreeMap<String, Value>> {
    let metadata = workspace.read(cmd!(workspace.shell, "cargo metadata --format-version 1 --no-deps --locked"))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let mut lists = BTreeMap::new();
    for package in metadata["packages"].as_array().ok_or("cargo metadata has no packages")? {
        let (Some(name), Some(manifest)) = (package["name"].as_str(), package["manifest_path"].as_str()) else {
            continue;
        };
        let path = PathBuf::from(manifest).with_file_name(format!("{name}.cdx.json"));
        if path.exists() {
            lists.insert(name.to_owned(), serde_json::from_slice(&fs::read(&path)?)?);
            fs::remove_file(path)?;
        }
    }
    Ok(lists)
}

/// Returns the list of the program, the first one, with the components and dependencies of all others.
fn merge(lists: Vec<Value>, compiled: &BTreeSet<Crate>) -> Result<Value> {
    let is_compiled = |component: &Value| {
        let text = |field: &str| component[field].as_str().unwrap_or_default().to_owned();
        component["scope"] != "excluded" && compiled.contains(&(text("name"), text("version")))
    };
    let reference = |value: &Value, field: &str| value[field].as_str().map(str::to_owned);
    let (mut components, mut edges) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
    let mut roots = BTreeSet::new();
    for list in &lists {
        let root = &list["metadata"]["component"];
        roots.extend(reference(root, "bom-ref"));
        let listed = list["components"].as_array().into_iter().flatten();
        let function = (root["name"] != PROGRAM).then_some(root);
        for component in listed.filter(|component| is_compiled(component)).chain(function) {
            components.extend(reference(component, "bom-ref").map(|name| (name, component.clone())));
        }
        for dependency in list["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["dependsOn"].as_array().into_iter().flatten();
            let on = on.filter_map(|name| name.as_str().map(str::to_owned));
            if let Some(name) = reference(dependency, "ref") {
                edges.entry(name).or_default().extend(on);
            }
        }
    }
    let is_known = |name: &String| components.contains_key(name) || roots.contains(name);
    let edges: Vec<Value> = edges
        .iter()
        .filter(|(name, _)| is_known(name))
        .map(
            |(name, on)| json!({"ref": name, "dependsOn": on.iter().filter(|name| is_known(name)).collect::<Vec<_>>()}),
        )
        .collect();
    let mut merged = lists.into_iter().next().ok_or("there is no list")?;
    merged["components"] = components.values().cloned().collect();
    merged["dependencies"] = edges.into();
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(root: &str, crates: &[&str], scope: &str) -> Value {
        let component = |name: &&str| json!({"bom-ref": name, "name": name, "version": "1.0.0", "scope": scope});
        json!({
            "bomFormat": "CycloneDX",
            "metadata": {"component": {"bom-ref": root, "name": root, "version": "1.0.0"}},
            "components": crates.iter().map(component).collect::<Vec<_>>(),
            "dependencies": [{"ref": root, "dependsOn": crates}],
        })
    }

    fn compiled(names: &[&str]) -> BTreeSet<Crate> {
        names.iter().map(|name| ((*name).to_owned(), "1.0.0".to_owned())).collect()
    }

    #[test]
    fn the_list_has_each_compiled_crate_once() -> Result {
        let lists = vec![
            list(PROGRAM, &["bytes", "clap"], "required"),
            list("health", &["bytes", "proptest"], "required"),
            list("channels", &["serde"], "excluded"),
        ];
        let merged = merge(lists, &compiled(&["bytes", "clap", "serde", "health", "channels"]))?;
        let names: Vec<&str> =
            merged["components"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(names, ["bytes", "channels", "clap", "health"]);
        assert_eq!(merged["metadata"]["component"]["name"], PROGRAM);
        let edges = json!([
            {"ref": "channels", "dependsOn": []},
            {"ref": "health", "dependsOn": ["bytes"]},
            {"ref": "switchboard", "dependsOn": ["bytes", "clap"]},
        ]);
        assert_eq!(merged["dependencies"], edges);
        Ok(())
    }
}
