//! Reads the CloudFormation template into a [`Stack`].
//!
//! The subset: `Parameters` (`String`, `Number`; `Default`, `AllowedValues`, `AllowedPattern`, `MinValue`,
//! `MaxValue`), `Conditions`, `Resources`, `Outputs`; `Ref`, `Fn::GetAtt`, `Fn::Sub`, `Fn::Join`,
//! `Fn::Select`, `Fn::Split`, `Fn::If`, `Fn::Equals`, `Fn::And`, `Fn::Or`, `Fn::Not`, in long and short form;
//! the pseudo parameters. Anything else is an error that names it.
//!
//! Two rules are the local run's own. A resolved string that begins with the address of an API's stage
//! (`https://<api>.execute-api.<region>.amazonaws.com/<stage>`, or `wss://…`) gets the local address instead. And a
//! parameter whose name ends in `Digest` needs no value: a binary stands in for the image.

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

/// What the template cannot know: where and as what it is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// `AWS::StackName`.
    pub stack_name: String,
    /// `AWS::Region`.
    pub region: String,
    /// `AWS::AccountId`.
    pub account_id: String,
    /// Values of parameters; the others take their `Default`.
    pub parameters: BTreeMap<String, String>,
    /// Local address of the REST API's stage.
    pub rest_url: String,
    /// Local address of the WebSocket API's stage.
    pub websocket_url: String,
    /// Local address of the WebSocket API's `@connections`, without that segment.
    pub management_url: String,
}

/// A template, read and checked, but not yet resolved.
#[derive(Debug, Clone)]
pub struct Template {
    parameters: Map<String, Value>,
    conditions: Map<String, Value>,
    resources: Map<String, Value>,
    outputs: Map<String, Value>,
    lines: BTreeMap<String, usize>,
}

/// Why a template cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("cannot read the template {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Not YAML; the message has the line.
    #[error("the template is not valid YAML: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// Something in it is wrong or outside the subset.
    #[error("{}{at}: {problem}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Invalid {
        /// Logical id and property path: `EventsTable.Properties.KeySchema`.
        at: String,
        /// Line on which the logical id stands.
        line: Option<usize>,
        /// What is wrong.
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
    /// Parses a template; every reference in it must lead somewhere, and never in a circle.
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

    /// Resolves everything that the local run has to bring up.
    pub fn resolve(&self, deployment: &Deployment) -> Result<Stack, TemplateError> {
        stack::build(self, deployment).map_err(|error| self.with_line(error))
    }

    /// The resources that exist in a deployment, by logical id, with their intrinsics replaced.
    pub fn resolved(&self, deployment: &Deployment) -> Result<BTreeMap<String, Value>, TemplateError> {
        stack::resolved(self, deployment).map_err(|error| self.with_line(error))
    }

    /// The parameters by name.
    #[must_use]
    pub fn parameters(&self) -> &Map<String, Value> {
        &self.parameters
    }

    /// The resources by logical id, short forms written out as long ones.
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
