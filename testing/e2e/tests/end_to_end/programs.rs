//! The tested programs: the runner and the functions. Settings of the tests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
};

use local::binaries;

/// Returns the folder of the functions. They are those of another build, such as those of `images/check-arm64.sh`, or the
/// workspace's, which are built once: each stack would ask Cargo again.
pub(crate) fn functions() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os("SWITCHBOARD_TEST_BIN_DIR").map_or_else(build, PathBuf::from))
}

/// Returns the folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Builds the functions of the workspace as the runner does, and returns their folder.
fn build() -> PathBuf {
    let services = fs::read_dir(workspace().join("services")).unwrap().map(Result::unwrap);
    let names: BTreeSet<String> = services.map(|service| service.file_name().into_string().unwrap()).collect();
    // A test is already on a runtime, which must not be blocked by another one.
    let building = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(binaries::build(workspace(), &names)).unwrap()
    });
    building.join().unwrap().first_key_value().unwrap().1.parent().unwrap().to_owned()
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
