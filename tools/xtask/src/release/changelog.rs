//! Changelogs in the form of Keep a Changelog.

use jiff::civil::Date;
use semver::Version;

use crate::Result;

/// Heading of the changes after the newest release.
const UNRELEASED: &str = "[Unreleased]";

/// Kinds of changes that a section may have.
const GROUPS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

/// The changes of one release.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) version: Version,
    pub(super) date: Date,
    /// Text below the heading.
    pub(super) body: String,
}

/// Returns the releases of a changelog, newest first. Fails if the text does not have the form.
pub(super) fn parse(text: &str) -> Result<Vec<Section>> {
    let mut blocks = text.split("\n## ").skip(1);
    let first = blocks.next().unwrap_or_default();
    if first.lines().next() != Some(UNRELEASED) {
        return Err(format!("the first section is not {UNRELEASED}").into());
    }
    check_groups(first)?;
    let sections: Vec<Section> = blocks.map(section).collect::<Result<_>>()?;
    for pair in sections.windows(2) {
        if let [newer, older] = pair
            && (newer.version <= older.version || newer.date < older.date)
        {
            return Err(format!("{} stands above {}", newer.version, older.version).into());
        }
    }
    Ok(sections)
}

/// Reads one section: its heading `[0.1.0] - 2026-01-31`, and the text below it.
fn section(block: &str) -> Result<Section> {
    let (heading, body) = block.split_once('\n').unwrap_or((block, ""));
    let (version, date) = heading
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] - "))
        .ok_or_else(|| format!("the heading {heading:?} is not [VERSION] - DATE"))?;
    let version = version.parse::<Version>().map_err(|error| format!("{version}: {error}"))?;
    let date = date.parse::<Date>().map_err(|error| format!("{date}: {error}"))?;
    check_groups(body)?;
    let body = body.trim();
    if body.is_empty() {
        return Err(format!("{version} has no changes").into());
    }
    Ok(Section { version, date, body: body.to_owned() })
}

/// Fails for a group that the form does not have.
fn check_groups(block: &str) -> Result {
    let unknown = block.lines().filter_map(|line| line.strip_prefix("### ")).find(|group| !GROUPS.contains(group));
    unknown.map_or(Ok(()), |group| Err(format!("{group:?} is none of {}", GROUPS.join(", ")).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Changelog\n\nText.\n\n## [Unreleased]\n\n## [0.2.0] - 2026-02-01\n\n### Added\n\n- Two.\n\n\
                        ## [0.1.0] - 2026-01-31\n\n- One.\n";

    fn error(text: &str) -> String {
        parse(text).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn releases_are_read_newest_first() -> Result {
        let sections = parse(TEXT)?;
        let read: Vec<(String, &str)> =
            sections.iter().map(|section| (section.version.to_string(), section.body.as_str())).collect();
        assert_eq!(read, [("0.2.0".to_owned(), "### Added\n\n- Two."), ("0.1.0".to_owned(), "- One.")]);
        assert_eq!(sections.first().map(|section| section.date.to_string()).as_deref(), Some("2026-02-01"));
        Ok(())
    }

    #[test]
    fn a_candidate_precedes_its_release() {
        assert_eq!(error(&TEXT.replace("[0.1.0]", "[0.2.0-rc.1]")), "");
        assert_ne!(error(&TEXT.replace("[0.1.0]", "[0.2.1-rc.1]")), "");
    }

    #[test]
    fn other_forms_are_errors() {
        for (from, to, cause) in [
            ("## [Unreleased]\n\n", "", "the first section"),
            ("[0.2.0]", "0.2.0", "is not [VERSION] - DATE"),
            (" - 2026-01-31", "", "is not [VERSION] - DATE"),
            ("0.2.0", "0.2", "0.2:"),
            ("2026-01-31", "2026-02-30", "2026-02-30:"),
            ("0.2.0", "0.1.0", "stands above"),
            ("2026-02-01", "2026-01-01", "stands above"),
            ("- One.\n", "", "has no changes"),
            ("### Added", "### New", "is none of"),
        ] {
            let found = error(&TEXT.replacen(from, to, 1));
            assert!(found.contains(cause), "{from:?} as {to:?}: {found:?}");
        }
    }
}
