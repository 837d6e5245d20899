"""Adds the knowledge that a schema cannot have: texts of its two formats, limits of metadata, existing channels and
messages, cursors, and query parameters that exclude each other.

Data that is valid by the schema is pointed at prepared channels and messages, so that it passes the 404s. Data that is
meant to be wrong stays as it is.
"""

import itertools
import json
import os
import random
import re
import unicodedata
import urllib.parse
import uuid

import schemathesis
from hypothesis import strategies as st

CHANNEL = "fuzz"
SETTINGS = "fuzz-settings"
# Channels that are there to be deleted, one after another, so that the others stay.
DOOMED = (f"fuzz-doomed-{number}" for number in itertools.count())
MESSAGES = 20
# Changes of messages of the channel: the reactions in prepare.py. Other requests add more.
CHANGES = 2
# Messages after those, which are there to be deleted.
DOOMED_MESSAGES = 200
MEMBERS = [f"member-{number}" for number in range(10)]
# A list of entity tags.
TAGS = re.compile(r'(W/)?"[!#-~]*"( ?, ?(W/)?"[!#-~]*")*')
# The connection of an open socket, and cursors by the path of their list; from prepare.py.
PREPARED = json.loads(os.environ["FUZZ_PREPARED"])
# Query parameters of which a request may have one.
DIRECTIONS = ("before", "after", "around")
# The limits of metadata in openapi.yaml.
METADATA_BYTES = 4_096
METADATA_DEPTH = 16
SMALLEST, LARGEST = 1e-130, 1e125
# Names and bytes of a patch of metadata, so that the patches of one message stay within the limit together.
PATCHED_NAMES = 4
PATCHED_BYTES = 500

CHANCE = random.Random(1)

# Fraction of requests whose path stays as generated, so that absent resources are requested too.
STRAYS = 0.1

NAME_CHARS = 100
# Characters with an empty glyph, and letters that are never shown.
BLANKS = "\u2800\U0001d159\U00013441\U00013442\u115f\u1160\u3164\uffa0"
VISIBLE = st.characters(categories=("L", "N", "P", "S"), exclude_characters=BLANKS)
# Sequences of which the pattern of names knows the characters alone.
SEQUENCES = [
    "I ❤️ it",
    "1️⃣ first",
    "👩\u200d💻",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "می\u200cخواهم",
    "क्\u200dष",
    "e\u0301",
]


def is_name(name):
    return not name.isspace() and len(unicodedata.normalize("NFC", name)) <= NAME_CHARS


def is_shown(content):
    return any(unicodedata.category(one)[0] in "LNPS" and one not in BLANKS for one in content)


schemathesis.openapi.format(
    "channel-name",
    st.one_of(
        st.text(st.one_of(VISIBLE, st.characters(categories=["Zs"])), min_size=1, max_size=NAME_CHARS).filter(is_name),
        st.sampled_from(SEQUENCES),
    ),
)
schemathesis.openapi.format(
    "message-content",
    st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r"), min_size=1).filter(is_shown),
)


@schemathesis.hook
def before_call(context, case, kwargs):
    # The stateful phase would delete channels that the rest of the run needs.
    if (case.path, case.method.upper()) == ("/channels/{channel_id}", "DELETE"):
        if case.path_parameters.get("channel_id") in (CHANNEL, SETTINGS):
            case.path_parameters["channel_id"] = next(DOOMED)
    # Most generated tags name no current version, so most changes would fail.
    if TAGS.fullmatch(str(case.headers.get("If-Match", ""))) and CHANCE.random() >= STRAYS:
        case.headers["If-Match"] = "*"
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    path, method = case.path, case.method.upper()
    # In the stateful phase, the path names the result of an earlier request.
    follows = case.meta.phase.name.value == "stateful"
    names_a_message = isinstance(case.body, dict) and (
        path.endswith("/read") or any(case.body.get(name) is not None for name in ("reply_to", "thread_seq"))
    )
    if not follows and (names_a_message or CHANCE.random() >= STRAYS):
        lead_to_what_exists(path, method, case.path_parameters)
    if "Idempotency-Key" in case.headers:
        # Two requests under one key would be taken for one.
        case.headers["Idempotency-Key"] = str(uuid.UUID(int=CHANCE.getrandbits(128)))
    if case.query:
        adapt_query(path, case.query)
    if isinstance(case.body, dict):
        adapt(path, method, case.body, follows)


def adapt_query(path, query):
    """Leaves one of the parameters that exclude each other, and only cursors that the server has issued. Waits for nothing,
    and names changes that the channel has."""
    for other in [name for name in DIRECTIONS if name in query][1:]:
        del query[other]
    if "wait" in query:
        # Waiting is off by default, and needs `after`.
        query["wait"] = 0
        if "after" not in query:
            del query["wait"]
    if path.endswith("/changes") and "after" in query and CHANCE.random() >= STRAYS:
        query["after"] = CHANCE.randint(0, CHANGES)
    if "cursor" in query:
        cursor = None if "visibility" in query else PREPARED["cursors"].get(path)
        if cursor is None:
            del query["cursor"]
        else:
            query["cursor"] = cursor


def lead_to_what_exists(path, method, parameters):
    if (path, method) == ("/channels/{channel_id}", "DELETE"):
        parameters["channel_id"] = next(DOOMED)
    elif "channel_id" in parameters:
        parameters["channel_id"] = SETTINGS if (path, method) == ("/channels/{channel_id}", "PATCH") else CHANNEL
    if "seq" in parameters:
        goes = (path, method) == ("/channels/{channel_id}/messages/{seq}", "DELETE")
        first, last = (MESSAGES + 1, MESSAGES + DOOMED_MESSAGES) if goes else (1, MESSAGES)
        parameters["seq"] = CHANCE.randint(first, last)
    if "emoji" in parameters:
        # An example is percent-encoded; a case whose path has been changed is checked against the schema again.
        parameters["emoji"] = urllib.parse.unquote(parameters["emoji"])
    if "user_id" in parameters:
        parameters["user_id"] = CHANCE.choice(MEMBERS)
    if "connection_id" in parameters:
        parameters["connection_id"] = PREPARED["connection"]


def adapt(path, method, body, follows):
    """Makes a body that is valid by the schema valid by the state of the run, too."""
    newest = 0 if follows else MESSAGES
    # No prepared message up to `newest` is in a thread, so each may be a root.
    for name in ("reply_to", "thread_seq"):
        if body.get(name) is not None:
            body[name] = CHANCE.randint(1, newest) if newest else None
    if isinstance(body.get("metadata"), dict):
        body["metadata"] = patched(body["metadata"]) if method == "PATCH" else stored(body["metadata"])
    if path.endswith("/read"):
        body["seq"] = CHANCE.randint(0, newest)
    if path.endswith("/tickets") and body.get("channels"):
        body["channels"] = [CHANNEL]
    if (path, method) == ("/channels/{channel_id}", "PATCH"):
        body["archived"] = False


def limited(value):
    """Returns a value of metadata without empty names, and with the numbers that are allowed."""
    if isinstance(value, dict):
        return {name: limited(part) for name, part in value.items() if name}
    if isinstance(value, list):
        return [limited(part) for part in value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return 0 if is_number and not SMALLEST <= abs(value) < LARGEST else value


def depth(value):
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(depth, parts), default=0)


def size(value):
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def stored(metadata):
    """Returns metadata within the limits."""
    metadata = limited(metadata)
    return metadata if size(metadata) <= METADATA_BYTES and depth(metadata) <= METADATA_DEPTH else {}


def patched(metadata):
    """Returns a patch of few names. Objects become lists, which replace the value before instead of growing it."""
    patch = {}
    for at, value in enumerate(metadata.values()):
        value = limited([value] if isinstance(value, dict) else value)
        fits = size(value) <= PATCHED_BYTES and depth(value) < METADATA_DEPTH
        patch[f"name-{at % PATCHED_NAMES}"] = value if fits else None
    return patch


@schemathesis.hook
def filter_case(context, case):
    # A path segment of dots is none: clients resolve it (RFC 3986, section 5.2.4).
    is_path = not any(str(value) in (".", "..") for value in case.path_parameters.values())
    return is_path and not is_right_after_all(case)


def is_right_after_all(case):
    """Returns whether a body is valid that is meant to be wrong: a text that is wrong for a format may match it."""
    if case.meta is None or case.meta.generation.mode.is_positive or not isinstance(case.body, dict):
        return False
    wrong = [location for location, component in case.meta.components.items() if component.mode.is_negative]
    return [location.value for location in wrong] == ["body"] and any(
        body.media_type == case.media_type and body.is_valid(case.body) for body in case.operation.body
    )
