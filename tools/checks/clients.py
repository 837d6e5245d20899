#!/usr/bin/env python3
"""Fails on files outside clients/ that open a connection by a library of their own, unless they are listed with a reason.

Programs and tests that use the chat API do so with the packages of clients/. Files in Rust, JavaScript, TypeScript and Python are
searched, without their comments. An entry that no file needs fails as well. Needs Python 3.11 and nothing else.
"""

import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Files that open connections, with the reason. `*` stands for any text.
ALLOWED = {
    # Other services than the chat API.
    "crates/auth/src/jwks.rs": "reads the keys of issuers",
    "crates/models/src/openai.rs": "calls models",
    "tools/local/src/otlp/forward.rs": "forwards spans to a collector",
    "tools/local/examples/telemetry_cost.rs": "sends spans to the run's own collector",
    "tools/bench/src/overhead/aws.rs": "forwards calls of the functions to the embedded DynamoDB",
    "tools/bench/src/fan_out.rs": "posts to the management API of the gateway, to compare with",
    "contracts/src/world/mod.rs": "the embedded DynamoDB, and the connections of the Rust client",
    "contracts/src/provider.rs": "the connections of the Rust client, and a type of the verifier",
    "examples/*/src/session.js": "gets a token from the local run, as an application does from its own server",
    "examples/support-widget/server.mjs": "gets tokens for visitors from the local run, as from an issuer",
    "infra/rehearsal/emulator.py": "waits for an emulator of AWS",
    # The Rust client, with other connections.
    "tools/bench/src/system.rs": "sets options of the connections that the Rust client uses",
    # Tests of the API's own surface, with what no client sends.
    "emulator/*": "compares the gateways with those of AWS, byte by byte",
    "tools/local/tests/*": "the page's files and the collector of the run",
    "testing/e2e/tests/end_to_end/raw.rs": "sends any header, body and method",
    "testing/e2e/tests/end_to_end/stack.rs": "holds the connections of raw.rs and of the Rust client",
    "testing/e2e/tests/end_to_end/doors.rs": "writes bytes that are no HTTP",
    "testing/e2e/tests/end_to_end/identity.rs": "writes lines of headers that no library sends",
    "infra/test_rehearsal.py": "writes the bytes of a handshake to a door of the rehearsal",
    "testing/ids/*": "tests common HTTP clients with every character of an id",
    "testing/telemetry/one_trace.py": "sends the trace of a caller; the independent collector is a library of Python",
    "contracts/schemathesis/*": "prepares and hooks a tool that generates requests",
    "contracts/tests/*/driver.mjs": "counts the requests of the JavaScript client, which gets its `fetch`",
    # Clients that are made from the documents alone, to test the documents.
    "testing/generated/*": "clients of four generators",
    "testing/group-chat/*": "a client that was written from the documents alone",
}

RUST = [
    r"\breqwest::(?:blocking::)?(?:Client|ClientBuilder|get)\b",
    r"\buse reqwest::\{[^}]*\bClient\b",
    r"\buse reqwest::(?:Client|get)\b",
    r"\b(?:connect_async|client_async)\w*\(",
    r"\bRole::Client\b",
    r"\bhyper(?:_util)?::client\b",
    r"\bTcpStream::connect\b",
    r"\b(?:ureq|isahc|attohttpc|surf|awc|tungstenite::connect)\b(?:::|\()",
]
SCRIPT = [
    r"(?<![\w.#])fetch\(",
    r"\b(?:globalThis|window|self)\.fetch\(",
    r"\bnew (?:WebSocket|EventSource|XMLHttpRequest)\(",
    r"""(?:from|require\(|import\()\s*["'](?:ws|axios|got|undici|node-fetch|ky|superagent)["']""",
    r"\bhttps?\.(?:request|get)\(",
]
PYTHON = [
    r"^[ \t]*(?:import|from) (?:requests|httpx|aiohttp|websockets?|urllib\.request|urllib3|http\.client)\b",
    r"\bsocket\.create_connection\(",
]
C_COMMENT = r"/\*.*?\*/|(?<![:\"'`\w])//[^\n]*"
LANGUAGES = {
    ".rs": (RUST, C_COMMENT),
    ".js": (SCRIPT, C_COMMENT),
    ".mjs": (SCRIPT, C_COMMENT),
    ".cjs": (SCRIPT, C_COMMENT),
    ".jsx": (SCRIPT, C_COMMENT),
    ".ts": (SCRIPT, C_COMMENT),
    ".tsx": (SCRIPT, C_COMMENT),
    ".py": (PYTHON, r"(?m)^\s*#[^\n]*"),
}


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def connections(name, text):
    """The places of a file that open a connection: number and text of the line."""
    patterns, comment = LANGUAGES[Path(name).suffix]
    # Lines keep their numbers.
    text = re.sub(comment, lambda found: "\n" * found[0].count("\n"), text, flags=re.S)
    lines = text.splitlines()
    numbers = {text.count("\n", 0, found.start()) for pattern in patterns for found in re.finditer(pattern, text, re.M)}
    return [(number + 1, lines[number].strip()) for number in sorted(numbers)]


def entry(name):
    """The entry that allows a file."""
    return next((allowed for allowed in ALLOWED if fnmatchcase(name, allowed)), None)


def main():
    problems, needed, count = [], set(), 0
    for name in tracked():
        if name.startswith("clients/") or Path(name).suffix not in LANGUAGES:
            continue
        count += 1
        found = connections(name, (ROOT / name).read_text())
        if not found:
            continue
        allowed = entry(name)
        if allowed:
            needed.add(allowed)
        else:
            problems += [f"{name}:{number}: opens a connection without a package of clients/: {line}" for number, line in found]
    problems += [f"{allowed} opens no connection: its entry is not needed" for allowed in ALLOWED if allowed not in needed]
    print("\n".join(problems) if problems else f"{count} files, {len(ALLOWED)} entries: no other client")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
