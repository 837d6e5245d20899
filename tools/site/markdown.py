"""Parts of Markdown that the generators of pages share."""

import json
import re


def cell(text):
    """Returns a text as one cell of a table."""
    return re.sub(r"\s*\n\s*", " ", str(text).strip()).replace("|", "\\|")


def table(head, rows):
    """Returns a table. Leaves out columns without content, except the first."""
    rows = [[cell(value) for value in row] for row in rows]
    kept = [at for at in range(len(head)) if at == 0 or any(row[at] for row in rows)]
    lines = [[head[at] for at in kept], ["---" for _ in kept]]
    lines += [[row[at] for at in kept] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def example(value):
    """Returns a JSON block."""
    return f"```json\n{json.dumps(value, ensure_ascii=False, indent=2)}\n```"


def slug(text):
    """Returns the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", text.replace("`", "").lower()).replace(" ", "-")


def code(value):
    """Returns a value as a code span; nothing for no value."""
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value}`"
