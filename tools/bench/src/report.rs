//! Output of a benchmark: a table for the terminal, and JSON for programs.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{Result, system::machine};

/// Result of a benchmark.
#[derive(Debug)]
pub(crate) struct Report {
    table: String,
    json: Value,
}

impl Report {
    /// Creates a report from the `rows` of the benchmark `name` and its `table`.
    pub(crate) fn new(name: &str, table: String, rows: &impl Serialize) -> Result<Self> {
        Self::with(name, table, &BTreeMap::from([("rows", rows)]))
    }

    /// Creates a report from several lists of rows, by name.
    pub(crate) fn with(name: &str, table: String, lists: &impl Serialize) -> Result<Self> {
        let mut json = json!({ "benchmark": name, "machine": machine() });
        if let (Value::Object(whole), Value::Object(lists)) = (&mut json, serde_json::to_value(lists)?) {
            whole.extend(lists);
        }
        Ok(Self { table, json })
    }

    /// Prints the table, and writes the JSON to `file` if one is given.
    pub(crate) fn publish(&self, file: Option<&Path>) -> Result<()> {
        println!("{}", self.table);
        if let Some(file) = file {
            fs::write(file, format!("{:#}\n", self.json))?;
        }
        Ok(())
    }
}
