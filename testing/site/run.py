#!/usr/bin/env python3
"""Checks and runs the snippets of the site (see snippets.py for their marks).

    python3 testing/site/run.py --check     checks the marks, and parses the blocks; needs Node and clients/js/node_modules
    python3 testing/site/run.py             also runs the blocks; needs a local run

A run needs these variables:

    SITE_LOCAL     the program of the local run, as `cargo local` starts it
    SITE_BIN_DIR   the folder of the function binaries
    SITE_READY     the ready file of a local run that accepts pages of SITE_ORIGIN
    SITE_ORIGIN    the origin of the page of the React guide
    CHROMIUM_PATH  the browser
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import tomllib

import snippets

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tools/site"))
from pages import DOCS, Book  # noqa: E402

# Time of all blocks of one page: a local run starts within seconds, and a page is built in a minute.
TIMEOUT_S = 300
# Addresses of the pages, and the fields of the ready file that replace them.
ADDRESSES = {"http://127.0.0.1:3000": "rest", "ws://127.0.0.1:3001": "websocket", "http://127.0.0.1:3002": "page"}
PAGE_ORIGIN = "http://localhost:5173"
# Loaders of esbuild.
SCRIPTS = {"js": "jsx", "jsx": "jsx", "ts": "ts", "tsx": "tsx"}


def steps():
    """Returns the names of the steps of `cargo xtask ci`."""
    text = (ROOT / "tools/xtask/src/steps/mod.rs").read_text(encoding="utf-8")
    return set(re.findall(r'^    step\("(\w+)"', text, re.MULTILINE))


def lines_of(path):
    file = ROOT / path
    return file.read_text(encoding="utf-8").split("\n") if file.is_file() else None


def read_all():
    """Returns the snippets of each page of the site that the repository has, in the order of the contents, and all faults."""
    book = Book("")
    nothing = {name: list for name in ("rest", "socket", "problems", "parameters", "alarms", "cli")}
    book.load((DOCS / "SUMMARY.md").read_text(encoding="utf-8"), nothing | {"decisions": book.decisions})
    names, pages, faults = steps(), [], []
    for page in book.pages:
        found, of_marks = snippets.read(page.source, page.text)
        faults += of_marks + snippets.faults(found, names, lines_of)
        pages.append((page.source, found))
    return pages, faults


def parse(found):
    """Returns the faults of blocks that cannot be parsed."""
    # The checks of marks alone need no packages.
    import aws_cli
    import yaml

    faults, scripts = [], []
    for snippet in found:
        try:
            if snippet.language == "json" and "…" not in re.sub(r'"[^"\n]*"', "", snippet.code):
                for value in documents(snippet.code):
                    json.loads(value)
            elif snippet.language == "toml":
                tomllib.loads(snippet.code)
            elif snippet.language in ("yaml", "yml"):
                yaml.safe_load(re.sub(r"!(Ref|GetAtt|Sub|If) ", "", snippet.code))
            elif snippet.language == "python":
                compile(snippet.code, snippet.place, "exec")
            elif snippet.language in ("sh", "bash"):
                done = subprocess.run(["bash", "-n"], input=snippet.code, capture_output=True, text=True)
                faults += [f"{snippet.place}: {done.stderr.strip()}"] if done.returncode else []
                faults += [f"{snippet.place}: {fault}" for fault in aws_cli.faults(snippet.code)]
            elif snippet.language in SCRIPTS:
                scripts.append({"place": snippet.place, "loader": SCRIPTS[snippet.language], "code": snippet.code})
        except (ValueError, SyntaxError) as error:
            faults.append(f"{snippet.place}: {error}")
    return faults, scripts


def documents(code):
    """Returns the JSON texts of a block: one, or one in each line."""
    lines = [line for line in code.split("\n") if line.strip()]
    try:
        json.loads(code)
    except ValueError:
        if len(lines) > 1 and all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines):
            return lines
    return [code]


def parse_scripts(scripts):
    done = subprocess.run(["node", str(HERE / "syntax.mjs")], input=json.dumps(scripts), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def mark(number):
    return f"=== end of block {number}"


def replaced(code, addresses):
    for documented, real in addresses.items():
        code = code.replace(documented, real)
    return code


def script(found, addresses):
    """Returns the program of a page: its blocks that are run, and a line of text after each."""
    parts = ["set -euo pipefail"]
    runs = [one for one in found if one.kind == "run"]
    for number, snippet in enumerate(runs):
        parts += [replaced(snippet.code, addresses), f"printf '\\n%s\\n' {shlex.quote(mark(number))}"]
    return "\n".join(parts) + "\n"


def outputs(text, found):
    """Returns the output of each block that was run, as far as the program came."""
    runs, parts = [one for one in found if one.kind == "run"], []
    for number in range(len(runs)):
        part, end, text = text.partition(mark(number) + "\n")
        if not end:
            return parts
        parts.append(part.strip("\n"))
    return parts


def compare(found, done):
    """Returns the differences between the outputs and the documented ones."""
    faults, number = [], -1
    for snippet in found:
        number += snippet.kind == "run"
        if snippet.kind == "output" and number < len(done):
            try:
                actual = json.loads(done[number])
            except ValueError:
                faults.append(f"{snippet.place}: the output is no JSON: {done[number]!r}")
                continue
            faults += [f"{snippet.place}: {one}" for one in snippets.differences(json.loads(snippet.code), actual)]
    return faults


def run_page(found, folder, addresses, environment):
    """Runs the blocks of a page in `folder`. Returns the faults."""
    for snippet in found:
        if snippet.kind == "file":
            path = folder / snippet.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(replaced(snippet.code, addresses), encoding="utf-8")
    process = subprocess.Popen(
        ["bash", "-c", script(found, addresses)], cwd=folder, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    try:
        text, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        text += f"\nended after {TIMEOUT_S} s"
    done = outputs(text, found)
    runs = [one for one in found if one.kind == "run"]
    if len(done) < len(runs):
        return [f"{runs[len(done)].place}: the block failed:\n{text}"] + compare(found, done)
    return compare(found, done)


def end_runs(folder):
    """Ends the local runs that blocks have left running, as their ready files need them."""
    for path in folder.glob("*.pid"):
        try:
            os.kill(int(path.read_text()), signal.SIGTERM)
        except ProcessLookupError:
            pass


def run_all(pages):
    """Runs the pages in one folder, as a reader does. Returns the faults."""
    ready = json.loads(pathlib.Path(os.environ["SITE_READY"]).read_text(encoding="utf-8"))
    addresses = {documented: ready[name] for documented, name in ADDRESSES.items()} | {PAGE_ORIGIN: os.environ["SITE_ORIGIN"]}
    faults, passed = [], 0
    with tempfile.TemporaryDirectory(prefix="switchboard-site-") as folder:
        folder = pathlib.Path(folder)
        (folder / "switchboard").symlink_to(ROOT)
        (folder / "pids").mkdir()
        environment = os.environ | {
            "PATH": f"{HERE / 'shims'}:{os.environ['PATH']}",
            "SITE_PATH": os.environ["PATH"],
            "SITE_PIDS": str(folder / "pids"),
            "SITE_ROOT": str(ROOT),
            "NO_COLOR": "1",
            "npm_config_audit": "false",
            "npm_config_fund": "false",
            "npm_config_update_notifier": "false",
        }
        try:
            for name, found in pages:
                if not any(one.kind == "run" for one in found):
                    continue
                project = folder / name.removesuffix(".md").replace("/", "-")
                project.mkdir()
                of_page = run_page(found, project, addresses, environment)
                print(f"{'FAILED' if of_page else 'ok'}  {name}: {sum(one.kind == 'run' for one in found)} blocks", flush=True)
                passed += not of_page
                faults += of_page
        finally:
            end_runs(folder / "pids")
    return faults, passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="run nothing")
    parser.add_argument("--marks", action="store_true", help="check the marks only, without Node")
    options = parser.parse_args()
    pages, faults = read_all()
    everything = [one for _, found in pages for one in found]
    scripts = []
    if not options.marks:
        more, scripts = parse(everything)
        faults += more
        faults += parse_scripts(scripts)
    passed = len(everything)
    if not faults and not (options.check or options.marks):
        faults, passed_pages = run_all(pages)
        passed += passed_pages
    print("\n".join(faults))
    counts = {kind: sum(one.kind == kind for one in everything) for kind in snippets.KINDS}
    print(f"{len(everything)} blocks: " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count))
    result = "FAILED" if faults else "ok"
    print(f"test result: {result}. {passed - len(faults) if faults else passed} passed; {len(faults)} failed")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
