"""Tests of the generator of the site, and of the check of its links."""

import pathlib
import tempfile
import unittest

import build
import check
import cli
import llms
import markdown
import schema
from pages import Book, Page, outside_code, site_path


class Links(unittest.TestCase):
    def setUp(self):
        self.book = Book("https://host/repository")
        self.page = Page("guides/local.md", "A", "", 0, "docs/guides/local.md")
        self.book.pages = [
            self.page,
            Page("index.md", "Start", "", 0, "docs/README.md"),
            Page("repository/clients/js/index.md", "JS", "", 0, "clients/js/README.md"),
        ]

    def test_a_readme_is_the_index_of_its_folder(self):
        self.assertEqual(site_path("docs/README.md"), "index.md")
        self.assertEqual(site_path("clients/js/README.md"), "repository/clients/js/index.md")

    def test_pages_of_the_site_are_linked_there(self):
        self.assertEqual(self.book.link(self.page, "../README.md#a"), "../index.md#a")
        self.assertEqual(self.book.link(self.page, "../../clients/js/README.md"), "../repository/clients/js/index.md")

    def test_other_files_are_linked_in_the_repository(self):
        self.assertEqual(self.book.link(self.page, "../../infra/backend.yaml"), "https://host/repository/blob/main/infra/backend.yaml")
        self.assertEqual(self.book.link(self.page, "../../infra"), "https://host/repository/tree/main/infra")

    def test_addresses_and_headings_stay(self):
        for target in ("https://example.com/a", "#heading", "mailto:a@example.com"):
            self.assertEqual(self.book.link(self.page, target), target)

    def test_pictures_are_copied(self):
        self.assertEqual(self.book.link(self.page, "../images/journey.png"), "../images/journey.png")
        self.assertEqual(self.book.pictures, {"docs/images/journey.png"})

    def test_links_over_two_lines_are_found_and_code_is_left_alone(self):
        self.page.text = "[two\nlines](../README.md), `[code](../README.md)`\n\n```md\n[block](../README.md)\n```\n"
        self.assertEqual(self.book.render(self.page), "[two\nlines](../index.md), `[code](../README.md)`\n\n```md\n[block](../README.md)\n```\n")

    def test_marks_are_left_out(self):
        self.page.text = "<!-- run -->\n\nA\n<!-- run by: test -->\n<!-- begin codes -->\n<!-- a comment -->\n"
        self.assertEqual(self.book.render(self.page), "\nA\n<!-- a comment -->\n")

    def test_a_page_outside_the_contents_is_found(self):
        with self.assertRaises(SystemExit):
            self.book.check_complete(["docs/guides/deploy.md"])
        self.book.check_complete(["docs/guides/local.md", "docs/SUMMARY.md"])


class Pages(unittest.TestCase):
    def test_code_is_hidden_from_a_change(self):
        self.assertEqual(outside_code("a `a`\n```\na\n```\na", lambda text: text.replace("a", "b")), "b `a`\n```\na\n```\nb")

    def test_a_diagram_becomes_a_table(self):
        text = build.wiring('flowchart LR\n  A[one]\n  B[(two)]\n  A -->|"reads, writes"| B\n  B ==>|insert| A\n')
        self.assertIn("| one | two | reads, writes |  |", text)
        self.assertIn("| two | one | insert | stream |", text)

    def test_cells_have_no_line_breaks_and_no_bars(self):
        self.assertEqual(markdown.table(["a", "b"], [["x|y", ""], ["1\n2", ""]]), "| a |\n| --- |\n| x\\|y |\n| 1 2 |")


class Schemas(unittest.TestCase):
    def setUp(self):
        self.schemas = schema.Schemas({"Id": {"type": "string", "description": "An id. Of anything."}}, "schemas.md", {"Role": {"enum": ["a"]}}, "rest.md")

    def test_types(self):
        for value, expected in [
            ({"$ref": "#/components/schemas/Id"}, "[Id](schemas.md#id)"),
            ({"$ref": "./openapi.yaml#/components/schemas/Role"}, "[Role](rest.md#role)"),
            ({"type": "array", "items": {"type": "integer"}}, "array of integer"),
            ({"oneOf": [{"$ref": "#/components/schemas/Id"}, {"type": "null"}]}, "[Id](schemas.md#id) or null"),
            ({"enum": ["a", "b"]}, "`a`, `b`"),
        ]:
            self.assertEqual(self.schemas.type(value), expected)

    def test_fields_have_the_first_sentence_of_their_type(self):
        text = self.schemas.fields({"required": ["id"], "properties": {"id": {"$ref": "#/components/schemas/Id"}, "n": {"type": "integer", "minimum": 1}}})
        self.assertIn("| `id` | [Id](schemas.md#id) |  | An id |", text)
        self.assertIn("| `n` | integer | optional | At least 1 |", text)


class Help(unittest.TestCase):
    def test_each_command_has_a_section(self):
        texts = {
            (): "Usage\n\nCommands:\n  local  Runs\n  users  Export,\n         erase\n  help   Prints\n\nOptions:\n  -h",
            ("local",): "Usage",
            ("users",): "Usage\n\nCommands:\n  export\n",
            ("users", "export"): "Usage",
        }
        sections = cli.sections("switchboard", help_of=lambda program, commands: texts[tuple(commands)])
        titles = [section.split("\n")[0] for section in sections]
        self.assertEqual(titles, ["## `switchboard`", "## `switchboard local`", "## `switchboard users`", "## `switchboard users export`"])


class Llms(unittest.TestCase):
    def test_notes_are_first_sentences_without_links(self):
        self.assertEqual(llms.first_sentence("# A\n\n```sh\nx\n```\n\n`run` does [this](a.md).\nMore text. And more."), "`run` does this. More text".split(". ")[0])
        self.assertEqual(llms.first_sentence("# A\n\n| a |\n| --- |\n"), "")


class Check(unittest.TestCase):
    def faults(self, files):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for name, text in {"llms.txt": "", "searchindex.js": '{"doc_urls": ["a.html#x"]}', **files}.items():
                (folder / name).write_text(text)
            return check.problems(folder)[0]

    def page(self, body):
        return f'<title>A</title><meta name="viewport"><h1 id="x">A</h1>{body}'

    def test_a_whole_site_has_no_faults(self):
        self.assertEqual(self.faults({"a.html": self.page('<a href="#x">a</a><a href="https://example.com">b</a>')}), [])

    def test_missing_files_and_headings_are_found(self):
        self.assertEqual(self.faults({"a.html": self.page('<a href="b.html">a</a><a href="#y">b</a>')}), [
            "a.html: b.html: there is no such file", "a.html: #y: there is no such heading",
        ])

    def test_pages_that_the_search_lacks_are_found(self):
        self.assertEqual(self.faults({"a.html": self.page(""), "b.html": self.page("")}), ["the search does not find b.html"])

    def test_links_of_llms_txt_are_checked(self):
        self.assertEqual(self.faults({"a.html": self.page(""), "llms.txt": "- [B](b.md): a note\n"}), ["llms.txt: b.md: there is no such file"])


if __name__ == "__main__":
    unittest.main()
