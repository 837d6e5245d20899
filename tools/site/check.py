#!/usr/bin/env python3
"""Fails on a link of the built site that leads nowhere: to no file, or to no heading. Links to other hosts are listed only.

    python3 tools/site/check.py [target/site/book]

Also fails if a page has no title, no main heading or no viewport, or if the search index or llms.txt lacks a page.
"""

import argparse
import html.parser
import json
import pathlib
import re
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Pages that mdBook makes itself.
OWN = {"404.html", "toc.html", "print.html"}


class Reader(html.parser.HTMLParser):
    """Collects the links, the ids and a few elements of a page."""

    def __init__(self):
        super().__init__()
        self.links, self.ids, self.headings, self.has_viewport, self.has_title = [], set(), 0, False, False

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "id" in attributes:
            self.ids.add(attributes["id"])
        if tag == "a" and "name" in attributes:
            self.ids.add(attributes["name"])
        for name in ("href", "src"):
            if attributes.get(name):
                self.links.append(attributes[name])
        self.headings += tag == "h1" and "menu-title" not in (attributes.get("class") or "")
        self.has_viewport |= tag == "meta" and attributes.get("name") == "viewport"
        self.has_title |= tag == "title"


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def broken(folder, pages, path, link):
    """Returns why a link of a page fails, or None."""
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    to = path
    if parts.path:
        # The page for missing addresses has links from the root of the site.
        start = folder if parts.path.startswith("/") else path.parent
        to = (start / urllib.parse.unquote(parts.path).lstrip("/")).resolve()
        to = to / "index.html" if to.is_dir() else to
        if not to.is_file() or folder not in to.parents:
            return f"{link}: there is no such file"
    anchor = urllib.parse.unquote(parts.fragment)
    if anchor and to in pages and anchor not in pages[to].ids:
        return f"{link}: there is no such heading"
    return None


def problems(folder):
    """Returns the faults of the site, and the number of its links."""
    folder = folder.resolve()
    pages = {path: read(path) for path in sorted(folder.rglob("*.html"))}
    faults, count = [], 0
    for path, page in pages.items():
        name = path.relative_to(folder)
        if str(name) in OWN:
            continue
        for link in dict.fromkeys(page.links):
            count += 1
            reason = broken(folder, pages, path, link)
            faults += [f"{name}: {reason}"] if reason else []
        for fault, is_so in (("no title", not page.has_title), ("no viewport", not page.has_viewport), ("no main heading", page.headings == 0)):
            faults += [f"{name}: {fault}"] if is_so else []
    listed = (folder / "llms.txt").read_text(encoding="utf-8")
    for target in re.findall(r"^- \[.*?\]\((.+?)\)(?::|$)", listed, re.MULTILINE):
        relative = re.sub(r"^https?://[^/]+/", "", target) if "://" in target else target
        if not any((folder / relative.split("/", cut)[-1]).is_file() for cut in (0, 1)):
            faults.append(f"llms.txt: {target}: there is no such file")
    return faults + search_faults(folder, pages), count


def search_faults(folder, pages):
    """Returns the pages that the search does not find."""
    index = next(folder.glob("searchindex*.js"), None)
    if index is None:
        return ["there is no search index"]
    text = index.read_text(encoding="utf-8")
    start, end = text.index("{"), text.rindex("}") + 1
    try:
        urls = json.loads(text[start:end])["doc_urls"]
    except json.JSONDecodeError:
        # A string in single quotes, which JavaScript parses.
        quoted = text[text.index("'") + 1 : text.rindex("'")]
        urls = json.loads(quoted.replace("\\'", "'").replace("\\\\", "\\"))["doc_urls"]
    found = {url.split("#")[0] for url in urls}
    names = {str(path.relative_to(folder)) for path in pages} - OWN - {"index.html"}
    return [f"the search does not find {name}" for name in sorted(names - found)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / "target/site/book")
    faults, count = problems(parser.parse_args().folder)
    print("\n".join(faults) or f"{count} links, all good")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
