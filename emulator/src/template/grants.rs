//! Permissions of the functions' roles.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{TemplateError, evaluate::Evaluator};
use crate::stack::Grant;

/// Returns the permissions by the function's name: the inline policies of its role, and the policies that name the
/// role.
pub(super) fn of_functions(
    evaluator: &Evaluator<'_>,
    resources: &[(String, Value)],
) -> Result<BTreeMap<String, Vec<Grant>>, TemplateError> {
    let of_kind = |kind: &'static str| resources.iter().filter(move |(_, resource)| resource["Type"] == kind);
    let mut by_role: BTreeMap<String, Vec<Grant>> = BTreeMap::new();
    for (id, role) in of_kind("AWS::IAM::Role") {
        let grants = by_role.entry(evaluator.name(id, "RoleName")?).or_default();
        for policy in role["Properties"]["Policies"].as_array().into_iter().flatten() {
            grants.extend(granted(id, &policy["PolicyDocument"])?);
        }
    }
    for (id, policy) in of_kind("AWS::IAM::Policy") {
        for role in policy["Properties"]["Roles"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            by_role.entry(role.to_owned()).or_default().extend(granted(id, &policy["Properties"]["PolicyDocument"])?);
        }
    }
    of_kind("AWS::Lambda::Function")
        .map(|(id, function)| {
            // The role is given by its ARN.
            let role = function["Properties"]["Role"].as_str().unwrap_or_default();
            let role = role.rsplit('/').next().unwrap_or_default();
            Ok((evaluator.name(id, "FunctionName")?, by_role.get(role).cloned().unwrap_or_default()))
        })
        .collect()
}

fn granted(id: &str, document: &Value) -> Result<Vec<Grant>, TemplateError> {
    let mut grants = Vec::new();
    for statement in document["Statement"].as_array().into_iter().flatten() {
        if statement["Effect"] != "Allow" || statement.get("Condition").is_some() {
            return Err(TemplateError::at(id, "the local run knows statements that allow, without conditions"));
        }
        for action in texts(&statement["Action"]) {
            for resource in texts(&statement["Resource"]) {
                grants.push(Grant { action: action.to_owned(), resource: resource.to_owned() });
            }
        }
    }
    Ok(grants)
}

/// Returns a text, or each text of a list.
fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map_or_else(|| vec![value], |list| list.iter().collect())
        .into_iter()
        .filter_map(Value::as_str)
        .collect()
}
