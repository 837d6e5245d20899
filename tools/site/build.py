#!/usr/bin/env python3
"""Builds the site: the pages of docs/, the pages that are generated from their sources, pictures, search, llms.txt.

    python3 tools/site/build.py --mdbook PATH --program target/debug/switchboard

Needs PyYAML and mdBook (tools/site/requirements.txt). The result is target/site/book. docs/SUMMARY.md has the contents.
"""

import argparse
import pathlib
import re
import shutil
import subprocess

import cli
import contracts
import llms
import template_pages
from pages import DOCS, ROOT, Book, site_path

HERE = pathlib.Path(__file__).resolve().parent
THEME = ["site.css"]


def tracked(folder):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def wiring(text):
    """Replaces a Mermaid diagram, which mdBook does not draw, by a table of its arrows."""
    names, rows = {}, []
    for line in text.split("\n"):
        if node := re.match(r"\s+(\w+)(?:\[\[|\(\[|\[\(|\{\{|>|\[)(.+?)(?:\]\]|\]\)|\)\]|\}\}|\])$", line):
            names[node[1]] = node[2]
        elif arrow := re.match(r"\s+(\w+) (<-->|-->|==>|-\.->)(?:\|\"?(.+?)\"?\|)? (\w+)$", line):
            kind = {"==>": "stream", "-.->": "on failure", "<-->": "both ways"}.get(arrow[2], "")
            rows.append(f"| {names.get(arrow[1], arrow[1])} | {names.get(arrow[4], arrow[4])} | {arrow[3] or ''} | {kind} |")
    head = "| from | to | how | kind |\n| --- | --- | --- | --- |\n"
    return f"<details>\n<summary>All connections, from the template</summary>\n\n{head}{chr(10).join(rows)}\n\n</details>"


def adapt(book, page):
    """Returns the text of a page with what only the site has."""
    text = book.render(page)
    text = re.sub(r"^```mermaid\n(.*?)^```$", lambda match: wiring(match[1]), text, flags=re.MULTILINE | re.DOTALL)
    if page.path == "reference/problems.md":
        text = re.sub(r"^\| `([a-z_]+)` \| (\d{3}) ", r"| [`\1`](problems/\1.md) | \2 ", text, flags=re.MULTILINE)
    # mdBook would test Rust blocks and offer to run them.
    return re.sub(r"^```rust\b.*$", "```rust,ignore", text, flags=re.MULTILINE)


def write(book, folder):
    for page in book.pages:
        path = folder / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(adapt(book, page), encoding="utf-8")
    for picture in sorted(book.pictures):
        path = folder / site_path(picture)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / picture, path)
    (folder / "SUMMARY.md").write_text("\n".join(book.summary) + "\n", encoding="utf-8")


def configure(folder, options):
    settings = (HERE / "book.toml").read_text(encoding="utf-8")
    settings = settings.replace("REPOSITORY", options.repository).replace("SITE_URL", options.site_path)
    (folder / "book.toml").write_text(settings, encoding="utf-8")
    for name in THEME:
        shutil.copyfile(HERE / name, folder / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mdbook", default="mdbook", help="the program mdbook")
    parser.add_argument("--program", type=pathlib.Path, help="the program switchboard, whose help is a page")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/site", help="folder of the result")
    parser.add_argument("--repository", default="https://github.com/OWNER/switchboard", help="address of the repository")
    parser.add_argument("--site-url", default="", help="address of the site, with a slash at its end")
    options = parser.parse_args()
    options.site_path = re.sub(r"^https?://[^/]+", "", options.site_url) or "/"

    book = Book(options.repository)
    book.load((DOCS / "SUMMARY.md").read_text(encoding="utf-8"), {
        "rest": contracts.Rest().pages,
        "socket": contracts.socket,
        "problems": contracts.problems,
        "parameters": template_pages.parameters,
        "alarms": template_pages.alarms,
        "cli": lambda: cli.page(options.program),
        "decisions": book.decisions,
    })
    book.check_complete(name for name in tracked("docs") if name.endswith(".md"))
    shutil.rmtree(options.out, ignore_errors=True)
    source = options.out / "src"
    source.mkdir(parents=True)
    write(book, source)
    configure(options.out, options)
    subprocess.run([options.mdbook, "build", str(options.out)], check=True)
    result = options.out / "book"
    # A page's Markdown is beside it, as llms.txt links it.
    for page in book.pages:
        path = result / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / page.path, path)
    (result / "llms.txt").write_text(llms.contents(book, options.site_url), encoding="utf-8")
    (result / "llms-full.txt").write_text(llms.full(book), encoding="utf-8")
    (result / ".nojekyll").touch()
    print(f"{len(book.pages)} pages in {result}")


if __name__ == "__main__":
    main()
