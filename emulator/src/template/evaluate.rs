//! Values of parameters, conditions and intrinsic functions.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::{Deployment, Template, TemplateError, references};

/// Placeholder id of the root resource of a REST API.
pub(super) const ROOT_RESOURCE: &str = "root";

/// Suffix of parameters that hold the digest of an image.
const DIGEST: &str = "Digest";

type Result<T> = std::result::Result<T, TemplateError>;

/// Evaluator of one template for one deployment. The parser has checked the references.
pub(super) struct Evaluator<'a> {
    pub(super) template: &'a Template,
    pub(super) deployment: &'a Deployment,
    parameters: BTreeMap<&'a str, String>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(template: &'a Template, deployment: &'a Deployment) -> Result<Self> {
        if let Some(name) = deployment.parameters.keys().find(|name| !template.parameters.contains_key(*name)) {
            return Err(TemplateError::at(name, "a value was given, but the template has no such parameter"));
        }
        let mut parameters = BTreeMap::new();
        for (name, declaration) in &template.parameters {
            parameters.insert(name.as_str(), parameter(name, declaration, deployment.parameters.get(name))?);
        }
        Ok(Self { template, deployment, parameters })
    }

    /// Returns the value with all intrinsics replaced, or `None` for `AWS::NoValue`.
    pub(super) fn value(&self, at: &str, value: &Value) -> Result<Option<Value>> {
        Ok(Some(match value {
            Value::Array(items) => {
                let mut resolved = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    resolved.extend(self.value(&format!("{at}.{index}"), item)?);
                }
                Value::Array(resolved)
            }
            Value::Object(map) => match single(map) {
                Some((name, argument)) if name == "Ref" || name.starts_with("Fn::") => {
                    return self.intrinsic(&format!("{at}.{name}"), name, argument);
                }
                _ => {
                    let mut resolved = Map::new();
                    for (key, inner) in map {
                        if let Some(inner) = self.value(&format!("{at}.{key}"), inner)? {
                            resolved.insert(key.clone(), inner);
                        }
                    }
                    Value::Object(resolved)
                }
            },
            other => other.clone(),
        }))
    }

    fn intrinsic(&self, at: &str, name: &str, argument: &Value) -> Result<Option<Value>> {
        let text = match name {
            "Ref" => match argument.as_str() {
                Some("AWS::NoValue") => return Ok(None),
                Some(name) => self.reference(at, name)?,
                None => return Err(TemplateError::at(at, "takes a name")),
            },
            "Fn::GetAtt" => {
                let (id, attribute) = references::get_att(argument)
                    .ok_or_else(|| TemplateError::at(at, "takes a logical id and an attribute"))?;
                self.attribute(at, &id, &attribute)?
            }
            "Fn::Sub" => self.localise(self.substitute(at, argument)?)?,
            "Fn::Join" => {
                let [Value::String(separator), list] = pair(at, argument)? else {
                    return Err(TemplateError::at(at, "takes a separator and a list"));
                };
                self.localise(self.texts(at, list)?.join(separator))?
            }
            "Fn::Select" => {
                let [index, list] = pair(at, argument)?;
                let index = self.text(at, index)?;
                let list = self.texts(at, list)?;
                index.parse::<usize>().ok().and_then(|index| list.get(index).cloned()).ok_or_else(|| {
                    TemplateError::at(at, format!("index {index} is outside the list of {}", list.len()))
                })?
            }
            "Fn::Split" => {
                let [Value::String(separator), text] = pair(at, argument)? else {
                    return Err(TemplateError::at(at, "takes a separator and a text"));
                };
                let text = self.text(at, text)?;
                return Ok(Some(text.split(separator.as_str()).map(Value::from).collect()));
            }
            "Fn::If" => match argument.as_array().map(Vec::as_slice) {
                Some([Value::String(condition), yes, no]) => {
                    return self.value(at, if self.named_condition(at, condition)? { yes } else { no });
                }
                _ => return Err(TemplateError::at(at, "takes a condition and two values")),
            },
            other => return Err(TemplateError::at(at, format!("{other} cannot stand here"))),
        };
        Ok(Some(Value::String(text)))
    }

    /// Returns `true` if a resource or output with this `Condition` exists.
    pub(super) fn exists(&self, id: &str, declaration: &Value) -> Result<bool> {
        match declaration.get("Condition") {
            None => Ok(true),
            Some(Value::String(name)) => self.named_condition(&format!("{id}.Condition"), name),
            Some(_) => Err(TemplateError::at(format!("{id}.Condition"), "must be the name of a condition")),
        }
    }

    fn named_condition(&self, at: &str, name: &str) -> Result<bool> {
        match self.template.conditions.get(name) {
            Some(condition) => self.condition(name, condition),
            None => Err(TemplateError::at(at, format!("no condition is called {name:?}"))),
        }
    }

    fn condition(&self, at: &str, value: &Value) -> Result<bool> {
        let Some((name, argument)) = value.as_object().and_then(single) else {
            return Err(TemplateError::at(at, "must be one of Fn::Equals, Fn::And, Fn::Or, Fn::Not, Condition"));
        };
        let all = || match argument.as_array() {
            Some(list) => list.iter().map(|inner| self.condition(at, inner)).collect::<Result<Vec<_>>>(),
            None => Err(TemplateError::at(at, format!("{name} takes a list"))),
        };
        match name {
            "Condition" => self.named_condition(at, argument.as_str().unwrap_or_default()),
            "Fn::Equals" => {
                let [left, right] = pair(at, argument)?;
                Ok(self.text(at, left)? == self.text(at, right)?)
            }
            "Fn::And" => Ok(all()?.into_iter().all(|holds| holds)),
            "Fn::Or" => Ok(all()?.into_iter().any(|holds| holds)),
            "Fn::Not" => match all()?.as_slice() {
                [holds] => Ok(!holds),
                _ => Err(TemplateError::at(at, "Fn::Not takes a list of one condition")),
            },
            other => Err(TemplateError::at(at, format!("{other} is not a condition"))),
        }
    }

    fn substitute(&self, at: &str, argument: &Value) -> Result<String> {
        let (text, own) = match argument {
            Value::Array(pair) => (pair.first(), pair.get(1).and_then(Value::as_object)),
            text => (Some(text), None),
        };
        let mut rest = text.and_then(Value::as_str).ok_or_else(|| TemplateError::at(at, "takes a text"))?;
        let mut resolved = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(|| TemplateError::at(at, "`${` without `}`"))?;
            let name = name.trim();
            resolved.push_str(before);
            if let Some(literal) = name.strip_prefix('!') {
                resolved.push_str("${");
                resolved.push_str(literal);
                resolved.push('}');
            } else if let Some(value) = own.and_then(|own| own.get(name)) {
                resolved.push_str(&self.text(at, value)?);
            } else if let Some((id, attribute)) = name.split_once('.') {
                resolved.push_str(&self.attribute(at, id, attribute)?);
            } else {
                resolved.push_str(&self.reference(at, name)?);
            }
            rest = after;
        }
        resolved.push_str(rest);
        Ok(resolved)
    }

    fn texts(&self, at: &str, list: &Value) -> Result<Vec<String>> {
        match self.value(at, list)? {
            Some(Value::Array(items)) => items.iter().map(|item| as_text(at, item)).collect(),
            _ => Err(TemplateError::at(at, "needs a list")),
        }
    }

    fn text(&self, at: &str, value: &Value) -> Result<String> {
        match self.value(at, value)? {
            Some(value) => as_text(at, &value),
            None => Err(TemplateError::at(at, "AWS::NoValue cannot stand here")),
        }
    }

    fn reference(&self, at: &str, name: &str) -> Result<String> {
        let deployment = self.deployment;
        if let Some(value) = self.parameters.get(name) {
            return Ok(value.clone());
        }
        Ok(match name {
            "AWS::AccountId" => deployment.account_id.clone(),
            "AWS::Partition" => "aws".into(),
            "AWS::Region" => deployment.region.clone(),
            "AWS::StackName" => deployment.stack_name.clone(),
            "AWS::StackId" => self.arn("cloudformation", &format!("stack/{}/local", deployment.stack_name)),
            "AWS::URLSuffix" => "amazonaws.com".into(),
            id => match self.kind(id) {
                "AWS::DynamoDB::Table" => self.name(id, "TableName")?,
                "AWS::Lambda::Function" => self.name(id, "FunctionName")?,
                "AWS::Logs::LogGroup" => self.name(id, "LogGroupName")?,
                "AWS::ApiGateway::Stage" | "AWS::ApiGatewayV2::Stage" => self.name(id, "StageName")?,
                "AWS::SQS::Queue" => {
                    let queue = self.name(id, "QueueName")?;
                    format!("https://sqs.{}.amazonaws.com/{}/{queue}", deployment.region, deployment.account_id)
                }
                "AWS::SNS::Topic" => self.arn("sns", &self.name(id, "TopicName")?),
                "" => {
                    return Err(TemplateError::at(at, format!("no parameter or resource is called {id}")));
                }
                // AWS generates these ids. Here they are the logical id, which is short and constant.
                kind if kind.starts_with("AWS::ApiGateway") => id.to_ascii_lowercase(),
                _ => format!("{}-{id}", deployment.stack_name),
            },
        })
    }

    fn attribute(&self, at: &str, id: &str, attribute: &str) -> Result<String> {
        Ok(match (self.kind(id), attribute) {
            ("AWS::DynamoDB::Table", "Arn") => self.arn("dynamodb", &format!("table/{}", self.reference(at, id)?)),
            ("AWS::DynamoDB::Table", "StreamArn") => {
                self.arn("dynamodb", &format!("table/{}/stream/local", self.reference(at, id)?))
            }
            ("AWS::Lambda::Function", "Arn") => self.arn("lambda", &format!("function:{}", self.reference(at, id)?)),
            ("AWS::Events::Rule", "Arn") => self.arn("events", &format!("rule/{}", self.name(id, "Name")?)),
            ("AWS::SQS::Queue", "Arn") => self.arn("sqs", &self.name(id, "QueueName")?),
            ("AWS::SQS::Queue", "QueueName") => self.name(id, "QueueName")?,
            ("AWS::Logs::LogGroup", "Arn") => self.arn("logs", &format!("log-group:{}:*", self.reference(at, id)?)),
            ("AWS::IAM::Role", "Arn") => {
                format!("arn:aws:iam::{}:role/{}", self.deployment.account_id, self.reference(at, id)?)
            }
            ("AWS::ApiGateway::RestApi", "RootResourceId") => ROOT_RESOURCE.into(),
            ("AWS::WAFv2::WebACL", "Arn") => self.arn("wafv2", &format!("regional/webacl/{}", self.name(id, "Name")?)),
            (kind, _) => {
                return Err(TemplateError::at(at, format!("{id} ({kind}) has no attribute {attribute} here")));
            }
        })
    }

    /// Returns the name that a property gives, or one generated from stack and logical id.
    pub(super) fn name(&self, id: &str, property: &str) -> Result<String> {
        let at = format!("{id}.Properties.{property}");
        match self.template.resources.get(id).and_then(|resource| resource.get("Properties")?.get(property)) {
            Some(value) => self.text(&at, value),
            None => Ok(format!("{}-{id}", self.deployment.stack_name)),
        }
    }

    fn kind(&self, id: &str) -> &str {
        self.template.resources.get(id).and_then(|resource| resource.get("Type")?.as_str()).unwrap_or_default()
    }

    pub(super) fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.deployment.region, self.deployment.account_id)
    }

    /// Replaces a stage's address on AWS with the local address.
    fn localise(&self, text: String) -> Result<String> {
        if !text.contains(".execute-api.") || text.starts_with("arn:") {
            return Ok(text);
        }
        for (id, resource) in &self.template.resources {
            let (api, secure, socket) = match resource.get("Type").and_then(Value::as_str) {
                Some("AWS::ApiGateway::Stage") => ("RestApiId", &self.deployment.rest_url, None),
                Some("AWS::ApiGatewayV2::Stage") => {
                    ("ApiId", &self.deployment.management_url, Some(&self.deployment.websocket_url))
                }
                _ => continue,
            };
            let stage = format!(
                "{}.execute-api.{}.amazonaws.com/{}",
                self.name(id, api)?,
                self.deployment.region,
                self.name(id, "StageName")?
            );
            for (scheme, local) in [("https://", Some(secure)), ("wss://", socket)] {
                let rest = text.strip_prefix(scheme).and_then(|text| text.strip_prefix(&stage));
                if let (Some(rest), Some(local)) = (rest.filter(|rest| rest.is_empty() || rest.starts_with('/')), local)
                {
                    return Ok(format!("{}{rest}", local.trim_end_matches('/')));
                }
            }
        }
        Ok(text)
    }
}

fn parameter(name: &str, declaration: &Value, given: Option<&String>) -> Result<String> {
    let kind = declaration.get("Type").and_then(Value::as_str).unwrap_or_default();
    if !["String", "Number"].contains(&kind) {
        return Err(TemplateError::at(
            format!("{name}.Type"),
            format!("{kind:?} is not supported; use String or Number"),
        ));
    }
    let value = match (given, declaration.get("Default")) {
        (Some(given), _) => given.clone(),
        (None, Some(default)) => as_text(&format!("{name}.Default"), default)?,
        (None, None) if name.ends_with(DIGEST) => format!("sha256:{}", "0".repeat(64)),
        (None, None) => return Err(TemplateError::at(name, "has no default: give it a value")),
    };
    // The value may be a secret, so the message does not contain it.
    if let Some(allowed) = declaration.get("AllowedValues").and_then(Value::as_array)
        && !allowed.iter().any(|one| as_text(name, one).is_ok_and(|one| one == value))
    {
        return Err(TemplateError::at(name, format!("must be one of {}", Value::from(allowed.clone()))));
    }
    if let Some(pattern) = declaration.get("AllowedPattern").and_then(Value::as_str) {
        let whole = Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|error| TemplateError::at(format!("{name}.AllowedPattern"), error.to_string()))?;
        if !whole.is_match(&value) {
            return Err(TemplateError::at(name, format!("must match {pattern}")));
        }
    }
    if kind == "Number" {
        let number: f64 = value.parse().map_err(|_| TemplateError::at(name, "must be a number"))?;
        let limit = |key: &str| declaration.get(key).and_then(Value::as_f64);
        if limit("MinValue").is_some_and(|min| number < min) || limit("MaxValue").is_some_and(|max| number > max) {
            return Err(TemplateError::at(name, "is outside MinValue and MaxValue"));
        }
    }
    Ok(value)
}

fn single(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    (map.len() == 1).then(|| map.iter().next().map(|(key, value)| (key.as_str(), value))).flatten()
}

fn pair<'v>(at: &str, argument: &'v Value) -> Result<&'v [Value; 2]> {
    argument
        .as_array()
        .and_then(|list| list.as_slice().try_into().ok())
        .ok_or_else(|| TemplateError::at(at, "takes a list of two"))
}

fn as_text(at: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        other => Err(TemplateError::at(at, format!("must be a text, not {other}"))),
    }
}
