//! The parameters of the real template.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{backend, deployment, repository};

#[test]
fn given_parameters_replace_defaults_and_must_exist() {
    let mut given = deployment();
    given.parameters.insert("TablePrefix".into(), "dev_".into());
    let tables = backend().resolve(&given).unwrap().tables;
    assert!(tables.iter().all(|table| table.name.starts_with("dev_chat_")));
    given.parameters.insert("Nobody".into(), "x".into());
    let error = backend().resolve(&given).unwrap_err().to_string();
    assert!(error.contains("Nobody") && error.contains("no such parameter"), "{error}");
}

/// CloudFormation rejects a second resource of one name in an account, and a second export of one name in a region.
#[test]
fn two_stacks_of_one_account_share_no_name() {
    let names = |stack_name: &str| {
        let mut given = deployment();
        given.stack_name = stack_name.into();
        given.parameters.remove("TablePrefix");
        let stack = backend().resolve(&given).unwrap();
        let mut names: BTreeSet<String> = stack.tables.into_iter().map(|table| table.name).collect();
        names.extend(stack.functions.into_iter().flat_map(|function| [function.name, function.log_group]));
        names.extend(stack.queues.into_iter().map(|queue| queue.name));
        names
    };
    let (one, other) = (names("one"), names("other"));
    assert!(one.len() >= 26, "{one:?}");
    assert!(one.is_disjoint(&other));
    // Resources that the local run ignores: their names must contain the name of the stack.
    for (id, resource) in backend().resources() {
        let properties = resource["Properties"].as_object().cloned().unwrap_or_default();
        let kind = resource["Type"].as_str().unwrap();
        // Names within a role, an API or a dashboard need not be unique.
        let inner = ["StageName", "AttributeName", "PolicyName", "MetricName"];
        for (name, value) in
            properties.iter().filter(|(name, _)| name.ends_with("Name") && !inner.contains(&name.as_str()))
        {
            assert!(
                value.to_string().contains("AWS::StackName") || value.get("Ref").is_some(),
                "{id} ({kind}): {name}"
            );
        }
    }
}

#[test]
fn every_parameter_is_described_and_in_one_group() {
    let file: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(repository().join("infra/backend.yaml")).unwrap()).unwrap();
    let groups = &file["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"];
    let mut grouped: Vec<String> = groups
        .as_sequence()
        .unwrap()
        .iter()
        .flat_map(|group| group["Parameters"].as_sequence().unwrap())
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    grouped.sort_unstable();
    let template = backend();
    let known: Vec<String> = template.parameters().keys().cloned().collect();
    assert_eq!(grouped, known);
    for (name, parameter) in template.parameters() {
        assert!(parameter["Description"].is_string(), "{name} needs a description");
        // Only an image has no safe default.
        assert_eq!(parameter.get("Default").is_none(), name.ends_with("Digest"), "{name}");
        // A masked value keeps its broken value in a roll-back, so only secrets are masked.
        let secret = ["Secret", "ApiKey", "Headers"].iter().any(|end| name.ends_with(end));
        assert_eq!(secret, parameter["NoEcho"] == Value::Bool(true), "{name}");
    }
}
