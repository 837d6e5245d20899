"""Snippets of the site: the code blocks of its pages, with the marks that say how each is tested.

A mark is a comment in the line before a block, with an empty line between:

    <!-- run -->                    bash runs the block, after the earlier blocks of the page
    <!-- output -->                 a JSON block: the output of the block before has at least these fields
    <!-- file: PATH -->             the block is a file, which blocks of the page use
    <!-- run by: STEP -->           this step of `cargo xtask ci` runs the command
    <!-- lines of: PATH -->         each line of the block is in this file of the repository
    <!-- issuers: NAME -->          a test of crates/auth reads the block
    <!-- not run: REASON -->        nothing runs the block, for this reason

Each block of a shell and of Rust needs a mark. Blocks of data and of JavaScript are parsed, with or without one.
"""

import dataclasses
import re
import textwrap

KINDS = ("run", "output", "file", "run by", "lines of", "issuers", "not run")
WITH_VALUE = {"file", "run by", "lines of", "issuers", "not run"}
MARK = re.compile(r"^\s*<!-- (?P<kind>[a-z ]+?)(?:: (?P<value>.+?))? -->\s*$")
FENCE = re.compile(r"^(?P<indent>\s*)(?P<fence>```+|~~~+)(?P<language>[\w+-]*)")
# Languages whose blocks need a mark.
MARKED = {"sh", "bash", "rust"}
# Languages whose blocks are texts or diagrams for people.
TEXTS = {"", "text", "mermaid", "nix"}


@dataclasses.dataclass(frozen=True)
class Snippet:
    """One code block of a page, and its mark."""

    page: str
    line: int
    language: str
    code: str
    kind: str | None = None
    value: str | None = None

    @property
    def place(self):
        return f"{self.page}:{self.line}"


def read(page, text):
    """Returns the snippets of a page, and the faults of its marks."""
    found, faults, mark, block, fence = [], [], None, None, None
    for number, line in enumerate(text.split("\n"), 1):
        if fence:
            if line.strip().startswith(fence["fence"]) and line.strip().strip(fence["fence"][0]) == "":
                kind, value = mark or (None, None)
                found.append(Snippet(page, block[0], fence["language"], textwrap.dedent("\n".join(block[1:])) + "\n", kind, value))
                mark = block = fence = None
            else:
                block.append(line)
        elif fence := FENCE.match(line):
            fence, block = fence.groupdict(), [number]
        elif comment := MARK.match(line):
            if comment["kind"] not in KINDS:
                continue
            mark = (comment["kind"], comment["value"])
            if (comment["value"] is not None) != (comment["kind"] in WITH_VALUE):
                faults.append(f"{page}:{number}: {line.strip()}: a value is missing or superfluous")
        elif line.strip() and mark:
            faults.append(f"{page}:{number}: a mark stands before a text instead of a block")
            mark = None
    if fence:
        faults.append(f"{page}:{block[0]}: a block has no end")
    return found, faults


def faults(snippets, steps, lines_of):
    """Returns the faults of the snippets of one page.

    `steps` are the names of the steps of `cargo xtask ci`. `lines_of` returns the lines of a file, or None.
    """
    found, before = [], None
    for snippet in snippets:
        found += [f"{snippet.place}: {fault}" for fault in faults_of(snippet, before, steps, lines_of)]
        before = snippet
    return found


def faults_of(snippet, before, steps, lines_of):
    kind, value = snippet.kind, snippet.value
    if kind is None and snippet.language in MARKED:
        yield f"a block of {snippet.language} needs a mark (testing/site/snippets.py)"
    if kind == "run" and snippet.language not in ("sh", "bash"):
        yield "only blocks of a shell can be run"
    if kind == "output" and (before is None or before.kind != "run" or snippet.language != "json"):
        yield "an output is a block of JSON after a block that is run"
    if kind == "run by" and value not in steps:
        yield f"`cargo xtask ci` has no step {value}"
    if kind == "lines of":
        lines = lines_of(value)
        if lines is None:
            yield f"there is no file {value}"
        else:
            known = {line.strip() for line in lines}
            missing = [line for line in map(str.strip, snippet.code.split("\n")) if line and line != "…" and line not in known]
            yield from (f"{value} lacks the line {line!r}" for line in missing)


def differences(expected, actual, path="$"):
    """Returns how a value differs from a documented one, which may have fewer fields.

    Ids, times and texts with `…` may differ; their types may not.
    """
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return [f"{path} is no object"]
        missing = [f"{path}.{name} is missing" for name in expected if name not in actual]
        return missing + [one for name in expected if name in actual for one in differences(expected[name], actual[name], f"{path}.{name}")]
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(expected) != len(actual):
            return [f"{path} has another number of items"]
        return [one for at, pair in enumerate(zip(expected, actual)) for one in differences(*pair, f"{path}[{at}]")]
    if isinstance(expected, str) and isinstance(actual, str) and volatile(expected):
        return []
    # In Python, True == 1.
    if type(expected) is not type(actual) or expected != actual:
        return [f"{path} is {actual!r}, not {expected!r}"]
    return []


def volatile(text):
    """Returns whether a documented text differs from one run to another: a ULID, a UUID, a time, a shortened text."""
    patterns = (r"[0-9A-HJKMNP-TV-Z]{26}", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"\d{4}-\d\d-\d\dT[\d:.]+Z", r".*….*")
    return any(re.fullmatch(pattern, text, re.IGNORECASE) for pattern in patterns)
