//! Bugs that are planted in copies of the clients of this repository. The kit must find each of them.

use std::{
    collections::BTreeSet,
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use clap::{Args, ValueEnum};
use conformance::{Process, Rule, Seeds, run_all, run_seed};
use serde::Deserialize;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Folders that no client needs to run.
const LEFT_OUT: [&str; 5] = ["node_modules", "target", "test", "tests", "types"];

/// Options of `planted`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Client in whose copies the bugs are planted
    client: Client,
    /// Number of seeds for each bug, and for the client without a bug
    #[arg(long, default_value_t = 400)]
    seeds: u64,
    /// Part of the descriptions of the bugs to plant; all bugs by default
    #[arg(long)]
    only: Option<String>,
}

/// A client of this repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    Js,
    Rust,
}

impl Client {
    fn name(self) -> &'static str {
        match self {
            Self::Js => "js",
            Self::Rust => "rust",
        }
    }

    /// Returns the bugs.
    fn table(self) -> Result<Vec<Planted>, String> {
        let text = match self {
            Self::Js => include_str!("../planted/js.json"),
            Self::Rust => include_str!("../planted/rust.json"),
        };
        serde_json::from_str(text).map_err(|error| format!("planted/{}.json: {error}", self.name()))
    }

    fn folder(self, root: &Path) -> PathBuf {
        root.join("clients").join(self.name())
    }
}

/// A bug: the replacement of a text in a file of the client.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planted {
    /// Description.
    bug: String,
    /// Path in the folder of the client.
    file: String,
    /// Text that is in the file exactly once.
    before: String,
    after: String,
    /// Names of the rules of which the bug breaks one.
    rules: Vec<String>,
}

impl Planted {
    /// Returns the file with the bug, and without it. Fails if the table does not fit the client.
    fn texts(&self, folder: &Path) -> Result<(String, String), String> {
        let Self { bug, file, before, after, rules } = self;
        let text = fs::read_to_string(folder.join(file)).map_err(|error| format!("{bug}: {file}: {error}"))?;
        let count = text.matches(before.as_str()).count();
        if count != 1 {
            return Err(format!("{bug}: `before` must be in {file} once, and is there {count} times"));
        }
        if let Some(name) = rules.iter().find(|name| Rule::named(name).is_none()) {
            return Err(format!("{bug}: no rule {name}"));
        }
        Ok((text.replace(before.as_str(), after), text))
    }
}

/// Result of the search for a bug.
#[derive(Debug)]
enum Found {
    Expected { rule: Rule, seed: u64 },
    Missed { others: BTreeSet<Rule> },
}

/// Plants each bug, searches for it, and prints a table. Returns whether all were found.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let Options { client, seeds, only } = options;
    let mut table = client.table()?;
    table.retain(|planted| only.as_ref().is_none_or(|text| planted.bug.contains(text)));
    let copy = Sandbox::new(*client)?;
    let stale: Vec<String> = table.iter().filter_map(|planted| planted.texts(&copy.folder).err()).collect();
    if !stale.is_empty() {
        return Err(stale.join("\n"));
    }
    copy.build()?;
    copy.check(*seeds)?;
    println!("| bug | rule | seed |\n| --- | --- | --- |");
    let mut found = 0;
    for planted in &table {
        match copy.search(planted, *seeds)? {
            Found::Expected { rule, seed } => {
                found += 1;
                println!("| {} | `{}` | {seed} |", planted.bug, rule.name());
            }
            Found::Missed { others } => {
                let others: Vec<&str> = others.into_iter().map(Rule::name).collect();
                println!("| {} | not found; other rules: {} | |", planted.bug, others.join(", "));
            }
        }
    }
    println!("\n{found} of {} found; {seeds} seeds without a bug, 0 findings", table.len());
    Ok(found == table.len())
}

/// A copy of a client, below the target folder of the repository.
#[derive(Debug)]
struct Sandbox {
    client: Client,
    folder: PathBuf,
    build: PathBuf,
}

impl Sandbox {
    fn new(client: Client) -> Result<Self, String> {
        let (root, target) = (Path::new(ROOT), Path::new(ROOT).join("target/planted"));
        let copied = target.join(client.name());
        let copy = Self { client, folder: client.folder(&copied), build: target.join("build") };
        copy.write(root, &copied).map_err(|error| format!("{}: {error}", copied.display()))?;
        Ok(copy)
    }

    fn write(&self, root: &Path, copied: &Path) -> std::io::Result<()> {
        match fs::remove_dir_all(copied) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        copy_folder(&self.client.folder(root), &self.folder)?;
        if self.client == Client::Rust {
            fs::write(copied.join("Cargo.toml"), workspace(&fs::read_to_string(root.join("Cargo.toml"))?))?;
            fs::copy(root.join("Cargo.lock"), copied.join("Cargo.lock"))?;
            let manifest = self.folder.join("Cargo.toml");
            fs::write(&manifest, without_tests(&fs::read_to_string(&manifest)?))?;
        }
        Ok(())
    }

    /// Builds the client, if its language needs that.
    fn build(&self) -> Result<(), String> {
        if self.client == Client::Js {
            return Ok(());
        }
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--offline", "--no-default-features", "--example", "conformance"]);
        // Quick to compile, and quick enough for hundreds of seeds.
        cargo.args(["--config", "profile.dev.opt-level=1"]);
        cargo.arg("--target-dir").arg(&self.build).current_dir(&self.folder);
        // A bug may leave something unused, and this program's own variables would repeat build scripts.
        for (name, _) in env::vars_os().filter(|(name, _)| is_of_other_build(&name.to_string_lossy())) {
            cargo.env_remove(name);
        }
        let output = cargo.output().map_err(|error| format!("cargo does not start: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn start(&self) -> Result<Process, String> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        Process::start(&match self.client {
            Client::Js => vec!["node".to_owned(), path(self.folder.join("conformance.mjs"))],
            Client::Rust => vec![path(self.build.join("debug/examples/conformance"))],
        })
    }

    /// Fails if the client without a bug breaks a rule.
    fn check(&self, seeds: u64) -> Result<(), String> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let summary = run_all(&Seeds { range: 0..seeds, rule: None, jobs }, || self.start())?;
        summary.failures.first().map_or(Ok(()), |failure| {
            let (seed, finding) = (failure.seed, &failure.finding);
            Err(format!("without a bug, seed {seed}: {}: {}", finding.rule.name(), finding.text))
        })
    }

    /// Plants a bug, searches for it, and removes it.
    fn search(&self, planted: &Planted, seeds: u64) -> Result<Found, String> {
        let (with_bug, without) = planted.texts(&self.folder)?;
        let path = self.folder.join(&planted.file);
        let write = |text: &str| fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
        write(&with_bug)?;
        let found = self.build().and_then(|()| self.find(planted, seeds));
        write(&without)?;
        found.map_err(|error| format!("{}: {error}", planted.bug))
    }

    fn find(&self, planted: &Planted, seeds: u64) -> Result<Found, String> {
        let (mut process, mut others) = (self.start()?, BTreeSet::new());
        for seed in 0..seeds {
            let Some(finding) = run_seed(&mut process, seed, None).finding else { continue };
            let rule = finding.rule;
            if planted.rules.iter().any(|name| name == rule.name()) {
                return Ok(Found::Expected { rule, seed });
            }
            others.insert(rule);
            // Such a client breaks this rule with each seed, and the kit may wait for each of its lines.
            if rule == Rule::Protocol {
                break;
            }
            process = self.start()?;
        }
        let found = if others.is_empty() { None } else { self.find_behind(planted, seeds)? };
        Ok(found.unwrap_or(Found::Missed { others }))
    }

    /// Searches for the expected rules one by one: with each seed, the bug may break another rule first.
    fn find_behind(&self, planted: &Planted, seeds: u64) -> Result<Option<Found>, String> {
        for rule in planted.rules.iter().filter_map(|name| Rule::named(name)) {
            let mut process = self.start()?;
            for seed in 0..seeds {
                let Some(finding) = run_seed(&mut process, seed, Some(rule)).finding else { continue };
                if finding.rule == rule {
                    return Ok(Some(Found::Expected { rule, seed }));
                }
                break;
            }
        }
        Ok(None)
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// Returns the manifest of a workspace with the Rust client alone.
fn workspace(manifest: &str) -> String {
    let (before, rest) = manifest.split_once("members = [").unwrap_or((manifest, "]"));
    let (_, after) = rest.split_once(']').unwrap_or_default();
    let lines = after.lines().filter(|line| !line.contains("path = \""));
    lines.fold(format!("{before}members = [\"clients/rust\"]"), |text, line| text + line + "\n")
}

/// Returns a manifest without dependencies of tests, which the adapter does not need.
fn without_tests(manifest: &str) -> String {
    let (before, rest) = manifest.split_once("[dev-dependencies]").unwrap_or((manifest, ""));
    let after = rest.find("\n[").and_then(|at| rest.get(at..)).unwrap_or_default();
    format!("{before}{after}")
}

fn is_of_other_build(variable: &str) -> bool {
    ["RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS", "CARGO_PRIMARY_PACKAGE"].contains(&variable)
        || variable.starts_with("CARGO_PKG_")
        || variable.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bugs_fit_the_clients() {
        for client in [Client::Js, Client::Rust] {
            let (table, folder) = (client.table().unwrap(), client.folder(Path::new(ROOT)));
            let stale: Vec<String> = table.iter().filter_map(|planted| planted.texts(&folder).err()).collect();
            assert!(stale.is_empty(), "{stale:#?}");
            let names: BTreeSet<&str> = table.iter().map(|planted| planted.bug.as_str()).collect();
            assert!(names.len() == table.len() && names.len() >= 14, "{} bugs", names.len());
            assert!(table.iter().all(|planted| planted.before != planted.after && !planted.rules.is_empty()));
        }
    }

    #[test]
    fn the_workspace_of_the_copy_has_one_member() {
        let manifest =
            "[workspace]\nmembers = [\n    \"a\",\n]\n\n[workspace.dependencies]\na = { path = \"a\" }\nb = \"1\"\n";
        assert_eq!(
            workspace(manifest),
            "[workspace]\nmembers = [\"clients/rust\"]\n\n[workspace.dependencies]\nb = \"1\"\n"
        );
        let member = "[package]\nname = \"c\"\n\n[dev-dependencies]\nb = \"1\"\n\n[features]\nd = []\n";
        assert_eq!(without_tests(member), "[package]\nname = \"c\"\n\n\n[features]\nd = []\n");
    }
}
