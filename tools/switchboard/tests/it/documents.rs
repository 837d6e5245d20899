//! The page that describes the format.

use std::{fs, path::Path};

use chat::app::transfer::{ExportProgress, Record};

/// Returns the lines of the page's example.
fn example() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/export.md");
    let text = fs::read_to_string(page).unwrap();
    let (_, after) = text.split_once("```jsonl\n").unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_example_is_an_export_and_is_written_as_it_is_read() {
    let (example, mut progress) = (example(), ExportProgress::default());
    for line in example.lines() {
        let record = Record::read(line).unwrap();
        assert_eq!(record.line().unwrap().trim_end(), line);
        progress.add(record).unwrap();
    }
    assert!(progress.is_complete);
}

#[test]
fn the_page_describes_each_field_of_the_example() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/export.md");
    let text = fs::read_to_string(page).unwrap();
    for line in example().lines() {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        for field in fields.keys() {
            assert!(text.contains(&format!("`{field}`")), "{field}");
        }
    }
}
