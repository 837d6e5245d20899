//! Packs an archive. The same files always make the same archive.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::PROGRAM;
use super::content::{Entry, Source};
use super::target::Target;
use crate::Result;
use crate::release;

/// Time of all files, in seconds since 1970: 1980-01-01, the earliest time that every file system can store.
const TIME: u64 = 315_532_800;

const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// An archive, which has one folder of its own name.
pub(super) struct Archive {
    name: String,
    output: PathBuf,
}

impl Archive {
    /// Names the archive of a target in a folder. The file need not exist.
    pub(super) fn name(target: &Target, output: PathBuf) -> Result<Self> {
        Ok(Self { name: format!("{PROGRAM}-{}-{}", release::version()?, target.triple()), output })
    }

    /// Returns the name of the folder in the archive.
    pub(super) fn folder(&self) -> &str {
        &self.name
    }

    /// Returns the path of the archive.
    pub(super) fn path(&self) -> PathBuf {
        self.file("tar.gz")
    }

    /// Returns the path of its bill of materials.
    pub(super) fn sbom(&self) -> PathBuf {
        self.file("cdx.json")
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.output.join(format!("{}.{extension}", self.name))
    }

    /// Writes the archive, and the file with its checksum in the form of `sha256sum`.
    pub(super) fn pack(&self, entries: &[Entry]) -> Result {
        let path = self.path();
        write(&self.name, entries, File::create(&path)?)?;
        let checksum = format!("{}  {}.tar.gz\n", sha256(&path)?, self.name);
        Ok(fs::write(self.file("tar.gz.sha256"), checksum)?)
    }
}

/// Writes the entries below a folder.
fn write(folder: &str, entries: &[Entry], output: impl io::Write) -> Result {
    let mut builder = Builder::new(GzBuilder::new().write(output, Compression::best()));
    for entry in entries {
        let path = format!("{folder}/{}", entry.name);
        let failed = |error: io::Error| format!("{path}: {error}");
        match &entry.source {
            Source::Program(source) => append(&mut builder, &path, PROGRAM_MODE, open(source)?).map_err(failed)?,
            Source::File(source) => append(&mut builder, &path, FILE_MODE, open(source)?).map_err(failed)?,
            Source::Text(text) => {
                let content = (u64::try_from(text.len())?, Cursor::new(text));
                append(&mut builder, &path, FILE_MODE, content).map_err(failed)?;
            }
        }
    }
    builder.into_inner()?.finish()?.flush()?;
    Ok(())
}

/// Opens a file, with its size.
fn open(path: &Path) -> Result<(u64, File)> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((file.metadata()?.len(), file))
}

/// Appends a file with a size and a content.
fn append<W: io::Write>(
    builder: &mut Builder<W>,
    path: &str,
    mode: u32,
    (size, content): (u64, impl Read),
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(TIME);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, path, content)
}

/// Returns the SHA-256 of a file in hexadecimal digits.
fn sha256(path: &Path) -> Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        let count = file.read(&mut buffer)?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        hash.update(read);
    }
    Ok(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use flate2::read::GzDecoder;

    use super::*;

    fn packed(program: &Path) -> Result<Vec<u8>> {
        let entries = [
            Entry { name: "switchboard".to_owned(), source: Source::Program(program.to_owned()) },
            Entry { name: "README.md".to_owned(), source: Source::Text("# Switchboard\n".to_owned()) },
        ];
        let mut bytes = Vec::new();
        write("switchboard-1", &entries, &mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn programs_can_be_run_and_texts_are_whole() -> Result {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("built");
        fs::write(&program, "binary")?;
        let mut archive = tar::Archive::new(GzDecoder::new(Cursor::new(packed(&program)?)));
        let mut found = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let (name, mode) = (entry.path()?.display().to_string(), entry.header().mode()?);
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            found.push((name, mode, text));
        }
        let expected = [
            ("switchboard-1/switchboard", PROGRAM_MODE, "binary"),
            ("switchboard-1/README.md", FILE_MODE, "# Switchboard\n"),
        ];
        let expected = expected.map(|(name, mode, text)| (name.to_owned(), mode, text.to_owned()));
        assert_eq!(found, expected);
        Ok(())
    }

    #[test]
    fn the_same_files_make_the_same_archive() -> Result {
        let folder = tempfile::tempdir()?;
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::write(&one, "binary")?;
        let first = packed(&one)?;
        fs::write(&other, "binary")?;
        File::options().write(true).open(&other)?.set_modified(SystemTime::UNIX_EPOCH)?;
        assert_eq!(first, packed(&other)?);
        Ok(())
    }

    #[test]
    fn a_checksum_is_that_of_the_file() -> Result {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("abc");
        fs::write(&path, "abc")?;
        assert_eq!(sha256(&path)?, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        Ok(())
    }
}
