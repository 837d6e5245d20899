//! The crates that the binaries of an archive are compiled from.

use std::collections::BTreeSet;

use xshell::cmd;

use super::target::Target;
use crate::Result;
use crate::workspace::Workspace;

/// Kinds of dependencies whose code is in a binary.
const EDGES: &str = "no-dev,no-build,no-proc-macro";

/// Name and version of a crate.
pub(super) type Crate = (String, String);

/// Returns the crates of the packages for a target, with the packages themselves.
pub(super) fn compiled(workspace: &Workspace, target: &Target, packages: &[String]) -> Result<BTreeSet<Crate>> {
    let (shell, triple) = (&workspace.shell, target.triple());
    let selected = packages.iter().flat_map(|name| ["--package", name]);
    let tree = cmd!(shell, "cargo tree --locked --target {triple} --edges {EDGES} --prefix none {selected...}");
    Ok(parse(&workspace.read(tree)?))
}

/// Reads lines such as `chat v0.1.0 (/path)`, of which an empty line separates the trees.
fn parse(tree: &str) -> BTreeSet<Crate> {
    tree.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crate_is_read_once() {
        let tree = "health v0.1.0 (/work/services/health)\nbytes v1.10.1\nbytes v1.10.1 (*)\n\nchat v0.1.0 (/work)\n";
        let read = parse(tree);
        let read: Vec<(&str, &str)> = read.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect();
        assert_eq!(read, [("bytes", "1.10.1"), ("chat", "0.1.0"), ("health", "0.1.0")]);
    }
}
