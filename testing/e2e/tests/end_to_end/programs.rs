//! The tested programs: the runner, and the functions of another build. Settings of the tests.

use std::process::Command;

/// Returns the folder with another build of the functions, which is tested instead of the workspace's.
pub(crate) fn built() -> Option<std::ffi::OsString> {
    std::env::var_os("SWITCHBOARD_TEST_BIN_DIR")
}

/// Returns the number in an environment variable, or a default that keeps a test short.
pub(crate) fn number_of(variable: &str, default: usize) -> usize {
    let Some(text) = std::env::var_os(variable) else { return default };
    text.to_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{variable} is no number"))
}

/// Returns the runner's binary, which is in the parent folder of the test executables.
///
/// `cargo test --workspace` builds it: Cargo builds the binaries of each package whose integration tests it builds, and
/// `local` and `switchboard` have some. Cargo starts the first test after the last build, so the order of the packages does not matter.
pub(crate) fn runner() -> Command {
    program("local")
}

/// Returns the program for operators.
pub(crate) fn switchboard() -> Command {
    program("switchboard")
}

fn program(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join(name);
    // A run of this package alone does not build it.
    assert!(
        program.is_file(),
        "{} is missing: build it with `cargo build --bin {name}`, in the profile of the tests",
        program.display()
    );
    Command::new(program)
}
