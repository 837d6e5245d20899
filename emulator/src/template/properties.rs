//! Strict reader of a resource's properties: an unread property is an error.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};

use super::TemplateError;

type Result<T> = std::result::Result<T, TemplateError>;

/// Resolved properties. Each is removed when it is read.
pub(super) struct Properties {
    at: String,
    map: Map<String, Value>,
}

impl Properties {
    pub(super) fn new(at: impl Into<String>, value: Value) -> Result<Self> {
        let at = at.into();
        match value {
            Value::Object(map) => Ok(Self { at, map }),
            other => Err(TemplateError::at(at, format!("must be a mapping, not {other}"))),
        }
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.at)
    }

    pub(super) fn error(&self, name: &str, problem: impl Into<String>) -> TemplateError {
        TemplateError::at(self.path(name), problem)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    /// Drops properties that have no meaning in a local run.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.map.retain(|name, _| !names.contains(&name.as_str()));
    }

    pub(super) fn required(&mut self, name: &str) -> Result<Value> {
        self.take(name).ok_or_else(|| self.error(name, "is required"))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(other) => Err(self.error(name, format!("must be a text, not {other}"))),
        }
    }

    pub(super) fn required_text(&mut self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| self.error(name, "is required"))
    }

    /// Fails unless the property has the only supported value.
    pub(super) fn exactly(&mut self, name: &str, only: &str) -> Result<()> {
        let value = self.required_text(name)?;
        if value == only { Ok(()) } else { Err(self.error(name, format!("must be {only}, not {value}"))) }
    }

    pub(super) fn number(&mut self, name: &str, range: std::ops::RangeInclusive<i64>) -> Result<Option<i64>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self
                .error(name, format!("must be a whole number from {} to {}, not {text}", range.start(), range.end()))),
        }
    }

    pub(super) fn duration(&mut self, name: &str, range: std::ops::RangeInclusive<i64>) -> Result<Option<Duration>> {
        Ok(self.number(name, range)?.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs))
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.text(name)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(self.error(name, format!("must be true or false, not {other}"))),
        }
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(self.error(name, format!("must be a list, not {other}"))),
        }
    }

    pub(super) fn texts(&mut self, name: &str) -> Result<BTreeMap<String, String>> {
        let Some(mut inner) = self.nested(name)? else {
            return Ok(BTreeMap::new());
        };
        let names: Vec<String> = inner.map.keys().cloned().collect();
        names.into_iter().map(|name| inner.required_text(&name).map(|text| (name, text))).collect()
    }

    pub(super) fn nested(&mut self, name: &str) -> Result<Option<Self>> {
        let path = self.path(name);
        self.take(name).map(|value| Self::new(path, value)).transpose()
    }

    /// Reads a map of settings by name.
    pub(super) fn each<T>(self, read: impl Fn(&str, &mut Self) -> Result<T>) -> Result<BTreeMap<String, T>> {
        let Self { at, map } = self;
        let one = |(name, value): (String, Value)| {
            let mut settings = Self::new(format!("{at}.{name}"), value)?;
            let read = read(&name, &mut settings)?;
            settings.finish()?;
            Ok((name, read))
        };
        map.into_iter().map(one).collect()
    }

    pub(super) fn finish(self) -> Result<()> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.error(name, "this property is not supported by the local run")),
        }
    }
}
