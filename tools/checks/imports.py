#!/usr/bin/env python3
"""Fails on files that import each other in a circle, and on dependencies between folders that must not be.

Reads every crate of the repository: `use` statements and paths that begin with `crate`, `self` or `super`. Tests are left out.
Prints each circle with the names that tie it. A module may use what its parent module defines: that is no circle. Needs Python 3.11 and nothing else.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A folder, and the folders whose crates it must not depend on, other than for its tests.
FORBIDDEN = {
    "crates": ["services", "emulator", "tools", "testing", "clients"],
    "services": ["services", "emulator", "tools", "testing", "clients"],
    "emulator": ["crates", "services", "tools", "testing", "clients", "contracts"],
    "clients": ["crates", "services", "emulator", "tools", "testing"],
    "examples": ["crates", "services", "emulator", "tools", "testing", "contracts"],
}

USE = re.compile(r"^[ \t]*(?:pub(?:\([a-z ]+\))? )?use ([^;]+);", re.M)
PATH = re.compile(r"(?<![\w:])((?:crate|super|self)(?:::\w+)+)")


def tracked(pattern):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).exists()]


def without_tests(text):
    """Cuts inline test modules and comments."""
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r"#\[cfg\(test\)\]\s*mod \w+ \{.*?^\}", "", text, flags=re.M | re.S)


def leaves(tree, prefix=()):
    """The full paths of a `use` tree."""
    tree = tree.strip()
    opening = tree.find("{")
    if opening < 0:
        path = tree.split(" as ")[0].strip()
        yield prefix + tuple(part for part in path.split("::") if part and part != "self")
        return
    head = tuple(part for part in tree[:opening].split("::") if part.strip())
    depth, start, body = 0, 0, tree[opening + 1 : tree.rindex("}")]
    for index, character in enumerate(body + ","):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if body[start:index].strip():
                yield from leaves(body[start:index], prefix + tuple(part.strip() for part in head))
            start = index + 1


def modules(source):
    """The files of a crate by the path of their module. Modules of tests are left out."""
    found = {}
    for file in tracked(f"{source.relative_to(ROOT)}/**/*.rs") + tracked(f"{source.relative_to(ROOT)}/*.rs"):
        parts = list(file.relative_to(source).with_suffix("").parts)
        if parts[0] == "bin" or parts[-1] == "tests" or "tests" in parts or parts == ["testing"]:
            continue
        if parts[-1] in ("mod", "lib", "main"):
            parts.pop()
        found.setdefault(tuple(parts), file)
    return found


def imports(files):
    """For each file the files of its crate that it imports from, with one of the names."""
    edges = {}
    for module, file in files.items():
        text = without_tests(file.read_text())
        paths = [path for tree in USE.findall(text) for path in leaves(tree)]
        paths += [tuple(path.split("::")) for path in PATH.findall(USE.sub("", text))]
        targets = edges.setdefault(file, {})
        for path in paths:
            if path[0] == "crate":
                absolute = path[1:]
            elif path[0] == "super":
                ups = sum(1 for part in path if part == "super")
                absolute = module[: len(module) - ups] + path[ups:]
            elif path[0] == "self" or module + path[:1] in files:
                absolute = module + tuple(part for part in path if part != "self")
            else:
                continue
            for length in range(len(absolute), -1, -1):
                target = files.get(tuple(absolute[:length]))
                if target:
                    is_ancestor = tuple(absolute[:length]) == module[:length] and length < len(module)
                    if target != file and not is_ancestor and (length or absolute):
                        targets.setdefault(target, "::".join(absolute[length:]) or "the module")
                    break
    return edges


def circles(edges):
    """The strongly connected components of more than one file (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in edges.get(node, {}):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = set()
            while True:
                component.add(stack.pop())
                if node in component:
                    break
            if len(component) > 1:
                found.append(component)

    for node in edges:
        if node not in index:
            visit(node)
    return found


def main():
    sys.setrecursionlimit(10_000)
    problems, count, folders = [], 0, {}
    manifests = [file for file in tracked("*Cargo.toml") if "package" in tomllib.loads(file.read_text())]
    for manifest in manifests:
        folders[tomllib.loads(manifest.read_text())["package"]["name"]] = manifest.relative_to(ROOT).parts[0]
        source = manifest.parent / "src"
        if not source.is_dir():
            continue
        edges = imports(modules(source))
        count += len(edges)
        for circle in circles(edges):
            problems.append("files that import each other:")
            for file in sorted(circle):
                for target, name in sorted(edges[file].items()):
                    if target in circle:
                        problems.append(f"  {file.relative_to(ROOT)} -> {target.relative_to(ROOT)}: {name}")
    for manifest in manifests:
        parsed = tomllib.loads(manifest.read_text())
        folder, name = manifest.relative_to(ROOT).parts[0], parsed["package"]["name"]
        for dependency in parsed.get("dependencies", {}):
            if dependency != name and folders.get(dependency) in FORBIDDEN.get(folder, []):
                problems.append(f"{folder}/ must not depend on {folders[dependency]}/: {name} -> {dependency}")
    print("\n".join(problems) if problems else f"{count} files of {len(manifests)} crates: no circle")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
