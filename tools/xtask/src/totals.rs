//! Counts the tests that the steps have run, from their logs.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::Result;
use crate::workspace::Workspace;

/// Name of the step that prints the totals.
pub(crate) const STEP: &str = "totals";

/// Numbers of tests that passed and failed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Totals {
    /// Adds Cargo's totals, one line per test binary, and Node's, one line per number.
    fn add(&mut self, log: &str) {
        for line in log.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0);
            if line.starts_with("test result:") {
                self.passed += number(3);
                self.failed += number(5);
            } else if line.starts_with("# pass ") {
                self.passed += number(2);
            } else if line.starts_with("# fail ") {
                self.failed += number(2);
            }
        }
    }
}

/// Prints the totals of all logs. Fails if there is none.
pub(crate) fn print(workspace: &Workspace) -> Result {
    let logs = workspace.logs()?;
    if logs.is_empty() {
        let folder = workspace.file("target");
        return Err(format!("no test has left a log in {}: run `cargo xtask ci test` first", folder.display()).into());
    }
    println!("{}", read(&logs)?);
    Ok(())
}

fn read(logs: &[PathBuf]) -> Result<Totals> {
    let mut totals = Totals::default();
    for log in logs {
        totals.add(&String::from_utf8_lossy(&fs::read(log)?));
    }
    Ok(totals)
}

/// Removes the logs of earlier runs, which a run of all steps must not count.
pub(crate) fn remove_logs(workspace: &Workspace) -> Result {
    for log in workspace.logs()? {
        fs::remove_file(log)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(log: &str) -> Totals {
        let mut totals = Totals::default();
        totals.add(log);
        totals
    }

    #[test]
    fn adds_the_totals_of_each_test_binary() {
        let log = "running 3 tests\n\
            test a ... ok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        assert_eq!(totals(log), Totals { passed: 7, failed: 2 });
    }

    #[test]
    fn adds_the_totals_of_node() {
        let log = "# tests 9\n# suites 0\n# pass 8\n# fail 1\n# cancelled 0\n";
        assert_eq!(totals(log), Totals { passed: 8, failed: 1 });
    }

    #[test]
    fn ignores_lines_that_only_contain_a_total() {
        let log = "  test result: ok. 3 passed; 0 failed\n## pass 8\n# passed 8\n# fail\n";
        assert_eq!(totals(log), Totals::default());
    }

    #[test]
    fn the_sum_is_one_line() {
        assert_eq!(Totals { passed: 1200, failed: 0 }.to_string(), "1200 passed, 0 failed");
    }

    #[test]
    fn adds_all_logs() -> Result {
        let folder = tempfile::tempdir()?;
        let logs = [folder.path().join("tests.log"), folder.path().join("tests-ids.log")];
        fs::write(&logs[0], "test result: ok. 3 passed; 0 failed; 0 ignored\n")?;
        fs::write(&logs[1], "# pass 2\n# fail 0\n")?;
        assert_eq!(read(&logs)?, Totals { passed: 5, failed: 0 });
        Ok(())
    }
}
