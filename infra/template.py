"""Reads the templates of this folder, and resolves intrinsics to values as they would be on AWS."""

import re

import yaml


class Loader(yaml.SafeLoader):
    """Loader of CloudFormation's YAML that expands short forms."""


def _short(loader, tag, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if tag == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


Loader.add_multi_constructor("!", _short)


class Template:
    """A template whose parameters have their defaults, or `values`."""

    PSEUDO = {
        "AWS::AccountId": "123456789012",
        "AWS::Partition": "aws",
        "AWS::Region": "us-east-1",
        "AWS::StackName": "switchboard-staging",
        "AWS::URLSuffix": "amazonaws.com",
    }
    ARNS = {
        "AWS::ApiGateway::RestApi": "arn:aws:apigateway:us-east-1::/restapis/{}",
        "AWS::DynamoDB::Table": "arn:aws:dynamodb:us-east-1:123456789012:table/switchboard-staging-{}",
        "AWS::Events::Rule": "arn:aws:events:us-east-1:123456789012:rule/switchboard-staging-{}",
        "AWS::IAM::ManagedPolicy": "arn:aws:iam::123456789012:policy/{}",
        "AWS::IAM::OIDCProvider": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
        "AWS::IAM::Role": "arn:aws:iam::123456789012:role/{}",
        "AWS::Lambda::Function": "arn:aws:lambda:us-east-1:123456789012:function:switchboard-staging-{}",
        "AWS::Logs::LogGroup": "arn:aws:logs:us-east-1:123456789012:log-group:/switchboard-staging/{}:*",
        "AWS::S3::Bucket": "arn:aws:s3:::{}",
        "AWS::SNS::Topic": "arn:aws:sns:us-east-1:123456789012:switchboard-staging-{}",
        "AWS::WAFv2::WebACL": "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/switchboard-staging-{}/a",
        "AWS::SQS::Queue": "arn:aws:sqs:us-east-1:123456789012:switchboard-staging-{}",
        "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:switchboard/staging/smoke-AbCdEf",
    }
    # `Ref` returns the ARN of these.
    BY_ARN = ("AWS::IAM::ManagedPolicy", "AWS::IAM::OIDCProvider", "AWS::SNS::Topic", "AWS::SecretsManager::Secret")

    def __init__(self, path, values):
        self.path = path
        self.body = yaml.load(path.read_text(), Loader)
        self.values = {name: one.get("Default") for name, one in self.body["Parameters"].items()} | values
        self.resources = {}
        for name, resource in self.body["Resources"].items():
            if self.condition(resource.get("Condition")):
                self.resources[name] = (resource["Type"], self.resolve(resource.get("Properties", {})))

    def condition(self, value):
        if value is None:
            return True
        if isinstance(value, str):
            return self.condition(self.body["Conditions"][value])
        ((kind, argument),) = value.items()
        if kind == "Condition":
            return self.condition(argument)
        if kind == "Fn::Not":
            return not self.condition(argument[0])
        if kind == "Fn::And":
            return all(map(self.condition, argument))
        if kind == "Fn::Equals":
            return str(self.resolve(argument[0])) == str(self.resolve(argument[1]))
        raise ValueError(kind)

    def arn(self, name):
        resource = self.body["Resources"][name]
        if "RoleName" in resource.get("Properties", {}):
            return self.ARNS["AWS::IAM::Role"].format(self.resolve(resource["Properties"]["RoleName"]))
        return self.ARNS[self.body["Resources"][name]["Type"]].format(name)

    def name(self, name):
        if name in self.PSEUDO:
            return self.PSEUDO[name]
        if name in self.values:
            if self.values[name] is None:
                raise ValueError(f"{self.path.name}: give {name} a value")
            return self.values[name]
        kind = self.body["Resources"][name]["Type"]
        properties = self.body["Resources"][name].get("Properties", {})
        if kind in self.BY_ARN:
            return self.arn(name)
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.us-east-1.amazonaws.com/123456789012/{name}"
        for key in ("TableName", "LogGroupName", "StageName"):
            if key in properties:
                return self.resolve(properties[key])
        return name.lower() if "ApiGateway" in kind else name

    def attribute(self, name, attribute):
        if attribute in ("Arn", "StreamArn"):
            return self.arn(name) + ("/stream/2026-01-01T00:00:00.000" if attribute == "StreamArn" else "")
        return name

    def substitute(self, name, given):
        """Returns the value of a variable of `Fn::Sub`."""
        if name in given:
            return given[name]
        return self.attribute(*name.split(".")) if "." in name else self.name(name)

    def resolve(self, value):
        """Returns the value without intrinsics. Numbers and flags from parameters are texts, as in CloudFormation."""
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not ...]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((kind, argument),) = value.items()
            if kind == "Ref":
                return ... if argument == "AWS::NoValue" else self.name(argument)
            if kind == "Fn::GetAtt":
                return self.attribute(*argument)
            if kind == "Fn::If":
                return self.resolve(argument[1 if self.condition(argument[0]) else 2])
            if kind == "Fn::FindInMap":
                return self.body["Mappings"][argument[0]][argument[1]][argument[2]]
            if kind == "Fn::Sub":
                text, given = argument if isinstance(argument, list) else (argument, {})
                given = {key: self.resolve(one) for key, one in given.items()}
                return re.sub(r"\$\{([\w:.]+)\}", lambda match: str(self.substitute(match[1], given)), text)
            if kind == "Fn::Split":
                return self.resolve(argument[1]).split(argument[0])
            if kind == "Fn::Select":
                return self.resolve(argument[1])[int(argument[0])]
            if kind.startswith("Fn::"):
                raise ValueError(kind)
        resolved = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in resolved.items() if one is not ...}
