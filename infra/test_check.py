"""Tests that check.py finds planted faults: each missing permission or ARN, and a fault of each other kind."""

import copy
import unittest

import check
import roles


class Planted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend, cls.plain, cls.long, cls.bootstrap, cls.environment = check.templates()
        cls.calls = roles.of_handlers(cls.backend, check.used) | roles.of_images(cls.backend)
        # Resources of one type have the same ARNs here.
        cls.distinct = {call._replace(resource="") for call in cls.calls}

    def refused(self, statements):
        allows = lambda call: roles.allows(statements, call.action, call.arn, dict(call.context))
        return {call for call in self.distinct if not allows(call)}

    def of_role(self):
        return [copy.deepcopy(one) for name, one in check.statements(self.environment) if name == "ExecutionRole"]

    def allowing(self):
        """Yields the index of each statement that allows something."""
        yield from (index for index, one in enumerate(self.of_role()) if one["Effect"] == "Allow")

    def test_the_templates_have_no_fault(self):
        self.assertEqual(self.refused(self.of_role()), set())
        self.assertEqual([*check.boundary(self.backend, self.environment), *check.order(self.backend)], [])

    def test_each_missing_action_is_found(self):
        planted = 0
        for index in self.allowing():
            for action in check.listed(self.of_role()[index]["Action"]):
                statements = self.of_role()
                actions = check.listed(statements[index]["Action"])
                statements[index]["Action"] = [one for one in actions if one != action]
                self.assertIn(action, {call.action for call in self.refused(statements)})
                planted += 1
        self.assertGreater(planted, 100)

    def test_each_missing_or_narrower_arn_is_found(self):
        for index in self.allowing():
            for resource in check.listed(self.of_role()[index]["Resource"]):
                rest = [one for one in check.listed(self.of_role()[index]["Resource"]) if one != resource]
                for planted in (rest, [*rest, resource.removesuffix("*") + "/narrower"]):
                    statements = self.of_role()
                    statements[index]["Resource"] = planted
                    self.assertTrue(self.refused(statements), f"{resource} became {planted}")

    def test_each_missing_condition_key_is_found(self):
        for index in self.allowing():
            statements = self.of_role()
            if "Condition" in statements[index]:
                statements[index]["Condition"] = {"StringEquals": {"aws:RequestTag/team": "other"}}
                self.assertTrue(self.refused(statements), statements[index])

    def test_roles_of_the_pipeline_and_of_other_services_cannot_be_passed(self):
        statements = self.of_role()
        context = {"iam:PassedToService": "lambda.amazonaws.com", "iam:PermissionsBoundary": roles.BOUNDARY}
        others = ("switchboard-images", "switchboard-staging-deploy", "switchboard-bootstrap-ApiGatewayLoggingRole-X")
        for role in (*others, "switchboard-production/switchboard-production-X"):
            for action in ("iam:PassRole", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:CreateRole"):
                arn = f"arn:aws:iam::123456789012:role/{role}"
                self.assertFalse(roles.allows(statements, action, arn, context), f"{action} on {arn}")
        # The denial holds even if a statement allows everything.
        statements.append({"Effect": "Allow", "Action": "iam:*", "Resource": "*"})
        arn = "arn:aws:iam::123456789012:role/switchboard-bootstrap-ApiGatewayLoggingRole-X"
        self.assertFalse(roles.allows(statements, "iam:PassRole", arn, context))

    def test_a_narrower_boundary_is_found(self):
        environment = copy.deepcopy(self.environment)
        limits = environment.resources["Boundary"][1]["PolicyDocument"]["Statement"]
        for index in range(len(limits)):
            planted = copy.deepcopy(environment)
            del planted.resources["Boundary"][1]["PolicyDocument"]["Statement"][index]
            self.assertTrue([*check.boundary(self.backend, planted)], limits[index])

    def test_a_stage_before_a_route_is_found(self):
        backend = copy.copy(self.backend)
        backend.body = copy.deepcopy(self.backend.body)
        backend.body["Resources"]["WebSocketStage"]["DependsOn"].remove("ConnectRoute")
        self.assertEqual([*check.order(backend)], ["WebSocketStage may be created before ConnectRoute"])

    def test_a_trust_of_one_form_or_with_a_wildcard_is_found(self):
        role = self.environment.resources["DeployRole"][1]["AssumeRolePolicyDocument"]["Statement"][0]
        subjects = role["Condition"]["StringEquals"][f"{check.GITHUB}:sub"]
        self.assertEqual([*check.trusts(self.environment)], [])
        wild = ["repo:owner@1/name@2:*", "repo:owner/name:*"]
        for wrong in (subjects[:1], subjects[1:], wild, [*subjects, "repo:owner/name:ref:x"]):
            planted = copy.deepcopy(self.environment)
            statement = planted.resources["DeployRole"][1]["AssumeRolePolicyDocument"]["Statement"][0]
            statement["Condition"]["StringEquals"][f"{check.GITHUB}:sub"] = wrong
            self.assertEqual(len([*check.trusts(planted)]), 1, wrong)
        # A repository without ids in its tokens has one form.
        values = {"GitHubRepository": "owner/name", "Environment": "staging"}
        plain = check.Template(check.FOLDER / "environment.yaml", values)
        role = plain.resources["DeployRole"][1]["AssumeRolePolicyDocument"]["Statement"][0]
        self.assertEqual(
            set(role["Condition"]["StringEquals"][f"{check.GITHUB}:sub"]), {"repo:owner/name:environment:staging"}
        )

    def test_a_rule_that_deletes_images_with_tags_is_found(self):
        self.assertEqual([*check.expiring(self.bootstrap)], [])
        planted = copy.deepcopy(self.bootstrap)
        policy = planted.resources["HealthRepository"][1]["LifecyclePolicy"]
        text = policy["LifecyclePolicyText"]
        policy["LifecyclePolicyText"] = text.replace('"untagged","countType"', '"any","countType"')
        self.assertEqual(len([*check.expiring(planted)]), 1)

    def test_a_missing_kind_of_model_is_found(self):
        planted = copy.deepcopy(self.backend)
        for statement in planted.resources["ChatAgentWorkerRole"][1]["Policies"][0]["PolicyDocument"]["Statement"]:
            if "bedrock" in str(statement["Action"]):
                statement["Resource"] = [one for one in statement["Resource"] if "imported-model" not in one]
        self.assertEqual([*check.models(planted)], ["ChatAgentWorkerRole allows no imported-model"])

    def test_an_exceeded_quota_is_found(self):
        self.assertEqual([*check.quotas(self.long)], [])
        planted = copy.deepcopy(self.long)
        planted.resources["ChannelsFunction"][1]["Environment"]["Variables"]["MORE"] = "x" * 500
        alarm = planted.resources["FunctionErrorsAlarm"][1]["Metrics"]
        alarm.extend(alarm[1:] * 2)
        self.assertEqual({one.split()[0] for one in check.quotas(planted)}, {"ChannelsFunction", "FunctionErrorsAlarm"})


if __name__ == "__main__":
    unittest.main()
