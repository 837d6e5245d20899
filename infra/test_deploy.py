"""Tests infra/deploy against a minimal CloudFormation: its requests, its refusals, its roll-back, and its permissions.

CloudFormation refuses what AWS refuses: updates of a stack that was rolled back or created with `--on-stack-failure`.
Every call is held against the deploy role of infra/environment.yaml.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import jmespath

import check
import roles

FOLDER = pathlib.Path(__file__).parent

# Replaces the AWS CLI. The state is a file; every call is recorded.
AWS = f'''#!{sys.executable}
import json, os, sys
state_file = os.environ["AWS_STATE"]
state = json.load(open(state_file))
args = sys.argv[1:]
state["calls"].append(args)
json.dump(state, open(state_file, "w"))
option = lambda name: args[args.index(name) + 1]
def answer(value):
    print(value if isinstance(value, str) else json.dumps(value))
command = " ".join(args[:2])
if command == "cloudformation describe-stacks":
    if not state["status"]:
        sys.exit(state.get("refusal", "An error occurred (ValidationError): Stack with id X does not exist"))
    query = option("--query")
    answer(state["status"] if "StackStatus" in query else state["parameters"] if "Parameters" in query else "url")
elif command == "cloudformation get-template":
    answer("before")
elif command == "cloudformation create-change-set":
    if "--on-stack-failure" in args and state["status"]:
        sys.exit("OnStackFailure cannot be given for an update")
    if state["status"] in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        sys.exit("the stack cannot be updated")
    name = option("--parameters").removeprefix("file://")
    state["asked"] = json.load(open(name))
    json.dump(state, open(state_file, "w"))
elif command == "cloudformation describe-change-set":
    answer(state["changes"])
elif command == "cloudformation execute-change-set":
    if state["status"] in ("CREATE_FAILED", "UPDATE_FAILED") and "--disable-rollback" not in args:
        sys.exit("This stack is currently in a non-terminal state. Specify disable-rollback")
elif command == "ecr describe-images" and option("--image-ids") == "imageTag=unknown":
    sys.exit("ImageNotFoundException")
elif command == "ecr describe-images":
    answer("sha256:" + option("--repository-name").rpartition("/")[2])
elif command == "cloudformation wait" and option("wait") in state.get("failing", []):
    sys.exit("Waiter failed")
elif command == "cloudformation describe-stack-events":
    answer({{"StackEvents": [{{"ResourceStatus": "CREATE_FAILED", "LogicalResourceId": "X", "ResourceStatusReason": "no image"}}]}})
elif command == "cloudwatch describe-alarms":
    answer(state["ringing"].pop(0) if len(state["ringing"]) > 1 else state["ringing"][0])
    json.dump(state, open(state_file, "w"))
elif command == "secretsmanager get-secret-value":
    answer("arn:smoke" if option("--query") == "ARN" else "hush")
'''


def change(action, kind, replacement=None):
    return {"ResourceChange": {"Action": action, "LogicalResourceId": "X", "ResourceType": kind, "Replacement": replacement}}


class Deploy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        *_, bootstrap, environment = check.templates()
        granted = [*check.statements(bootstrap), *check.statements(environment)]
        cls.granted = {role: [one for name, one in granted if name == role] for role in ("DeployRole", "ImagesRole")}

    def assert_allowed(self, role):
        """Fails unless the role allows every call that was made."""
        statements = self.granted[role]
        refused = [
            call
            for args in self.state["calls"]
            for call in roles.of_command(args)
            if not roles.allows(statements, call.action, call.arn, dict(call.context))
        ]
        self.assertEqual(refused, [])

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "bin").mkdir()
        program = self.folder / "bin/aws"
        program.write_text(AWS)
        program.chmod(0o755)
        self.state = {
            "calls": [],
            "status": "UPDATE_COMPLETE",
            "parameters": [
                {"ParameterKey": "Stage", "ParameterValue": "staging"},
                {"ParameterKey": "JwtIssuers", "ParameterValue": "****"},
            ],
            "changes": {"Status": "CREATE_COMPLETE", "Changes": [change("Modify", "AWS::Lambda::Function", "False")]},
            "ringing": [[]],
        }

    def run_it(self, command, *arguments, code=0, **more):
        (self.folder / "state.json").write_text(json.dumps(self.state))
        output = self.folder / "output"
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "AWS_STATE": str(self.folder / "state.json"),
            "WORK": str(self.folder / "work"),
            "STAGE": "staging",
            "ACCOUNT": "123456789012",
            "AWS_REGION": "us-east-1",
            "IMAGES": "OnConnectDigest=sha256:aa HealthDigest=sha256:bb",
            "JWT_ISSUERS": '[{"issuer": "https://id.example.com/"}]',
            "PARAMETERS": "LogLevel=debug\n\nModelUrl=https://a/?b=c",
            "GITHUB_OUTPUT": str(output),
            "PAUSE": "0",
            "LOOKS": "3",
        } | more
        done = subprocess.run([FOLDER / "deploy", command, *arguments], env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.state = json.loads((self.folder / "state.json").read_text())
        self.output = output.read_text() if output.exists() else ""
        if command != "digests":
            self.assert_allowed("DeployRole")
        return done.stdout + done.stderr

    def asked(self):
        return {one["ParameterKey"]: one.get("ParameterValue", ...) for one in self.state["asked"]}

    def made(self):
        return next(call for call in self.state["calls"] if call[1] == "create-change-set")

    def executed(self):
        return next(call for call in reversed(self.state["calls"]) if call[1] == "execute-change-set")

    def template(self):
        """Returns the template of the last upload."""
        return pathlib.Path([call for call in self.state["calls"] if call[0] == "s3"][-1][3]).read_text()

    def test_a_first_deployment_creates_and_keeps_what_it_made(self):
        self.state["status"] = None
        said = self.run_it("prepare")
        self.assertIn("| Modify | X | AWS::Lambda::Function | False |", said)
        self.assertIn("changes=true", self.output)
        self.assertIn("CREATE", self.made())
        self.assertIn("arn:aws:iam::123456789012:role/switchboard-staging-execution", self.made())
        asked = self.asked()
        issuers = json.loads(asked.pop("JwtIssuers"))
        self.assertEqual(
            asked,
            {
                "Stage": "staging",
                "PermissionsBoundary": "arn:aws:iam::123456789012:policy/switchboard-staging-boundary",
                "SecretPrefix": "switchboard/staging/",
                "OnConnectDigest": "sha256:aa",
                "HealthDigest": "sha256:bb",
                "LogLevel": "debug",
                "ModelUrl": "https://a/?b=c",
            },
        )
        self.assertEqual([one["issuer"] for one in issuers], ["https://id.example.com/", "switchboard-smoke"])
        self.assertEqual((issuers[1]["secret_ref"], issuers[1]["tenant"]), ("arn:smoke", "smoke"))
        self.run_it("execute")
        self.assertIn("--disable-rollback", self.executed())
        self.assertIn("no previous deployment", self.run_it("roll-back", code=1))

    def test_a_failed_deployment_is_repaired_by_the_next(self):
        for status in ("CREATE_FAILED", "UPDATE_FAILED"):
            self.state["status"] = status
            self.state["calls"].clear()
            self.run_it("prepare")
            self.assertIn("UPDATE", self.made())
            self.run_it("execute")
            self.assertIn("no previous deployment", self.run_it("roll-back", code=1))
        self.state["status"] = "ROLLBACK_COMPLETE"
        self.assertIn("delete it", self.run_it("prepare", code=1))

    def test_a_stack_that_cannot_be_read_is_not_taken_for_absent(self):
        self.state |= {"status": None, "refusal": "An error occurred (AccessDenied)"}
        self.assertIn("AccessDenied", self.run_it("prepare", code=1))

    def test_a_new_origin_makes_a_new_deployment(self):
        found = set()
        for origin in ("", "AllowedOrigin=https://a.example", "AllowedOrigin=https://b.example"):
            self.run_it("prepare", PARAMETERS=origin)
            ids = re.findall(r"RestDeployment[0-9a-f]+", self.template())
            self.assertEqual(len(set(ids)), 1)
            found.add(ids[0])
        self.assertEqual(len(found), 3)

    def test_parameters_hold_no_secret(self):
        issuers = '[{"issuer": "https://id.example.com/", "secret": "hush"}]'
        self.assertIn("secret_ref", self.run_it("prepare", code=1, JWT_ISSUERS=issuers))

    def test_digests_are_read_from_the_registry(self):
        said = self.run_it("digests", "0123abc")
        self.assertEqual(len(said.splitlines()), len([*FOLDER.parent.glob("services/*/")]))
        self.assertIn("on-connect sha256:on-connect\n", said)
        self.assert_allowed("ImagesRole")
        self.assertIn("ImageNotFoundException", self.run_it("digests", "unknown", code=1))

    def test_an_update_goes_back_to_what_was(self):
        self.run_it("prepare")
        self.assertIn("UPDATE", self.made())
        self.run_it("execute")
        self.assertNotIn("--disable-rollback", self.executed())
        self.state["calls"].clear()
        self.run_it("roll-back")
        self.assertEqual(self.asked(), {"Stage": "staging", "JwtIssuers": ...})
        uploaded = next(call for call in self.state["calls"] if call[0] == "s3")
        self.assertEqual(pathlib.Path(uploaded[3]).read_text(), "before\n")
        self.assertEqual([call[1] for call in self.state["calls"][-2:]], ["execute-change-set", "wait"])

    def test_the_deploy_role_has_each_permission_for_a_call(self):
        self.run_it("prepare")
        self.state["failing"] = ["stack-update-complete"]
        self.run_it("execute", code=1)
        self.state["failing"] = []
        for command in ("execute", "roll-back", "alarms"):
            self.run_it(command)
        calls = [call for args in self.state["calls"] for call in roles.of_command(args)]
        for statement in self.granted["DeployRole"]:
            for action in check.listed(statement["Action"]):
                planted = [*self.granted["DeployRole"]]
                rest = [one for one in check.listed(statement["Action"]) if one != action]
                planted[planted.index(statement)] = statement | {"Action": rest}
                allowed = [roles.allows(planted, call.action, call.arn, dict(call.context)) for call in calls]
                self.assertFalse(all(allowed), f"no command needs {action}")

    def test_the_deploy_role_of_one_environment_cannot_change_another(self):
        self.run_it("prepare")
        for args in self.state["calls"]:
            other = json.loads(json.dumps(args).replace("staging", "production"))
            for call in roles.of_command(other):
                allowed = roles.allows(self.granted["DeployRole"], call.action, call.arn, dict(call.context))
                self.assertFalse(allowed and "production" in call.arn, call)

    def test_nothing_to_change_is_no_failure(self):
        reason = "The submitted information didn't contain changes."
        self.state["changes"] = {"Status": "FAILED", "StatusReason": reason, "Changes": []}
        self.run_it("prepare")
        self.assertIn("changes=false", self.output)
        self.state["changes"]["StatusReason"] = "Parameters: [HealthDigest] must have values"
        self.assertIn("HealthDigest", self.run_it("prepare", code=1))

    def test_a_table_is_never_lost(self):
        for lost in (change("Modify", "AWS::DynamoDB::Table", "Conditional"), change("Remove", "AWS::DynamoDB::Table")):
            self.state["changes"]["Changes"] = [lost]
            self.assertIn("table", self.run_it("prepare", code=1))
        self.state["changes"]["Changes"] = [change("Modify", "AWS::DynamoDB::Table", "False")]
        self.run_it("prepare")

    def test_a_failed_execution_says_why(self):
        self.run_it("prepare")
        self.state["failing"] = ["stack-update-complete"]
        self.assertIn("X: no image", self.run_it("execute", code=1))

    def test_only_new_alarms_count(self):
        self.state["ringing"] = [["old"]]
        self.run_it("prepare")
        self.run_it("alarms")
        self.state["ringing"] = [["old"], ["old"], ["old", "new"]]
        said = self.run_it("alarms", code=1)
        self.assertIn('["new"]', said)

    def test_only_alarms_that_send_a_notification_count(self):
        self.state["ringing"] = [[]]
        self.run_it("prepare")
        (call,) = [args for args in self.state["calls"] if args[:2] == ["cloudwatch", "describe-alarms"]]
        self.assertEqual(call[call.index("--alarm-types") + 1 :][:2], ["MetricAlarm", "CompositeAlarm"])
        alarm = lambda name, *actions: {"AlarmName": name, "AlarmActions": list(actions)}
        answer = {"MetricAlarms": [alarm("one", "topic"), alarm("window")], "CompositeAlarms": [alarm("both", "topic")]}
        self.assertEqual(jmespath.search(call[call.index("--query") + 1], answer), ["one", "both"])

    def test_the_smoke_test_gets_addresses_and_its_secret(self):
        smoke = self.folder / "smoke"
        smoke.write_text('#!/bin/sh\necho "$@" with "$SMOKE_SECRET"\nexit 3\n')
        smoke.chmod(0o755)
        said = self.run_it("smoke", code=3, SMOKE=str(smoke))
        self.assertIn("--rest url --websocket url with hush", said)


if __name__ == "__main__":
    unittest.main()
