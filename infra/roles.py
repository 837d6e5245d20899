"""The calls of a deployment with their ARNs, and the policies that have to allow them.

`of_handlers` returns the calls that CloudFormation makes for each resource of a template, by the permissions that the
schema of its type names: to create, read, change, delete and tag it. A permission names an action only, so this module
adds the ARN on which AWS asks for it. `of_command` returns the calls of a command of the AWS CLI. `allows` evaluates
statements like IAM: a denial wins, conditions are compared with a context.
"""

import functools
import re
import typing

STACK = "switchboard-staging"
PLACE = "us-east-1:123456789012"
BOUNDARY = "arn:aws:iam::123456789012:policy/Boundary"
FUNCTION = f"arn:aws:lambda:{PLACE}:function:{STACK}-X-AbC123"
MAPPING = f"arn:aws:lambda:{PLACE}:event-source-mapping:00000000-0000-0000-0000-000000000000"
GATEWAY = "arn:aws:apigateway:us-east-1::"


class Call(typing.NamedTuple):
    """A call of AWS's API. `context` has pairs of condition keys and values."""

    action: str
    arn: str
    resource: str
    context: tuple = ()


def listed(value):
    return value if isinstance(value, list) else [value]


@functools.cache
def compiled(pattern):
    """Returns the regular expression of a pattern of IAM."""
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(one, re.escape(one)) for one in pattern))


def matches(pattern, text):
    """Returns whether a pattern of IAM matches a text."""
    return compiled(pattern).fullmatch(text) is not None


def holds(condition, context):
    """Returns whether all conditions of a statement hold. A key that the context lacks fails."""
    for operator, keys in condition.items():
        exact = {"StringEquals": True, "Bool": True, "StringLike": False, "ArnLike": False}[operator]
        for key, values in keys.items():
            found = context.get(key)
            compare = (lambda value: value == found) if exact else (lambda value: matches(value, found))
            if found is None or not any(map(compare, listed(values))):
                return False
    return True


def applies(statement, action, arn, context):
    """Returns whether a statement is about a call."""
    if not any(matches(one.lower(), action.lower()) for one in listed(statement["Action"])):
        return False
    if "NotResource" in statement:
        on = not any(matches(one, arn) for one in listed(statement["NotResource"]))
    else:
        on = any(matches(one, arn) for one in listed(statement["Resource"]))
    return on and holds(statement.get("Condition", {}), context)


def allows(statements, action, arn, context):
    """Returns whether statements allow a call."""
    about = [one["Effect"] for one in statements if applies(one, action, arn, context)]
    return "Allow" in about and "Deny" not in about


# For each type: the ARNs of a resource, and the ARN of the collection in which it is created, if AWS asks for that.
OWN = {
    "AWS::ApiGateway::Deployment": ("/restapis/a/deployments/d", "/restapis/a/deployments"),
    "AWS::ApiGateway::GatewayResponse": ("/restapis/a/gatewayresponses/THROTTLED", None),
    "AWS::ApiGateway::Method": ("/restapis/a/resources/r/methods/GET", None),
    "AWS::ApiGateway::RequestValidator": ("/restapis/a/requestvalidators/v", "/restapis/a/requestvalidators"),
    "AWS::ApiGateway::Resource": ("/restapis/a/resources/r", "/restapis/a/resources/root"),
    "AWS::ApiGateway::RestApi": ("/restapis/a", "/restapis"),
    "AWS::ApiGateway::Stage": ("/restapis/a/stages/s", "/restapis/a/stages"),
    "AWS::ApiGatewayV2::Api": ("/apis/a", "/apis"),
    "AWS::ApiGatewayV2::Integration": ("/apis/a/integrations/i", "/apis/a/integrations"),
    "AWS::ApiGatewayV2::Route": ("/apis/a/routes/r", "/apis/a/routes"),
    "AWS::ApiGatewayV2::RouteResponse": ("/apis/a/routes/r/routeresponses/x", "/apis/a/routes/r/routeresponses"),
    "AWS::ApiGatewayV2::Stage": ("/apis/a/stages/s", "/apis/a/stages"),
    "AWS::CloudWatch::Alarm": f"arn:aws:cloudwatch:{PLACE}:alarm:{STACK}-X-AbC123",
    "AWS::CloudWatch::CompositeAlarm": f"arn:aws:cloudwatch:{PLACE}:alarm:{STACK}-X-AbC123",
    "AWS::CloudWatch::Dashboard": f"arn:aws:cloudwatch::123456789012:dashboard/{STACK}",
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{PLACE}:table/{STACK}-chat_events",
    "AWS::Events::Rule": f"arn:aws:events:{PLACE}:rule/{STACK}-X-AbC123",
    "AWS::IAM::Policy": f"arn:aws:iam::123456789012:role/{STACK}/{STACK}-X-AbC123",
    "AWS::IAM::Role": f"arn:aws:iam::123456789012:role/{STACK}/{STACK}-X-AbC123",
    "AWS::Lambda::EventInvokeConfig": FUNCTION,
    "AWS::Lambda::EventSourceMapping": MAPPING,
    "AWS::Lambda::Function": FUNCTION,
    "AWS::Lambda::Permission": FUNCTION,
    "AWS::Logs::LogGroup": f"arn:aws:logs:{PLACE}:log-group:/{STACK}/x",
    "AWS::SNS::Subscription": f"arn:aws:sns:{PLACE}:{STACK}-X-AbC123:00000000-0000-0000-0000-000000000000",
    "AWS::SNS::Topic": f"arn:aws:sns:{PLACE}:{STACK}-X-AbC123",
    "AWS::SNS::TopicPolicy": f"arn:aws:sns:{PLACE}:{STACK}-X-AbC123",
    "AWS::WAFv2::WebACL": f"arn:aws:wafv2:{PLACE}:regional/webacl/{STACK}-rest/a",
    "AWS::WAFv2::WebACLAssociation": f"{GATEWAY}/restapis/a/stages/s",
    "AWS::Budgets::Budget": f"arn:aws:budgets::123456789012:budget/{STACK}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{PLACE}:{STACK}-X-AbC123",
}

# Actions for which AWS asks on another ARN than the resource's.
ELSEWHERE = {
    "billing:GetBillingViewData": "arn:aws:billing::123456789012:billingview/primary",
    "cloudwatch:DescribeAlarms": f"arn:aws:cloudwatch:{PLACE}:alarm:*",
    "cloudwatch:PutCompositeAlarm": f"arn:aws:cloudwatch:{PLACE}:alarm:*",
    "lambda:CreateEventSourceMapping": "*",
    "logs:DescribeIndexPolicies": "*",
    "logs:DescribeLogGroups": "*",
    "logs:DescribeResourcePolicies": "*",
    "sns:Subscribe": OWN["AWS::SNS::Topic"],
}

# Calls for properties that the template does not set, by type: only functions have a role, and tables have no log.
NOT_CALLED = re.compile(r"AWS::(ApiGateway|ApiGatewayV2|Events|SNS)::\w+ iam:.*|AWS::DynamoDB::Table logs:.*")


def arns(kind, action):
    """Returns the ARNs on which AWS asks for an action on a resource of a type."""
    if action in ELSEWHERE:
        return [ELSEWHERE[action]]
    if action == "iam:PassRole":
        return [OWN["AWS::IAM::Role"]]
    own = OWN[kind]
    if kind == "AWS::WAFv2::WebACLAssociation" and action.startswith("wafv2:"):
        # An association concerns the web ACL and the stage; a look-up is about one of them.
        acl = OWN["AWS::WAFv2::WebACL"]
        return {"wafv2:GetWebACL": [acl], "wafv2:GetWebACLForResource": [own]}.get(action, [acl, own])
    if not isinstance(own, tuple):
        # CloudWatch Logs names a group with and without the star.
        return [own, f"{own}:*"] if kind == "AWS::Logs::LogGroup" else [own]
    item, collection = own
    verb = action.partition(":")[2]
    paths = [collection] if verb == "POST" and collection else [item]
    # A new API or stage has no id yet when its tags are asked for. Tags of API Gateway have a collection of their own.
    if verb == "TagResource":
        paths.append(collection)
    if verb == "GET" and kind.rsplit("::", 1)[1] in ("Api", "RestApi"):
        paths.append(collection)
    if verb in ("DELETE", "GET", "PUT") and kind.rsplit("::", 1)[1] in ("Api", "RestApi", "Stage"):
        paths.append("/tags/arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A" + item.replace("/", "%2F"))
    return [GATEWAY + path for path in paths if path]


def context(kind, action):
    """Returns the condition keys of a call, as pairs."""
    if action == "iam:PassRole":
        return (("iam:PassedToService", "lambda.amazonaws.com"),)
    if action.startswith("iam:"):
        return (("iam:PermissionsBoundary", BOUNDARY),)
    return (("lambda:FunctionArn", FUNCTION),) if kind == "AWS::Lambda::EventSourceMapping" else ()


def of_resource(name, kind, permissions):
    """Returns the calls of CloudFormation for a resource. `permissions` returns the actions of a type."""
    return [
        Call(action, arn, name, context(kind, action))
        for action in permissions(kind)
        if not NOT_CALLED.fullmatch(f"{kind} {action}")
        for arn in arns(kind, action)
    ]


def of_handlers(template, permissions):
    """Returns the calls of CloudFormation for each resource of a template."""
    return {
        call for name, (kind, _) in template.resources.items() for call in of_resource(name, kind, permissions)
    }


def of_images(template):
    """Returns the calls of Lambda with the permissions of CloudFormation's role: it reads the images of functions."""
    actions = ("BatchGetImage", "GetDownloadUrlForLayer", "GetRepositoryPolicy")
    repository = re.compile(r"[^/]+/(.+)@")
    return {
        Call(f"ecr:{action}", f"arn:aws:ecr:{PLACE}:repository/{repository.match(value['Code']['ImageUri'])[1]}", name)
        for name, (kind, value) in template.resources.items()
        if kind == "AWS::Lambda::Function"
        for action in actions
    }


def of_command(args):
    """Returns the calls of a command of the AWS CLI. `args` are its arguments."""
    service, command = args[:2]
    option = lambda name: args[args.index(name) + 1]
    named = "".join(word.capitalize() for word in command.split("-"))
    if service == "s3":
        where = next(one for one in args[2:] if one.startswith("s3://"))
        action = "PutObject" if args[-1] == where else "GetObject"
        return [Call(f"s3:{action}", f"arn:aws:s3:::{where.removeprefix('s3://')}", command)]
    if service == "cloudwatch":
        return [Call(f"cloudwatch:{named}", ELSEWHERE["cloudwatch:DescribeAlarms"], command)]
    if service == "secretsmanager":
        arn = f"arn:aws:secretsmanager:{PLACE}:secret:{option('--secret-id')}-AbCdEf"
        return [Call(f"secretsmanager:{named}", arn, command)]
    if service == "ecr":
        return [Call(f"ecr:{named}", f"arn:aws:ecr:{PLACE}:repository/{option('--repository-name')}", command)]
    if command == "wait":
        named = "DescribeChangeSet" if args[2].startswith("change-set") else "DescribeStacks"
    stack = f"arn:aws:cloudformation:{PLACE}:stack/{option('--stack-name')}/1"
    calls = [Call(f"cloudformation:{named}", stack, command)]
    if command == "create-change-set":
        passed = (("iam:PassedToService", "cloudformation.amazonaws.com"),)
        calls.append(Call("iam:PassRole", option("--role-arn"), command, passed))
        # CloudFormation reads the template with the caller's permissions.
        bucket, key = re.fullmatch(r"https://([^.]+)\.s3\.[^/]+/(.+)", option("--template-url")).groups()
        calls.append(Call("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", command))
    return calls
