"""The files llms.txt and llms-full.txt, by https://llmstxt.org: the contents of the site for language models."""

import posixpath
import re

SUMMARY = (
    "Switchboard is a serverless chat back end for AWS, in Rust. Clients send over REST and receive over a WebSocket. "
    "Each message is stored once, in one transaction; the stream of the table triggers its delivery and the agent's reply."
)
# Sections that a reader with little room may leave out.
OPTIONAL = {"Decisions", "Reports", "Project"}


def first_sentence(text):
    """Returns the first sentence of the first paragraph of a page, without links."""
    for block in re.sub(r"^(```+).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL).split("\n\n"):
        block = block.strip()
        if block and not re.match(r"[#|!<>*-]|\d+\.|\[[^\]]*\]\([^)]*\)$", block):
            plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(block.split()))
            return plain.split(". ")[0].rstrip(":.")
    return ""


def contents(book, base):
    """Returns llms.txt. `base` is the address of the site, with a slash at its end, or empty."""
    sections, name = {}, "Start"
    pages = {page.path: page for page in book.pages}
    for line in book.summary:
        if line.startswith("# ") and line != "# Summary":
            name = line[2:].strip()
        elif "](" in line:
            page = pages[line.split("](", 1)[1].rstrip(")")]
            note = first_sentence(page.text)
            sections.setdefault(name, []).append(f"- [{page.title}]({base}{page.path}){f': {note}' if note else ''}")
    lines = ["# Switchboard", "", f"> {SUMMARY}"]
    ordered = [one for one in sections if one not in OPTIONAL]
    for one in ordered:
        lines += ["", f"## {one}", "", *sections[one]]
    rest = [line for one in sections if one in OPTIONAL for line in sections[one]]
    if rest:
        lines += ["", "## Optional", "", *rest]
    return "\n".join(lines) + "\n"


def full(book):
    """Returns llms-full.txt: the text of all pages that are not optional."""
    parts, name = [], "Start"
    pages = {page.path: page for page in book.pages}
    for line in book.summary:
        if line.startswith("# "):
            name = line[2:].strip()
        elif "](" in line and name not in OPTIONAL:
            page = pages[line.split("](", 1)[1].rstrip(")")]
            parts.append(f"<!-- {posixpath.normpath(page.path)} -->\n\n{book.render(page).strip()}\n")
    return "\n".join(parts)
