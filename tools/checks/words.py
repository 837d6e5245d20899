#!/usr/bin/env python3
"""Fails on words and phrases that the style rules in docs/guides/contribute.md rule out.

    python3 tools/checks/words.py               checks all tracked files with a suffix in SUFFIXES
    python3 tools/checks/words.py PATH …        checks these files, and the tracked files below these folders
    python3 tools/checks/words.py --count       prints the number of findings of each folder

Code spans, fenced code blocks and generated parts (`<!-- begin x -->` … `<!-- end x -->`) of Markdown files are skipped.
Of code, comments and string literals count; of YAML, everything but keys. These are data, and do not count:

- a string literal without a space, such as a name, a path or a key;
- all string literals of tests and examples (TESTS), such as messages that a test sends;
- the names in NAMES, which published contracts hold.

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

SUFFIXES = {".md", ".rs", ".py", ".yaml", ".yml", ".js", ".mjs", ".ts"}
# This file, copies of other files, and third-party files.
SKIPPED = ["tools/checks/words.py", "contracts/published/", "/vendor/", "node_modules/", "LICENSE", "docs/guides/contribute.md"]

# Folders whose string literals are data of tests.
TESTS = {"tests", "test", "testing", "examples"}
# Names in published contracts: a state of the provider, and the values of a field, listed in an error.
NAMES = re.compile(r"the agent gives up|everybody, scope or nobody")

PHRASE = re.compile("|".join(f"(?P<p{index}>\\b(?:{phrase})\\b)" for index, (phrase, _) in enumerate(PHRASES)))
OPENING = re.compile(r"(?:^|(?<=[.!?:;] ))(?:[*_>|#\s-]|\d+\.\s)*(" + "|".join(OPENINGS) + r")\b(?P<rest>[^.!?]*[.!?]?)")
SPAN = re.compile(r"`[^`]*`")
# A value such as "nobody", and an enum variant such as Nobody, are names and no text.
VALUE = re.compile(r"""(["'])[^\s"']+\1|::\w+|\bNobody\b(?! [a-z])""")

# The first alternative that matches at a position is taken: a comment, a string literal, or a character of Rust.
TOKENS = {
    ".rs": r"""(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<string>\bb?r(?P<hashes>#*)".*?"(?P=hashes)|"(?:\\.|[^"\\])*")|'(?:\\[^']+|[^'\\])'""",
    ".js": r"""(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)""",
    ".py": r"""(?P<comment>#[^\n]*)|(?P<string>\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""",
}
TOKENS |= {".mjs": TOKENS[".js"], ".ts": TOKENS[".js"]}
TOKENS = {suffix: re.compile(pattern, re.DOTALL) for suffix, pattern in TOKENS.items()}
KEY = re.compile(r"^[ \t]*(?:- )?[\w.$/{}-]+:(?= |$)", re.MULTILINE)


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


def blank(text):
    """Returns a space and the line breaks of the text."""
    return " " + "\n" * text.count("\n")


def prose(text, path):
    """Returns the comments and texts of a file, each in the lines that it has in the file."""
    if path.suffix not in TOKENS:
        return KEY.sub("", text)
    kept, position = [], 0
    for token in TOKENS[path.suffix].finditer(text):
        # The documentation string of a Python file is a comment.
        comment = token["comment"] or (path.suffix == ".py" and token[0].startswith('"""'))
        text_of_program = token["string"] and not TESTS & set(path.parts)
        # In JavaScript, a backtick begins a string and no code span.
        words = token[0].replace("`", '"') if text_of_program else token[0]
        kept += [blank(text[position : token.start()]), words if comment or text_of_program else blank(token[0])]
        position = token.end()
    return "".join(kept)


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
    lines = markdown(text) if path.suffix == ".md" else code(prose(text, path))
    for number, line, begins in lines:
        line = VALUE.sub("", NAMES.sub("", SPAN.sub("``", line)))
        for match in PHRASE.finditer(line.lower()):
            yield number, match[0], PHRASES[int(match.lastgroup[1:])][1]
        if begins is None:
            continue
        cells = line.split("|") if line.lstrip().startswith("|") else [line]
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
