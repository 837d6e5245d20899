#!/usr/bin/env python3
"""Plants a fault of each kind in a copy of the repository, and shows which check finds it.

A fault is one replaced text. Its check has to pass without it and to fail with it, with a message about it. Checks in
Python and shell run here. Those in Rust compile for minutes, so they run with `--cargo` only; otherwise their commands
are printed. `--rehearse` runs the rehearsal instead, with each fault that it finds, which takes minutes.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = sys.executable
TEMPLATES = (PYTHON, "infra/check.py")
ALARMS = (PYTHON, "infra/test_alarms.py")
DEPLOY = (PYTHON, "infra/test_deploy.py")
IMAGES = (PYTHON, "images/test_images.py")
REHEARSAL = (PYTHON, "infra/rehearse.py", "--binaries", os.environ.get("BINARIES", str(ROOT / "target/debug")))


class Fault(typing.NamedTuple):
    """A fault. `found` is a pattern of the check's message."""

    what: str
    file: str
    old: str
    new: str
    check: tuple
    found: str


def cargo(*arguments):
    return ("cargo", "test", "--locked", "--quiet", *arguments)


FAULTS = (
    Fault("an action missing in the deploy role", "infra/environment.yaml", ", cloudformation:GetTemplate]", "]",
          DEPLOY, r"cloudformation:GetTemplate"),
    Fault("an action missing in the execution role", "infra/environment.yaml", "lambda:PutFunctionConcurrency, ", "",
          TEMPLATES, r"calls lambda:PutFunctionConcurrency .* ExecutionRole may not"),
    Fault("an ARN too narrow in the execution role", "infra/environment.yaml",
          "UpdateRoleDescription], Resource: !Sub 'arn:${AWS::Partition}:iam::${AWS::AccountId}:role/switchboard-",
          "UpdateRoleDescription], Resource: !Sub 'arn:${AWS::Partition}:iam::${AWS::AccountId}:role/x/switchboard-",
          TEMPLATES, r"calls iam:UpdateRole .* ExecutionRole may not"),
    Fault("a tag action missing in the execution role", "infra/environment.yaml",
          "apigateway:PUT, apigateway:TagResource, ", "apigateway:PUT, ", TEMPLATES,
          r"calls apigateway:TagResource on \S+/apis/a/stages .* ExecutionRole may not"),
    Fault("a route that the stage does not wait for", "infra/backend.yaml", "DependsOn: [ConnectRoute, ",
          "DependsOn: [", TEMPLATES, r"WebSocketStage may be created before ConnectRoute"),
    Fault("images of production that expire", "infra/bootstrap.yaml", '"tagStatus":"untagged"', '"tagStatus":"any"',
          TEMPLATES, r"a rule deletes images with tags"),
    Fault("a subject of GitHub's tokens with a wildcard", "infra/environment.yaml",
          "'repo:${GitHubRepository}:environment:${Environment}'", "'repo:${GitHubRepository}:*'", TEMPLATES,
          r"DeployRole trusts"),
    Fault("a boundary that takes a permission away", "infra/environment.yaml", "Action: 'ssm:GetParameter'",
          "Action: 'ssm:GetParameters'", TEMPLATES, r"may ssm:GetParameter on .* Boundary does not allow it"),
    Fault("a burn rate in one window only", "infra/backend.yaml",
          'ALARM("${SendingFast1Hour}") AND ALARM(', 'ALARM("${SendingFast1Hour}") OR ALARM(', ALARMS,
          r"test_half_a_minute_of_failures_is_no_alarm|test_a_drift_is_a_ticket_and_no_page|test_an_outage_pages_at_once"),
    Fault("an alarm that a missing metric silences", "infra/backend.yaml", "failed + FILL(accepted, 0)",
          "failed + accepted", ALARMS, r"test_each_alarm_fires_by_its_metrics_and_ends"),
    Fault("a threshold that is not the objective's", "infra/backend.yaml", "Threshold: 14.4\n", "Threshold: 1.44\n", ALARMS,
          r"test_the_page_the_workbook_and_the_template_agree"),
    Fault("an environment of a function above 4 KB", "infra/backend.yaml", "JwtIssuers: {Type: String, MaxLength: 2400",
          "JwtIssuers: {Type: String, MaxLength: 3500", TEMPLATES, r"has an environment of \d+ bytes"),
    Fault("a first deployment that CloudFormation rolls back", "infra/deploy", "      kept=(--disable-rollback)\n", "",
          DEPLOY, r"'--disable-rollback' not found"),
    Fault("gateway responses that keep the old origin", "infra/deploy", "/&$origin/", "/&/", DEPLOY,
          r"test_a_new_origin_makes_a_new_deployment"),
    Fault("the size of a link instead of the image's", "images/check.sh", "stat --dereference", "stat", IMAGES,
          r"test_the_size_is_that_of_the_image_and_not_of_a_link"),
    Fault("a path decoded twice", "crates/http-api/src/request.rs",
          "let raw = parameters.first(name).unwrap_or_default();",
          "let raw = percent_decode_str(parameters.first(name).unwrap_or_default()).decode_utf8_lossy();"
          " let raw = raw.as_ref();", cargo("-p", "http-api"), r"a_path_parameter_is_decoded_once"),
    Fault("a frame with message and reply whose rest is lost", "tools/smoke/src/inbox.rs", "self.0.extend(events);",
          "self.0.extend(events.into_iter().take(1));", cargo("-p", "smoke"),
          r"a_frame_with_a_message_and_its_reply_has_both"),
    Fault("a batch response of the wrong form", "crates/chat-aws/src/lambda/stream.rs",
          "failure.item_identifier = Some(sequence_number);",
          "failure.item_identifier = Some(format!(\"#{sequence_number}\"));",
          cargo("-p", "chat-aws", "--lib"), r"a_partial_batch_response_has_the_form_that_lambda_reads"),
    Fault("a parameter whose masked value a roll-back keeps", "infra/backend.yaml",
          "JwtIssuers: {Type: String, ", "JwtIssuers: {Type: String, NoEcho: true, ",
          cargo("-p", "local", "--test", "it", "template::"), r"JwtIssuers"),
    Fault("a permission missing in a function's role", "infra/backend.yaml",
          "dynamodb:UpdateItem, dynamodb:PutItem, dynamodb:ConditionCheckItem], Resource: !GetAtt ChannelsTable.Arn",
          "dynamodb:PutItem, dynamodb:ConditionCheckItem], Resource: !GetAtt ChannelsTable.Arn",
          cargo("-p", "e2e"), r"is not authorized|FAILED"),
)

# Faults that the rehearsal finds too, with the message.
REHEARSED = {
    "an action missing in the deploy role": r"not authorized to perform: cloudformation:GetTemplate",
    "a parameter whose masked value a roll-back keeps": r"the roll-back keeps the values of JWT_ISSUERS",
    "a permission missing in a function's role": r"FAILED  send",
}


def copy(to):
    """Copies the files of the repository that Git knows, and new ones that it does not ignore."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, check=True).stdout.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name, follow_symlinks=False)


def run(check, folder):
    """Runs a check in the copy, and returns its exit code and output. Cargo reuses compiled dependencies."""
    variables = os.environ | {"CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))}
    done = subprocess.run(check, cwd=folder, env=variables, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def line_of(output, pattern):
    """Returns the line of a check's output that tells of the fault."""
    return next((line.strip() for line in output.splitlines() if re.search(pattern, line)), "")


def shown(check):
    return " ".join(check).replace(PYTHON, "python3").replace(str(ROOT) + "/", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cargo", action="store_true", help="run the checks in Rust too")
    parser.add_argument("--rehearse", action="store_true", help="run the rehearsal with each fault that it finds")
    parser.add_argument("--only", default="", help="part of the names of the faults to plant")
    options = parser.parse_args()
    runs = lambda fault: options.cargo or fault.check[0] != "cargo"
    faults = [fault for fault in FAULTS if options.only in fault.what]
    if options.rehearse:
        faults = [fault for fault in faults if fault.what in REHEARSED]
        faults = [fault._replace(check=REHEARSAL, found=REHEARSED[fault.what]) for fault in faults]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        folder = pathlib.Path(name)
        copy(folder)
        for check in {fault.check for fault in faults if runs(fault)}:
            code, output = run(check, folder)
            if code:
                print(f"`{shown(check)}` fails without a fault:\n{output}")
                return 1
        for fault in faults:
            path = folder / fault.file
            text = path.read_text()
            if fault.old not in text:
                print(f"MISSED  {fault.what}: {fault.file} has no text {fault.old!r}")
                missed += 1
                continue
            if not runs(fault):
                print(f"not run {fault.what}: `{shown(fault.check)}`")
                continue
            path.write_text(text.replace(fault.old, fault.new, 1))
            code, output = run(fault.check, folder)
            path.write_text(text)
            told = line_of(output, fault.found)
            found = bool(code) and bool(told)
            missed += not found
            print(f"{'found ' if found else 'MISSED'}  {fault.what}: `{shown(fault.check)}`: {told[:200]}", flush=True)
    print(f"{len(faults)} faults, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
