#!/usr/bin/env python3
"""Fails when a relative link of a tracked Markdown file leads nowhere: to no file, or to no heading.

    python3 tools/checks/links.py           checks links, and names of pages in code and templates (docs/….md#heading)
    python3 tools/checks/links.py --paths   also checks paths in code spans, such as `crates/chat/src/lib.rs`
"""

import argparse
import functools
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)|<(?:img|a)\s[^>]*?(?:src|href)=\"([^\"]+)\"")
PAGE = re.compile(r"\bdocs/[\w./-]+?\.(?:md|json|py)(?:#[\w-]+)?")
SPAN = re.compile(r"`([\w.-]+(?:/[\w.@-]+)+/?)`")
FOLDERS = {"crates", "services", "clients", "emulator", "tools", "testing", "contracts", "infra", "images", "nix", "docs", "fuzz", "tests", ".github"}


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", "-z", "--", *patterns], capture_output=True, text=True, check=True, cwd=ROOT)
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def prose(text):
    """Returns the text with fenced code blocks blanked out, line by line."""
    fence, lines = None, []
    for line in text.splitlines():
        mark = re.match(r"\s*(```+|~~~+)", line)
        lines.append("" if fence or mark else line)
        if mark:
            fence = None if fence and mark[1].startswith(fence) else fence or mark[1]
    return lines


@functools.cache
def anchors(path):
    """Returns the anchors that GitHub makes of a page's headings."""
    seen, found = {}, set()
    for line in prose(path.read_text(encoding="utf-8")):
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            count = seen.get(slug, 0)
            seen[slug] = count + 1
            found.add(f"{slug}-{count}" if count else slug)
    return found


def broken(path, target):
    """Returns why a link from `path` fails, or None."""
    file, _, anchor = target.partition("#")
    to = path if not file else (ROOT / file[1:] if file.startswith("/") else path.parent / file).resolve()
    if not to.exists():
        return f"{target}: there is no such file"
    if anchor and to.suffix == ".md" and anchor not in anchors(to):
        return f"{target}: there is no such heading"
    return None


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", action="store_true", help="also check paths in code spans")
    options = parser.parse_args()
    problems, links = [], 0
    for path in tracked("*.md"):
        text = "\n".join(prose(path.read_text(encoding="utf-8")))
        name = path.relative_to(ROOT)
        # Code spans hold no links.
        for match in LINK.finditer(re.sub(r"`[^`\n]*`", lambda span: "x" * len(span[0]), text)):
            target = match[1] or match[2]
            if not re.match(r"[a-z][a-z0-9+.-]*:", target):
                links += 1
                reason = broken(path, target)
                problems += [f"{name}:{line_of(text, match.end())}: {reason}"] if reason else []
        for match in SPAN.finditer(text) if options.paths else []:
            if match[1].split("/")[0] in FOLDERS and not (ROOT / match[1]).exists():
                problems.append(f"{name}:{line_of(text, match.end())}: `{match[1]}`: there is no such path")
    for path in tracked(":!*.md", ":!*.json", ":!*.lock"):
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, IsADirectoryError, FileNotFoundError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if path == pathlib.Path(__file__).resolve():
                break
            for target in PAGE.findall(line):
                links += 1
                reason = broken(ROOT / "README.md", target)
                problems += [f"{path.relative_to(ROOT)}:{number}: {reason}"] if reason else []
    print("\n".join(problems) or f"{links} links, all good")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
