"""The steps of the rehearsal. Each returns a line for the report, or raises."""

import contextlib
import functools
import json

import botocore.exceptions

import check
import roles
from rehearsal import account, cli
from rehearsal.stack import ISSUERS, Failed

# A digest that no image has, as of an image that was deleted from the registry.
NO_IMAGE = "sha256:" + "0" * 64


def expect(condition, message):
    if not condition:
        raise Failed(message)


def refused(call):
    """Returns whether a call is refused for lack of permission."""
    try:
        call()
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    return False


def trust(emulator):
    """Assumes each role with both forms of its subject, and with subjects that it must not trust."""
    branch, staging, production = "ref:refs/heads/main", "environment:staging", "environment:production"
    trusted = {
        "switchboard-images": branch,
        "switchboard-staging-deploy": staging,
        "switchboard-production-deploy": production,
    }
    tried = 0
    for role, own in trusted.items():
        for subject in account.subjects(own):
            account.assume(emulator, role, subject)
            tried += 1
        others = [one for rest in trusted.values() if rest != own for one in account.subjects(rest)]
        for subject in (*others, *(f"{one}x" for one in account.subjects(own)), f"repo:other/switchboard:{own}"):
            expect(refused(lambda: account.assume(emulator, role, subject)), f"{role} trusts {subject}")
            tried += 1
    return f"{tried} subjects tried: both forms of the own one are trusted, no other is"


def first(stack, images):
    """Deploys for the first time."""
    stack.deploy(images, "LogLevel=info")
    stack.expect("CREATE_COMPLETE")
    bound(stack)
    return f"{len(stack.resources())} resources, CREATE_COMPLETE"


def bound(stack):
    """Sets the boundary of the functions' roles, which ministack's CloudFormation leaves out."""
    iam = stack.emulator.client("iam")
    boundary = stack.parameters()["PermissionsBoundary"]
    for _, kind, physical in stack.resources():
        if kind == "AWS::IAM::Role":
            iam.put_role_permissions_boundary(RoleName=physical, PermissionsBoundary=boundary)


def smoke(stack):
    """Runs the smoke test and watches the alarms, as the pipeline does after each deployment."""
    said = stack.run("smoke")
    stack.run("alarms")
    return f"{said.count('ok  ')} steps of the smoke test, no alarm"


def again(stack, images):
    """Deploys the same again, which changes nothing."""
    said = stack.run("prepare", IMAGES=images, PARAMETERS="LogLevel=info")
    expect("nothing to change" in said, f"the second deployment changes something:\n{said}")
    return "nothing to change"


def update(stack, images):
    """Deploys an image that changed, another log level and issuer, and another origin, which has to make a new
    deployment of the REST API."""
    issuers = ISSUERS.replace("id.example.com", "login.example.com")
    said = stack.deploy(images, "LogLevel=debug", "AllowedOrigin=https://chat.example.com", issuers=issuers)
    stack.expect("UPDATE_COMPLETE")
    expect(settings(stack)["LOG_LEVEL"] == "debug", "the functions have the old log level")
    expect("| Add | RestDeployment" in said, "another AllowedOrigin makes no new deployment of the REST API")
    return "an image, parameters, a new REST deployment; UPDATE_COMPLETE"


def settings(stack):
    """Returns variables of a function that `update` changes."""
    return {name: stack.variable("ChannelsFunction", name) for name in ("LOG_LEVEL", "JWT_ISSUERS", "ALLOWED_ORIGIN")}


def roll_back(stack, images):
    """Restores what was before the last deployment, as the pipeline does if the smoke test fails."""
    stack.run("roll-back")
    stack.expect("UPDATE_COMPLETE")
    new = ("debug", "chat.example.com", "login.example.com")
    kept = [name for name, value in settings(stack).items() if any(one in value for one in new)]
    expect(not kept, f"the roll-back keeps the values of {', '.join(kept)}")
    expect(f"HealthDigest={stack.parameters()['HealthDigest']}" in images, "the roll-back keeps the new image")
    return "the parameters and images of before; UPDATE_COMPLETE"


def failed_update(stack, images):
    """Deploys an image that does not exist. CloudFormation rolls back by itself, and the next deployment works."""
    before = stack.parameters()
    stack.run("prepare", IMAGES=replaced(images), PARAMETERS="LogLevel=debug")
    stack.run("execute", fails=True)
    stack.expect("UPDATE_ROLLBACK_COMPLETE")
    expect(stack.parameters() == before, "the roll-back left other parameters")
    stack.deploy(images, "LogLevel=warn")
    stack.expect("UPDATE_COMPLETE")
    return "UPDATE_ROLLBACK_COMPLETE with the parameters of before, then UPDATE_COMPLETE"


def failed_first(stack, images):
    """Deploys for the first time, with a resource that the emulator refuses. The tables stay."""
    template = stack.tree / "infra/backend.yaml"
    text = template.read_text()
    head, alarm, rest = text.partition("  FunctionErrorsAlarm:\n")
    refused = rest.replace("      MetricName: Errors\n", "      Metrics: [{Id: all, Expression: '1'}]\n", 1)
    template.write_text(head + alarm + refused)
    try:
        stack.run("prepare", IMAGES=images)
        said = stack.run("execute", fails=True)
    finally:
        template.write_text(text)
    stack.expect("CREATE_FAILED")
    expect("FunctionErrorsAlarm" in said, f"the failure names no resource:\n{said}")
    tables = sum(kind == "AWS::DynamoDB::Table" and bool(physical) for _, kind, physical in stack.resources())
    expect(tables == 3, f"{tables} tables are left, not three")
    expect("no previous deployment" in stack.run("roll-back", fails=True), "it rolls back to nothing")
    return "CREATE_FAILED, the message names the resource, the tables stay"


def repair(stack, images):
    """Deploys again after the cause is gone."""
    stack.deploy(images)
    stack.expect("UPDATE_COMPLETE")
    bound(stack)
    return f"{len(stack.resources())} resources, UPDATE_COMPLETE"


def replaced(images):
    """Returns parameters whose image of `health` does not exist."""
    return " ".join(f"HealthDigest={NO_IMAGE}" if one.startswith("HealthDigest=") else one for one in images.split())


def other_stack(stack, other):
    """Uses the deploy role of one environment on the stack of the other."""
    cloudformation = stack.emulator.client("cloudformation", stack.keys)
    secrets = stack.emulator.client("secretsmanager", stack.keys)
    own = f"switchboard/{other.environment}/smoke"
    for name, call in {
        "describe": lambda: cloudformation.describe_stacks(StackName=other.name),
        "execute": lambda: cloudformation.execute_change_set(StackName=other.name, ChangeSetName="any"),
        "read the secret of": lambda: secrets.get_secret_value(SecretId=own),
        "delete": lambda: cloudformation.delete_stack(StackName=other.name),
    }.items():
        expect(refused(call), f"the deploy role of {stack.name} may {name} {other.name}")
    return f"the role of {stack.environment} is refused on the stack and the secret of {other.environment}"


def deploy_calls(record, templates):
    """Holds the calls of `infra/deploy` against the roles of the templates, by this project's own evaluation."""
    *_, bootstrap, environment = templates
    granted = [*check.statements(bootstrap), *check.statements(environment)]
    statements = {role: [one for name, one in granted if name == role] for role in ("DeployRole", "ImagesRole")}
    calls = set()
    for stage, arguments in cli.recorded(record):
        # The templates are read for `staging`.
        arguments = [
            one.replace(f"switchboard-{stage}", "switchboard-staging").replace(
                f"switchboard/{stage}", "switchboard/staging"
            )
            for one in arguments
        ]
        role = "ImagesRole" if arguments[0] == "ecr" else "DeployRole"
        calls |= {(role, call) for call in roles.of_command(arguments)}
    missing = [
        f"{role} lacks {call.action} on {call.arn}"
        for role, call in sorted(calls)
        if not roles.allows(statements[role], call.action, call.arn, dict(call.context))
    ]
    expect(not missing, "\n".join(missing))
    return f"{len({(role, call.action) for role, call in calls})} actions of `infra/deploy`, each allowed"


def execution_calls(stack, templates):
    """Holds the calls of CloudFormation on the resources of a stack against its role, with the names they have."""
    *_, environment = templates
    statements = [one for name, one in check.statements(environment) if name == "ExecutionRole"]
    place = stack.name.removeprefix("switchboard-")
    missing, count = set(), 0
    for logical, kind, physical in stack.resources():
        for call in roles.of_resource(logical, kind, check.used):
            arn = named(kind, call.arn, physical).replace(stack.name, "switchboard-staging")
            count += 1
            if not roles.allows(statements, call.action, arn, dict(call.context)):
                missing.add(f"{logical}: {call.action} on {arn}")
    expect(not missing, f"ExecutionRole of {place} lacks:\n" + "\n".join(sorted(missing)))
    return f"{count} calls on the stack's resources by their names, each allowed"


# Types whose resources have names that the stack's name begins. The others have ids that AWS generates.
NAMED = (
    "CloudWatch::Alarm",
    "CloudWatch::Dashboard",
    "DynamoDB::Table",
    "Events::Rule",
    "IAM::Role",
    "Lambda::Function",
    "Logs::LogGroup",
    "SNS::Topic",
    "SQS::Queue",
)


def named(kind, arn, physical):
    """Returns an ARN of `roles.py` with the name of a resource in the place of its example."""
    if kind.removeprefix("AWS::") not in NAMED:
        return arn
    name = physical if kind == "AWS::Logs::LogGroup" else physical.rsplit(":", 1)[-1].rsplit("/", 1)[-1]
    examples = (f"/{roles.STACK}/x", f"{roles.STACK}-X-AbC123", f"{roles.STACK}-chat_events")
    return functools.reduce(lambda arn, example: arn.replace(example, name), examples, arn)


@contextlib.contextmanager
def exchanged(stack, role, policy, action, other):
    """Has another action in the place of one, in a policy of a role."""
    iam = stack.emulator.client("iam")
    document = json.dumps(iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"])
    less = document.replace(f'"{action}"', f'"{other}"')
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=less)
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=document)


def control_of_deployment(stack, images):
    """Takes an action away from the deploy role: the next deployment has to fail by it."""
    role = f"{stack.name}-deploy"
    with exchanged(stack, role, "deploy", "cloudformation:GetTemplate", "cloudformation:ListStacks"):
        said = stack.run("prepare", IMAGES=images, fails=True)
    expect("cloudformation:GetTemplate" in said, f"the deployment failed by something else:\n{said}")
    return "without cloudformation:GetTemplate, `infra/deploy prepare` is refused"


def control_of_functions(stack):
    """Takes an action away from the role of a function: the smoke test has to fail at the step that needs it."""
    role = next(physical for logical, _, physical in stack.resources() if logical == "ChannelsRole")
    with exchanged(stack, role, "function", "dynamodb:PutItem", "dynamodb:Scan"):
        said = stack.run("smoke", fails=True)
    expect("FAILED  create channel" in said, f"the smoke test failed elsewhere:\n{said}")
    return "without dynamodb:PutItem for `channels`, the smoke test fails at `create channel`"
