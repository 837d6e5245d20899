#!/usr/bin/env python3
"""Fails on words and phrases that the style rules in docs/guides/contribute.md rule out.

    python3 tools/checks/words.py               checks all tracked *.md, *.rs, *.py, *.yaml and *.js files
    python3 tools/checks/words.py PATH …        checks these files, and the tracked files below these folders
    python3 tools/checks/words.py --count       prints the number of findings of each folder

Code spans, fenced code blocks and generated parts (`<!-- begin x -->` … `<!-- end x -->`) of Markdown files are skipped.
Each finding is printed as file:line, the phrase and a suggestion. The exit code is 1 when there is a finding.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys

# Phrases, as regular expressions for lower-case text, and suggestions. They apply to every checked file.
PHRASES = [
    (r"(?:given|gave|give|gives|giving) (?:\w+ )?up", "failed, dropped, abandoned"),
    (r"in vain", "without effect; say what failed"),
    (r"whoever|whosoever", "name the actor: the caller, the client, the worker"),
    (r"whatever (?:is|was|comes|reaches|else)", "name the thing"),
    (r"nobody", "name the actor: no user, no caller"),
    (r"what (?:is|was) left", "the rest; the remaining …"),
    (r"what (?:came|comes|come) of", "the result of"),
    (r"(?:is|are|was|were|be) told of", "is notified of, receives"),
    (r"tells? nobody", "does not report"),
    (r"(?:hand|hands|handed|handing) (?:\w+ ){0,3}over", "requeue, dispatch, pass"),
    (r"hand-?overs?", "dispatch, attempt"),
    (r"kept up", "say which maintenance step finished"),
    (r"upkeep", "maintenance"),
    (r"any ?more", "leave out history"),
    (r"at first|up to now", "leave out history, or give the date"),
    (r"by now", "currently, or leave out"),
    (r"in one go", "in one call, in one batch"),
    (r"all the while", "meanwhile, during the run"),
    (r"made up", "generated, invented"),
    (r"mend(?:s|ed|ing)?", "fix"),
    (r"mishaps?", "fault"),
    (r"anew", "again; new"),
    (r"as it must be", "say which invariant holds"),
    (r"it is up to", "name the actor"),
    (r"is the judge", "say which component decides"),
    (r"no news|is news", "say which event is sent"),
]

# First words of a sentence in Markdown text and in doc comments (`///`, `//!`), and suggestions.
OPENINGS = {
    "Who": "name the actor",
    "Whom": "name the actor",
    "Whose": "name the actor",
    "What": "begin with a verb or with the noun",
    "Whatever": "name the thing",
    "Whoever": "name the actor",
}

SUFFIXES = {".md", ".rs", ".py", ".yaml", ".js"}
# This file, copies of other files, and third-party files.
SKIPPED = ["tools/checks/words.py", "contracts/published/", "/vendor/", "node_modules/", "LICENSE", "docs/guides/contribute.md"]

PHRASE = re.compile("|".join(f"(?P<p{index}>\\b(?:{phrase})\\b)" for index, (phrase, _) in enumerate(PHRASES)))
OPENING = re.compile(r"(?:^|(?<=[.!?:;] ))(?:[*_>|#\s-]|\d+\.\s)*(" + "|".join(OPENINGS) + r")\b(?P<rest>[^.!?]*[.!?]?)")
SPAN = re.compile(r"`[^`]*`")
# A value such as "nobody", and an enum variant such as Nobody, are names and no text.
VALUE = re.compile(r"""(["'])\w+\1|::\w+|\bNobody\b(?! [a-z])""")


def tracked(arguments):
    listed = subprocess.run(["git", "ls-files", "--", *arguments], capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        path = pathlib.Path(name)
        if path.suffix in SUFFIXES and not any(part in f"/{name}" for part in SKIPPED) and path.is_file():
            yield path


def markdown(text):
    """Yields (number, text, whether a sentence may begin here) of the lines that are prose."""
    fence, generated, begins = None, False, True
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if fence:
            fence = None if mark and mark[1].startswith(fence) else fence
            begins = True
        elif mark:
            fence = mark[1]
        elif line.startswith("<!-- begin "):
            generated = True
        elif line.startswith("<!-- end "):
            generated, begins = False, True
        elif not generated:
            yield number, line, begins or bool(re.match(r"\s*([-*>#|]|\d+\.)", line))
            begins = not line.strip() or line.rstrip().endswith((".", "!", "?", ":", "|")) or line.startswith("#")


def code(text):
    """Yields the same of every line; a sentence may begin in doc comments only."""
    begins = True
    for number, line in enumerate(text.splitlines(), 1):
        comment = re.match(r"\s*//[/!] ?(.*)", line)
        yield number, comment[1] if comment else line, begins if comment else None
        content = comment[1].rstrip() if comment else ""
        begins = not content or content.endswith((".", "!", "?", ":", "|"))


def findings(path):
    text = path.read_text(encoding="utf-8")
    for number, line, begins in (markdown if path.suffix == ".md" else code)(text):
        prose = VALUE.sub("", SPAN.sub("``", line))
        for match in PHRASE.finditer(prose.lower()):
            yield number, match[0], PHRASES[int(match.lastgroup[1:])][1]
        if begins is None:
            continue
        cells = prose.split("|") if prose.lstrip().startswith("|") else [prose]
        for cell in cells:
            for match in OPENING.finditer(cell.strip()):
                if (match.start() == 0 and not begins) or match["rest"].endswith("?"):
                    continue
                yield number, match[1], OPENINGS[match[1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--count", action="store_true", help="print counts by folder instead of findings")
    options = parser.parse_args()
    counts = collections.Counter()
    for path in tracked(options.paths):
        for number, phrase, suggestion in findings(path):
            counts["/".join(path.parts[:2])] += 1
            if not options.count:
                print(f"{path}:{number}: {phrase!r}: {suggestion}")
    if options.count:
        for folder, count in sorted(counts.items()):
            print(f"{count:5} {folder}")
    total = sum(counts.values())
    sys.exit(f"{total} findings" if total else 0)


if __name__ == "__main__":
    main()
