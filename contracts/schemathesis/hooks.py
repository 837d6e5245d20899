"""What a schema cannot know: the texts of its two formats, and which channels and messages there are.

Data that is valid by the schema is pointed at what the run has prepared, so that it reaches behind the 404s. Data that
is meant to be wrong stays as it is.
"""

import itertools
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
# Messages after those, which are there to be deleted.
DOOMED_MESSAGES = 200
MEMBERS = [f"member-{number}" for number in range(10)]
# A list of entity tags.
TAGS = re.compile(r'(W/)?"[!#-~]*"( ?, ?(W/)?"[!#-~]*")*')
# The connection of a socket that is open.
CONNECTION = os.environ["FUZZ_CONNECTION"]

CHANCE = random.Random(1)

# Of some requests the path is left as it is, so that what is not there is asked for too.
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
    # It remembers what it has seen, and would take away what the rest of the run needs.
    if (case.path, case.method.upper()) == ("/channels/{channel_id}", "DELETE"):
        if case.path_parameters.get("channel_id") in (CHANNEL, SETTINGS):
            case.path_parameters["channel_id"] = next(DOOMED)
    # Of another version than most that are named, a channel would be looked at no further.
    if TAGS.fullmatch(str(case.headers.get("If-Match", ""))) and CHANCE.random() >= STRAYS:
        case.headers["If-Match"] = "*"
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    path, method = case.path, case.method.upper()
    # Where one request follows from another, the path is what the one before has made.
    follows = case.meta.phase.name.value == "stateful"
    names_a_message = isinstance(case.body, dict) and (path.endswith("/read") or case.body.get("reply_to") is not None)
    if not follows and (names_a_message or CHANCE.random() >= STRAYS):
        lead_to_what_exists(path, method, case.path_parameters)
    if "Idempotency-Key" in case.headers:
        # Two requests under one key would be taken for one.
        case.headers["Idempotency-Key"] = str(uuid.UUID(int=CHANCE.getrandbits(128)))
    if isinstance(case.body, dict):
        adapt(path, method, case.body, follows)


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
        parameters["connection_id"] = CONNECTION


def adapt(path, method, body, follows):
    """What is right by the schema, made right by how things are."""
    newest = 0 if follows else MESSAGES
    if body.get("reply_to") is not None:
        body["reply_to"] = CHANCE.randint(1, newest) if newest else None
    if path.endswith("/read"):
        body["seq"] = CHANCE.randint(0, newest)
    if path.endswith("/tickets") and body.get("channels"):
        body["channels"] = [CHANNEL]
    if (path, method) == ("/channels/{channel_id}", "PATCH"):
        body["archived"] = False


@schemathesis.hook
def filter_case(context, case):
    # A path segment of dots is none: clients resolve it (RFC 3986, section 5.2.4).
    is_path = not any(str(value) in (".", "..") for value in case.path_parameters.values())
    return is_path and not is_right_after_all(case)


def is_right_after_all(case):
    """Returns whether a body is valid that is meant to be wrong: one wrong text of a format may be a text of it."""
    if case.meta is None or case.meta.generation.mode.is_positive or not isinstance(case.body, dict):
        return False
    wrong = [location for location, component in case.meta.components.items() if component.mode.is_negative]
    return [location.value for location in wrong] == ["body"] and any(
        body.media_type == case.media_type and body.is_valid(case.body) for body in case.operation.body
    )
