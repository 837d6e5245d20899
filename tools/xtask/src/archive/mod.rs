//! The archive of a release: the program `switchboard` with the functions of its local run beside it.
//!
//! On Linux the binaries are static, so that the archive needs no file of the system that it is unpacked on.

mod build;
mod content;
mod crates;
mod licenses;
mod pack;
mod sbom;
mod target;
mod trial;

use std::fs;
use std::path::PathBuf;

use clap::Args;

use self::pack::Archive;
use self::target::Target;
use crate::Result;
use crate::workspace::Workspace;

/// Package and binary of the program.
const PROGRAM: &str = "switchboard";

/// Options of `cargo xtask archive`.
#[derive(Args)]
pub(crate) struct ArchiveArguments {
    /// Target of the binaries [default: on Linux this processor with musl, elsewhere this machine]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Profile of Cargo
    #[arg(long, default_value = "lambda", value_parser = ["lambda", "release"])]
    profile: String,
    /// Folder of the archive, its checksum and its bill of materials [default: target/archive]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Writes the bill of materials, with cargo-cyclonedx, which is installed
    #[arg(long)]
    sbom: bool,
    /// Does not try the archive
    #[arg(long)]
    untried: bool,
}

/// Builds the archive, and runs its program in an empty root.
pub(crate) fn run(arguments: &ArchiveArguments) -> Result {
    let workspace = Workspace::open()?;
    let target = Target::choose(&workspace, arguments.target.as_deref())?;
    let packages = content::packages(&workspace)?;
    let built = build::build(&workspace, &target, &arguments.profile, &packages)?;
    let compiled = crates::compiled(&workspace, &target, &packages)?;
    let licenses = licenses::collect(&workspace, &compiled)?;
    let output = arguments.output.clone().unwrap_or_else(|| workspace.target().join("archive"));
    fs::create_dir_all(&output)?;
    let archive = Archive::name(&target, output)?;
    archive.pack(&content::entries(&workspace, &target, &built, &packages, licenses)?)?;
    if arguments.sbom {
        sbom::write(&workspace, &target, &packages, &compiled, &archive.sbom())?;
    }
    println!("{}: {} bytes", archive.path().display(), fs::metadata(archive.path())?.len());
    if arguments.untried {
        return Ok(());
    }
    if target.runs_here(&workspace)? {
        trial::run(&workspace, &archive)
    } else {
        println!("The archive is for another machine, and was not tried.");
        Ok(())
    }
}
