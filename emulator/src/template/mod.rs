//! Reads the CloudFormation template into a [`Stack`].
//!
//! The supported subset is `Parameters` (`String`, `Number`; `Default`, `AllowedValues`, `AllowedPattern`, `MinValue`,
//! `MaxValue`), `Conditions`, `Resources`, `Outputs`; `Ref`, `Fn::GetAtt`, `Fn::Sub`, `Fn::Join`, `Fn::Select`,
//! `Fn::Split`, `Fn::If`, `Fn::Equals`, `Fn::And`, `Fn::Or`, `Fn::Not`, in long and short form; the pseudo parameters.
//! Any other element is an error that names it.
//!
//! The local run adds two rules. A resolved string that begins with the address of an API's stage
//! (`https://<api>.execute-api.<region>.amazonaws.com/<stage>`, or `wss://…`) gets the local address instead. A
//! parameter whose name ends in `Digest` needs no value, because a binary replaces the image.

mod evaluate;
mod grants;
mod properties;
mod references;
mod stack;
mod yaml;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::stack::Stack;

/// Properties of a deployment that the template does not contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// `AWS::StackName`.
    pub stack_name: String,
    /// `AWS::Region`.
    pub region: String,
    /// `AWS::AccountId`.
    pub account_id: String,
    /// Values of parameters. The others use their `Default`.
    pub parameters: BTreeMap<String, String>,
    /// Local address of the REST API's stage.
    pub rest_url: String,
    /// Local address of the WebSocket API's stage.
    pub websocket_url: String,
    /// Local address of the WebSocket API's `@connections`, without that segment.
    pub management_url: String,
}

/// A parsed and checked template without resolved values.
#[derive(Debug, Clone)]
pub struct Template {
    parameters: Map<String, Value>,
    conditions: Map<String, Value>,
    resources: Map<String, Value>,
    outputs: Map<String, Value>,
    lines: BTreeMap<String, usize>,
}

/// Reason why a template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("cannot read the template {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file is not YAML. The message contains the line.
    #[error("the template is not valid YAML: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// The template is invalid or outside the subset.
    #[error("{}{at}: {problem}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Invalid {
        /// Logical id and property path: `EventsTable.Properties.KeySchema`.
        at: String,
        /// Line of the logical id.
        line: Option<usize>,
        /// Description of the problem.
        problem: String,
    },
}

impl TemplateError {
    fn at(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { at: at.into(), line: None, problem: problem.into() }
    }
}

/// Reads and parses the template at `path`.
pub fn load(path: &Path) -> Result<Template, TemplateError> {
    let text = std::fs::read_to_string(path).map_err(|source| TemplateError::Read { path: path.into(), source })?;
    Template::parse(&text)
}

impl Template {
    /// Parses a template. Each reference must have a target, and references must not form a cycle.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let Value::Object(mut root) = yaml::to_json(serde_yaml_ng::from_str(text)?)? else {
            return Err(TemplateError::at("template", "is not a mapping"));
        };
        let mut section = |name: &str| match root.remove(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(_) => Err(TemplateError::at(name, "must be a mapping")),
        };
        let template = Self {
            parameters: section("Parameters")?,
            conditions: section("Conditions")?,
            resources: section("Resources")?,
            outputs: section("Outputs")?,
            lines: yaml::lines(text),
        };
        root.remove("AWSTemplateFormatVersion");
        root.remove("Description");
        root.remove("Metadata");
        if let Some(other) = root.keys().next() {
            return Err(TemplateError::at(other, "this section is not supported by the local run"));
        }
        references::check(&template).map_err(|error| template.with_line(error))?;
        Ok(template)
    }

    /// Resolves all parts that the local run starts.
    pub fn resolve(&self, deployment: &Deployment) -> Result<Stack, TemplateError> {
        stack::build(self, deployment).map_err(|error| self.with_line(error))
    }

    /// Returns the resources of a deployment by logical id, with their intrinsics replaced.
    pub fn resolved(&self, deployment: &Deployment) -> Result<BTreeMap<String, Value>, TemplateError> {
        stack::resolved(self, deployment).map_err(|error| self.with_line(error))
    }

    /// Returns the parameters by name.
    #[must_use]
    pub fn parameters(&self) -> &Map<String, Value> {
        &self.parameters
    }

    /// Returns the resources by logical id, with short forms expanded.
    #[must_use]
    pub fn resources(&self) -> &Map<String, Value> {
        &self.resources
    }

    fn with_line(&self, error: TemplateError) -> TemplateError {
        match error {
            TemplateError::Invalid { at, line: None, problem } => {
                let id = at.split('.').next().unwrap_or_default();
                TemplateError::Invalid { line: self.lines.get(id).copied(), at, problem }
            }
            other => other,
        }
    }
}
