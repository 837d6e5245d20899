"""Pages of the site: the contents in docs/SUMMARY.md, and links that lead to the site or to the repository."""

import dataclasses
import pathlib
import posixpath
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

ENTRY = re.compile(r"^(?P<indent> *)- \[(?P<title>[^\]]+)\]\((?P<path>[^)#]+)\)$")
FIRST = re.compile(r"^\[(?P<title>[^\]]+)\]\((?P<path>[^)#]+)\)$")
GENERATED = re.compile(r"^(?P<indent> *)<!-- pages: (?P<name>[a-z-]+) -->$")
# A link or a picture in Markdown, and an attribute of a tag.
LINK = re.compile(r"(?P<before>!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?)(?P<target>[^)\s>]+)")
ATTRIBUTE = re.compile(r"(?P<before><(?:img|a)\s[^>]*?(?:src|href)=\")(?P<target>[^\"]+)")
FENCE = re.compile(r"^\s*(```+|~~~+)")
SPAN = re.compile(r"`[^`\n]*`")
PICTURES = {".png", ".svg"}


@dataclasses.dataclass
class Page:
    """A page: its path in the site, its title, its text, its depth in the contents, and its file in the repository."""

    path: str
    title: str
    text: str
    depth: int = 0
    source: str | None = None


def site_path(source):
    """Returns the path in the site of a file of the repository. A README is the index of its folder."""
    path = source.removeprefix("docs/") if source.startswith("docs/") else f"repository/{source}"
    return re.sub(r"(^|/)README\.md$", r"\1index.md", path)


def outside_code(text, change):
    """Applies a function to a text, but not to its code blocks and code spans."""
    fence, kept, lines = None, [], []

    def keep(code):
        kept.append(code)
        return f"\0{len(kept) - 1}\0"

    for line in text.split("\n"):
        mark = FENCE.match(line)
        lines.append(keep(line) if fence or mark else SPAN.sub(lambda span: keep(span[0]), line))
        if mark:
            fence = None if fence and mark[1].startswith(fence) else fence or mark[1]
    return re.sub(r"\0(\d+)\0", lambda code: kept[int(code[1])], change("\n".join(lines)))


class Book:
    """The contents of the site, in the order of docs/SUMMARY.md."""

    def __init__(self, repository, branch="main"):
        self.repository, self.branch = repository.rstrip("/"), branch
        self.summary, self.pages, self.pictures = [], [], set()

    def load(self, text, generators):
        """Reads the contents. A line `<!-- pages: NAME -->` stands for the pages that `generators[NAME]` returns."""
        for line in text.split("\n"):
            if entry := ENTRY.match(line) or FIRST.match(line):
                source = posixpath.normpath(posixpath.join("docs", entry["path"]))
                indent = entry.groupdict().get("indent") or ""
                page = Page(site_path(source), entry["title"], (ROOT / source).read_text(encoding="utf-8"), len(indent) // 2, source)
                self.pages.append(page)
                bullet = "" if FIRST.match(line) else f"{indent}- "
                self.summary.append(f"{bullet}[{page.title}]({page.path})")
            elif mark := GENERATED.match(line):
                for page in generators[mark["name"]]():
                    page.depth += len(mark["indent"]) // 2
                    self.pages.append(page)
                    self.summary.append(f"{'  ' * page.depth}- [{page.title}]({page.path})")
            else:
                self.summary.append(line)
        paths = [page.path for page in self.pages]
        if twice := {path for path in paths if paths.count(path) > 1}:
            raise SystemExit(f"docs/SUMMARY.md has these pages twice: {', '.join(sorted(twice))}")

    def decisions(self):
        """Returns the pages of docs/decisions, with the titles that they have themselves."""
        found = []
        for path in sorted(DOCS.glob("decisions/[0-9]*.md")):
            text, source = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
            title = re.search(r"^# (?:\d+[.:]? )?(.+)$", text, re.MULTILINE)[1]
            number = path.name.split("-")[0]
            found.append(Page(site_path(source), f"{number} {title.replace('`', '')}", text, 1, source))
        return found

    def check_complete(self, files):
        """Fails if a page of docs/ is not in the contents."""
        listed = {page.source for page in self.pages} | {"docs/SUMMARY.md"}
        if missing := sorted(set(files) - listed):
            raise SystemExit(f"docs/SUMMARY.md lacks these pages: {', '.join(missing)}")

    def link(self, page, target):
        """Returns a link of a page as the site has it."""
        if re.match(r"[a-z][a-z0-9+.-]*:", target) or target.startswith("#") or page.source is None:
            return target
        file, mark, anchor = target.partition("#")
        at = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), file))
        here = posixpath.dirname(page.path)
        for other in self.pages:
            if other.source == at:
                return posixpath.relpath(other.path, here or ".") + mark + anchor
        if posixpath.splitext(at)[1] in PICTURES and (ROOT / at).is_file():
            self.pictures.add(at)
            return posixpath.relpath(site_path(at), here or ".")
        kind = "tree" if (ROOT / at).is_dir() else "blob"
        return f"{self.repository}/{kind}/{self.branch}/{at}{mark}{anchor}"

    def render(self, page):
        """Returns the text of a page with the links of the site, and without marks of checks."""

        def change(text):
            for pattern in (LINK, ATTRIBUTE):
                text = pattern.sub(lambda match: match["before"] + self.link(page, match["target"]), text)
            return text

        text = outside_code(page.text, change)
        return re.sub(r"^ *<!-- (?:run|not run|begin|end|output|file)\b.*?-->\n", "", text, flags=re.MULTILINE)
