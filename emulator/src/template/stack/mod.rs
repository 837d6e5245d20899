//! Resources by type.

mod apis;
mod functions;
mod link;
mod parts;
mod tables;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::parts::Parts;
use super::{Deployment, Template, TemplateError, evaluate::Evaluator, grants, properties::Properties};
use crate::stack::Stack;

type Result<T> = std::result::Result<T, TemplateError>;

/// Types without a local counterpart. Their references are checked.
const NOTHING_TO_RUN: [&str; 16] = [
    "AWS::ApiGateway::Account",
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::RequestValidator",
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::WAFv2::WebACL",
    "AWS::WAFv2::WebACLAssociation",
];

/// Returns the resolved resources of a deployment.
pub(super) fn resolved(template: &Template, deployment: &Deployment) -> Result<BTreeMap<String, Value>> {
    Ok(resources(&Evaluator::new(template, deployment)?)?.into_iter().collect())
}

fn resources(evaluator: &Evaluator<'_>) -> Result<Vec<(String, Value)>> {
    let mut resources = Vec::new();
    for (id, resource) in &evaluator.template.resources {
        if !evaluator.exists(id, resource)? {
            continue;
        }
        let empty = Value::Object(Map::new());
        let properties = resource.get("Properties").unwrap_or(&empty);
        let properties = evaluator.value(&format!("{id}.Properties"), properties)?.unwrap_or(empty);
        let mut resource = resource.clone();
        resource["Properties"] = properties;
        resources.push((id.clone(), resource));
    }
    Ok(resources)
}

pub(super) fn build(template: &Template, deployment: &Deployment) -> Result<Stack> {
    let evaluator = Evaluator::new(template, deployment)?;
    let mut parts = Parts::default();
    let resources = resources(&evaluator)?;
    let grants = grants::of_functions(&evaluator, &resources)?;
    for (id, mut resource) in resources {
        let kind = resource.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if NOTHING_TO_RUN.contains(&kind.as_str()) {
            continue;
        }
        let mut properties = Properties::new(format!("{id}.Properties"), resource["Properties"].take())?;
        parts.read(&evaluator, &id, &kind, &mut properties)?;
        properties.finish()?;
    }
    let mut outputs = BTreeMap::new();
    for (id, output) in &template.outputs {
        if evaluator.exists(id, output)? {
            let value = evaluator.value(id, output)?.unwrap_or_default();
            let mut output = Properties::new(id, value)?;
            outputs.insert(id.clone(), output.required_text("Value")?);
        }
    }
    parts.into_stack(deployment, grants, outputs)
}
