//! Values of constants, read from the source. Some are private, and their crates are no dependencies of this one.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{files, repository, words};

/// Value of a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Time(Duration),
    Bucket {
        every: Duration,
        burst: u64,
    },
    /// Up to three intervals.
    Steps([Option<Duration>; 3]),
}

const WORDS: [&str; 13] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

/// Units of time with their length in milliseconds.
const UNITS: [(u128, &str, &str); 6] = [
    (1, "ms", "ms"),
    (1_000, "s", "s"),
    (1_000, "second", "seconds"),
    (60_000, "minute", "minutes"),
    (3_600_000, "hour", "hours"),
    (86_400_000, "day", "days"),
];

impl Value {
    /// Returns the ways in which a page may write the value.
    pub(super) fn written(self) -> Vec<String> {
        match self {
            Self::Number(number) => {
                let mut ways = vec![grouped(number)];
                ways.extend(spelled(number.into()));
                for (unit, names) in [(1 << 10, ["KB", "KiB"]), (1 << 20, ["MB", "MiB"])] {
                    let count = number.is_multiple_of(unit).then_some(number / unit);
                    ways.extend(count.into_iter().flat_map(|count| names.map(|name| format!("{count} {name}"))));
                }
                ways
            }
            Self::Time(time) => times(time),
            Self::Bucket { every, burst } => {
                times(every).iter().map(|every| format!("{burst} at once, one more every {every}")).collect()
            }
            Self::Steps(steps) => {
                let mut ways = vec![String::new()];
                for step in steps.into_iter().flatten() {
                    let ends = times(step);
                    ways = ways.iter().flat_map(|way| ends.iter().map(move |end| format!("{way} {end},"))).collect();
                }
                ways
            }
        }
    }

    /// Returns whether a text has the value.
    pub(super) fn is_in(self, text: &str) -> bool {
        let text = words(text);
        self.written().iter().any(|way| text.contains(&words(way)))
    }
}

fn times(time: Duration) -> Vec<String> {
    let mut ways = Vec::new();
    for (length, one, several) in UNITS {
        let count = time.as_millis() / length;
        if count == 0 || !time.as_millis().is_multiple_of(length) {
            continue;
        }
        let unit = if count == 1 { one } else { several };
        ways.push(format!("{count} {unit}"));
        ways.extend(spelled(count).map(|word| format!("{word} {unit}")));
        // "every second", but not "every s".
        if count == 1 && unit.len() > 2 {
            ways.extend([format!("a {unit}"), unit.to_owned()]);
        }
    }
    ways
}

fn spelled(number: u128) -> Option<String> {
    usize::try_from(number).ok().and_then(|number| WORDS.get(number)).map(|word| (*word).to_owned())
}

/// Returns a number with commas between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the value of the constant or field `name` in a file, or in a file of a folder.
pub(super) fn value(place: &str, name: &str) -> Option<Value> {
    let path = repository().join(place);
    let sources: Vec<PathBuf> = if path.is_dir() { files(&path, &["rs"]) } else { vec![path] };
    sources.iter().find_map(|source| in_source(&read(source), name))
}

/// Returns whether a file, or a file of a folder, declares the constant `name`.
pub(super) fn is_declared(place: &str, name: &str) -> bool {
    let path = repository().join(place);
    let sources = if path.is_dir() { files(&path, &["rs"]) } else { vec![path] };
    sources.iter().any(|source| read(source).contains(&format!("const {name}: ")))
}

/// Returns the names of all constants of a file.
pub(super) fn names(place: &str) -> Vec<String> {
    let text = read(&repository().join(place));
    let names = text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": "));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn in_source(source: &str, name: &str) -> Option<Value> {
    let (constant, field) = (format!("const {name}: "), format!("{name}: "));
    // A long expression stands on the next line.
    let source = &source.replace(" =\n    ", " = ");
    source.lines().filter(|line| !line.trim_start().starts_with("//")).find_map(|line| {
        let expression = match line.split_once(&constant) {
            Some((_, rest)) => rest.split_once(" = ")?.1.strip_suffix(';')?,
            None => line.trim_start().strip_prefix(&field)?.strip_suffix(',')?,
        };
        evaluated(source, expression)
    })
}

fn evaluated(source: &str, expression: &str) -> Option<Value> {
    if let Some((one, other)) = expression.split_once(".saturating_add(") {
        let sum = (in_source(source, one)?, in_source(source, other.strip_suffix(')')?)?);
        let (Value::Time(one), Value::Time(other)) = sum else { return None };
        return Some(Value::Time(one + other));
    }
    if let Some(fields) = expression.strip_prefix("Bucket { every: ") {
        let (every, burst) = fields.strip_suffix(" }")?.split_once(", burst: ")?;
        return Some(Value::Bucket { every: duration(every)?, burst: number(burst)? });
    }
    if let Some(steps) = expression.strip_prefix('[') {
        let steps: Vec<Duration> = steps.strip_suffix(']')?.split(", ").map(duration).collect::<Option<_>>()?;
        return (steps.len() <= 3).then(|| Value::Steps([0, 1, 2].map(|place| steps.get(place).copied())));
    }
    duration(expression).map(Value::Time).or_else(|| number(expression).map(Value::Number))
}

fn duration(expression: &str) -> Option<Duration> {
    let (unit, count) = expression.strip_prefix("Duration::from_")?.strip_suffix(')')?.split_once('(')?;
    let count = number(count)?;
    match unit {
        "millis" => Some(Duration::from_millis(count)),
        "secs" => Some(Duration::from_secs(count)),
        "mins" => Some(Duration::from_mins(count)),
        "hours" => Some(Duration::from_hours(count)),
        _ => None,
    }
}

fn number(expression: &str) -> Option<u64> {
    expression.split(" * ").map(|factor| factor.replace('_', "").parse::<u64>().ok()).product()
}

#[test]
fn constants_are_read_as_they_are_written() {
    let source = "pub const A: usize = 32_768;\n    every: Duration::from_hours(24 * 30),\n// const C: u8 = 1;\n\
                  pub(crate) const D: Bucket = Bucket { every: Duration::from_secs(2), burst: 20 };\n\
                  const E: Duration = Duration::from_millis(500);\nconst F: Duration = E.saturating_add(E);\n\
                  pub const G: [Duration; 3] =\n    [Duration::from_millis(250), Duration::from_millis(500), \
                  Duration::from_secs(1)];\npub const H: [Duration; 1] = [Duration::from_millis(250)];";
    for (name, written) in [
        ("A", Some("at most 32,768 bytes")),
        ("A", Some("(32 KB)")),
        ("every", Some("for 30 days.")),
        ("C", None),
        ("D", Some("20 at once, one more every 2 s")),
        ("E", Some("500 ms")),
        ("F", Some("renewed every second")),
        ("G", Some("polls after 250 ms, 500 ms, 1 s and so on")),
        ("H", Some("after 250 ms")),
    ] {
        let value = in_source(source, name);
        assert_eq!(value.is_some(), written.is_some(), "{name}");
        assert!(value.zip(written).is_none_or(|(value, text)| value.is_in(text)), "{name}: {value:?}");
    }
    assert!(!Value::Number(100).is_in("1,100 bytes") && !Value::Time(Duration::from_secs(2)).is_in("12 s"));
}
