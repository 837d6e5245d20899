"""Twins of the templates for an emulator without containers, with functions from Zip archives instead of images.

A twin differs from its template in the lines that `REPLACED` lists, each with the reason. Parameters, roles, routes,
mappings and conditions stay as they are. `make` fails if a template does not have the lines that it replaces.
"""

import re
import typing


class Change(typing.NamedTuple):
    """A kind of line that a twin replaces. `to` may name groups of the pattern, and the values of `make`."""

    template: str
    why: str
    pattern: str
    to: str


ARCHIVE = """\\g<indent>PackageType: Zip
\\g<indent>Runtime: provided.al2023
\\g<indent>Handler: bootstrap
\\g<indent>Architectures: [{architecture}]
\\g<indent>Code: {{S3Bucket: !Sub 'switchboard-artefacts-${{AWS::AccountId}}-${{AWS::Region}}', \
S3Key: !Sub 'functions/\\g<folder>@${{\\g<digest>}}.zip'}}"""

REPLACED = (
    Change(
        "backend.yaml",
        "functions come from archives with `bootstrap`, named by the digest of the image: no containers run here",
        r"(?m)^(?P<indent> +)PackageType: Image\n +Architectures: \[arm64\]\n"
        r" +Code: \{ImageUri: !Sub '[^']*\$\{ImageRepositoryPrefix\}(?P<folder>[a-z-]+)@\$\{(?P<digest>\w+)\}'\}$",
        ARCHIVE,
    ),
    Change(
        "backend.yaml",
        "REST and management addresses are the emulator's",
        r"https(?P<api>://)\$\{(?P<id>\w+)\}\.execute-api\.\$\{AWS::Region\}\.\$\{AWS::URLSuffix\}/",
        "http\\g<api>{host}/_aws/execute-api/${{\\g<id>}}/",
    ),
    Change(
        "backend.yaml",
        "the WebSocket address is the door's, which adds the subprotocol that ministack leaves out of a handshake",
        r"wss(?P<api>://)\$\{(?P<id>\w+)\}\.execute-api\.\$\{AWS::Region\}\.\$\{AWS::URLSuffix\}/",
        "ws\\g<api>{door}/_aws/execute-api/${{\\g<id>}}/",
    ),
    Change(
        "backend.yaml",
        "ministack has no type for route responses; it sends what a route's function returns",
        r"(?m)^  \w+RouteResponse:\n    Type: AWS::ApiGatewayV2::RouteResponse\n    Properties: .*\n\n?"
        r"|, \w+RouteResponse\b",
        "",
    ),
    Change(
        "backend.yaml",
        "ministack has no metric math: an alarm watches one metric",
        r"(?m)^      Metrics:\n(?:        - .*\n)+",
        "      Namespace: AWS/Lambda\n      MetricName: Errors\n      Statistic: Sum\n      Period: 60\n",
    ),
    Change(
        "backend.yaml",
        "ministack's CloudFormation has no type for composite alarms",
        r"(?m)^  \w+:\n    Type: AWS::CloudWatch::CompositeAlarm\n(?:    .*\n)+\n?",
        "",
    ),
    Change(
        "backend.yaml",
        "ministack's filters match no absent attribute by its value: the agent's mapping filters by `role` alone",
        r',"no_agent":\{"S":\[\{"exists":false\}\]\}',
        "",
    ),
    Change(
        "bootstrap.yaml",
        "the emulator speaks plain HTTP, which the bucket's policy denies",
        r"aws:SecureTransport: 'false'",
        "aws:SecureTransport: 'none'",
    ),
    Change(
        "environment.yaml",
        "`Ref` of a secret is its name in ministack, its ARN on AWS; `Id` is the ARN in both",
        r"!Ref SmokeSecret",
        "!GetAtt SmokeSecret.Id",
    ),
    Change(
        "environment.yaml",
        "ministack asks for `cloudwatch:DescribeAlarms` on `*`, AWS on `alarm:*`",
        r"(Action: 'cloudwatch:DescribeAlarms', Resource: )!Sub '[^']*:alarm:\*'",
        "\\g<1>'*'",
    ),
)


def key(folder, digest):
    """Returns the key of a function's archive in the bucket of templates."""
    return f"functions/{folder}@{digest}.zip"


def make(path, **values):
    """Returns the text of a template's twin. `values` are the architecture, and the hosts of the door and the emulator
    with their ports."""
    text = path.read_text()
    for change in REPLACED:
        if change.template == path.name:
            text, count = re.subn(change.pattern, change.to.format(**values), text)
            if not count:
                raise ValueError(f"{path.name} has no line for: {change.why}")
    left = [line.strip() for line in text.splitlines() if "ImageUri" in line or "URLSuffix}/" in line]
    if left:
        raise ValueError(f"{path.name} has lines that its twin does not know: {left[0]}")
    return text


def differences(template, twin):
    """Returns the number of lines of a twin that its template does not have."""
    known = set(template.splitlines())
    return sum(line not in known for line in twin.splitlines())
