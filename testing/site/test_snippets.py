"""Tests of the reader of snippets, and of the comparison of outputs."""

import json
import unittest

import aws_cli
import run
import snippets

PAGE = """# A

<!-- run -->

```sh
echo 1
```

<!-- output -->

```json
{"seq": 1}
```

1. Indented:

   <!-- not run: needs an account -->

   ```sh
   aws s3 ls
   ```
"""


class Reading(unittest.TestCase):
    def test_blocks_have_their_marks_and_no_indentation(self):
        found, faults = snippets.read("a.md", PAGE)
        self.assertEqual(faults, [])
        self.assertEqual([(one.kind, one.value, one.code, one.line) for one in found], [
            ("run", None, "echo 1\n", 5),
            ("output", None, '{"seq": 1}\n', 11),
            ("not run", "needs an account", "aws s3 ls\n", 19),
        ])

    def test_a_mark_without_a_block_is_a_fault(self):
        _, faults = snippets.read("a.md", "<!-- run -->\n\nText.\n")
        self.assertEqual(len(faults), 1)

    def test_a_reason_is_required(self):
        _, faults = snippets.read("a.md", "<!-- not run -->\n\n```sh\nls\n```\n")
        self.assertEqual(len(faults), 1)

    def test_an_open_block_is_a_fault(self):
        _, faults = snippets.read("a.md", "```sh\nls\n")
        self.assertEqual(faults, ["a.md:1: a block has no end"])


class Rules(unittest.TestCase):
    def faults(self, text, lines=None):
        found, _ = snippets.read("a.md", text)
        return snippets.faults(found, {"test"}, lambda path: lines)

    def test_a_shell_block_needs_a_mark(self):
        self.assertEqual(len(self.faults("```sh\nls\n```\n")), 1)
        self.assertEqual(self.faults("```json\n{}\n```\n"), [])

    def test_a_step_must_exist(self):
        block = "```sh\nls\n```\n"
        self.assertEqual(self.faults(f"<!-- run by: test -->\n\n{block}"), [])
        self.assertEqual(len(self.faults(f"<!-- run by: tests -->\n\n{block}")), 1)

    def test_an_output_follows_a_run(self):
        self.assertEqual(len(self.faults("<!-- output -->\n\n```json\n{}\n```\n")), 1)

    def test_quoted_lines_must_exist(self):
        text = "<!-- lines of: a.rs -->\n\n```rust\nlet a = 1;\n…\n```\n"
        self.assertEqual(self.faults(text, ["  let a = 1;"]), [])
        self.assertEqual(len(self.faults(text, ["let a = 2;"])), 1)
        self.assertEqual(len(self.faults(text, None)), 1)


class Outputs(unittest.TestCase):
    def test_more_fields_are_no_difference(self):
        self.assertEqual(snippets.differences({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": 3}), [])

    def test_other_values_and_missing_fields_are(self):
        self.assertEqual(len(snippets.differences({"a": 1, "b": 2}, {"a": 2})), 2)
        self.assertEqual(len(snippets.differences({"a": True}, {"a": 1})), 1)
        self.assertEqual(len(snippets.differences([1], [1, 2])), 1)

    def test_ids_and_times_may_differ_but_not_their_types(self):
        documented = {"id": "01JTYQ4X9M8Z4QY7V6A1B2C3D4", "at": "2026-05-01T12:00:00.000Z", "detail": "…"}
        self.assertEqual(snippets.differences(documented, {"id": "x", "at": "y", "detail": "z"}), [])
        self.assertEqual(len(snippets.differences(documented, {"id": 1, "at": "y", "detail": "z"})), 1)


class AwsCommands(unittest.TestCase):
    def faults(self, code):
        return list(aws_cli.faults(code))

    def test_known_commands_have_no_faults(self):
        self.assertEqual(self.faults("aws dynamodb update-table --table-name a \\\n  --no-deletion-protection-enabled\n"), [])
        self.assertEqual(self.faults("aws dynamodb wait table-exists --table-name a\n"), [])
        self.assertEqual(self.faults("REST=$(aws cloudformation describe-stacks --stack-name a --output text --query 'a[?b]')\n"), [])

    def test_unknown_names_are_found(self):
        self.assertEqual(self.faults("cargo bench-crowd --quotas aws --json crowd.json\n"), [])
        self.assertEqual(self.faults("aws dynamodb get-items\n"), ["aws dynamodb has no get-items"])
        self.assertEqual(self.faults("aws dynamodb get-item --table a\n"), ["aws dynamodb get-item has no --table"])
        self.assertEqual(self.faults("aws dynamodb wait table-ready\n"), ["aws dynamodb wait has no table-ready"])
        self.assertEqual(self.faults("aws dynamo get-item\n"), ["the AWS CLI has no service dynamo"])


class Running(unittest.TestCase):
    def test_the_output_of_each_block_is_known(self):
        found, _ = snippets.read("a.md", PAGE)
        script = run.script(found, {})
        done = run.outputs('{"seq": 1}\n' + run.mark(0) + "\n", found)
        self.assertIn("echo 1", script)
        self.assertEqual(json.loads(done[0]), {"seq": 1})

    def test_addresses_are_replaced(self):
        self.assertEqual(run.replaced("curl http://127.0.0.1:3000/me", {"http://127.0.0.1:3000": "http://127.0.0.1:9"}), "curl http://127.0.0.1:9/me")


if __name__ == "__main__":
    unittest.main()
