"""Commands of the AWS CLI in snippets, compared with botocore's models of the services: names of operations and of options."""

import functools
import re

import botocore.session
from botocore import xform_name

COMMAND = re.compile(r"(?<![\w/-])aws (?P<service>[a-z][a-z0-9-]*) (?P<operation>[a-z0-9-]+)(?P<rest>[^\n|;&<>]*)")
OPTION = re.compile(r"(?:^|\s)--(?P<name>[a-z][a-z0-9-]*)")
# Options of every command.
COMMON = {"query", "output", "region", "profile", "max-items", "page-size", "starting-token", "no-paginate", "cli-input-json", "no-cli-pager"}
# Commands of the CLI itself, which no model has.
OWN = {("cloudformation", "deploy"): {"stack-name", "template-file", "capabilities", "parameter-overrides", "s3-bucket", "no-fail-on-empty-changeset"}}
# Services whose command has another name.
SERVICES = {"s3api": "s3"}


def commands(code):
    """Yields the service, the operation and the options of each command."""
    joined = re.sub(r"\\\n\s*", " ", code)
    # Values in quotes may contain anything.
    bare = re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", lambda text: "'aws'" if "aws " not in text[0] else text[0], joined)
    for match in COMMAND.finditer(bare):
        yield match["service"], match["operation"], {option["name"] for option in OPTION.finditer(match["rest"])}


@functools.cache
def options(service, operation):
    """Returns the options of an operation, or None if there is no such operation."""
    session = botocore.session.get_session()
    if (service, operation) in OWN:
        return OWN[service, operation]
    model = session.get_service_model(SERVICES.get(service, service))
    names = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in names:
        return None
    shape = model.operation_model(names[operation]).input_shape
    members = shape.members if shape else {}
    found = {xform_name(name, "-") for name in members}
    return found | {f"no-{xform_name(name, '-')}" for name, member in members.items() if member.type_name == "boolean"}


@functools.cache
def waiters(service):
    model = botocore.session.get_session().get_waiter_model(SERVICES.get(service, service))
    return {xform_name(name, "-") for name in model.waiter_names}


def faults(code):
    """Yields the faults of the commands of a block."""
    for service, operation, given in commands(code):
        try:
            if operation == "wait":
                for name in re.findall(rf"aws {service} wait ([a-z-]+)", code):
                    if name not in waiters(service):
                        yield f"aws {service} wait has no {name}"
                continue
            known = options(service, operation)
        except botocore.exceptions.UnknownServiceError:
            yield f"the AWS CLI has no service {service}"
            continue
        if known is None:
            yield f"aws {service} has no {operation}"
        else:
            yield from (f"aws {service} {operation} has no --{name}" for name in sorted(given - known - COMMON))
