"""What a schema cannot know: which channels, messages and emoji there are.

Data that is valid by the schema is pointed at what the run has prepared, so that it reaches behind the 404s. Data that
is meant to be wrong stays as it is.
"""

import itertools
import os
import random
import re
import unicodedata
import uuid

import schemathesis

CHANNEL = "fuzz"
SETTINGS = "fuzz-settings"
# Channels that are there to be deleted, one after another, so that the others stay.
DOOMED = (f"fuzz-doomed-{number}" for number in itertools.count())
MESSAGES = 20
# Messages after those, which are there to be deleted.
DOOMED_MESSAGES = 200
MEMBERS = [f"member-{number}" for number in range(10)]
EMOJI = ["👍", "🎉", "❤️", "🇪🇺", "👩‍💻", "1️⃣"]
# Of a channel. Members are named by MEMBERS.
ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
VERSION = re.compile(r'"[0-9]{1,19}"')
# The connection of a socket that is open.
CONNECTION = os.environ["FUZZ_CONNECTION"]

CHANCE = random.Random(1)

# Of some requests the path is left as it is, so that what is not there is asked for too.
STRAYS = 0.1


@schemathesis.hook
def before_call(context, case, kwargs):
    # It remembers what it has seen, and would take away what the rest of the run needs.
    if (case.path, case.method.upper()) == ("/channels/{channel_id}", "DELETE"):
        if case.path_parameters.get("channel_id") in (CHANNEL, SETTINGS):
            case.path_parameters["channel_id"] = next(DOOMED)
    # Of another version than most that are named, a channel would be looked at no further.
    if VERSION.fullmatch(str(case.headers.get("If-Match", ""))) and CHANCE.random() >= STRAYS:
        case.headers["If-Match"] = "*"
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    path, method = case.path, case.method.upper()
    # Where one request follows from another, the path is what the one before has made.
    follows = case.meta.phase.name.value == "stateful"
    names_a_message = isinstance(case.body, dict) and (path.endswith("/read") or case.body.get("reply_to") is not None)
    if not follows and (names_a_message or CHANCE.random() >= STRAYS):
        lead_to_what_exists(path, method, case.path_parameters)
    if "emoji" in case.path_parameters:
        case.path_parameters["emoji"] = CHANCE.choice(EMOJI)
    if "Idempotency-Key" in case.headers:
        # Two requests under one key would be taken for one.
        case.headers["Idempotency-Key"] = str(uuid.UUID(int=CHANCE.getrandbits(128)))
    # Public channels and invitations are two lists.
    if path == "/channels" and "visibility" in case.query:
        case.query.pop("membership", None)
    if path == "/channels" and "visibility" not in case.query and not ID.fullmatch(str(case.query.get("after", "a"))):
        del case.query["after"]
    if path.endswith("/messages") and "before" in case.query:
        case.query.pop("after", None)
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
    if isinstance(body.get("name"), str):
        body["name"] = named(body["name"])
    if isinstance(body.get("content"), str) and not any(is_visible(character) for character in body["content"]):
        body["content"] = "x" + body["content"][1:]
    if isinstance(body.get("metadata"), dict):
        body["metadata"] = storable(body["metadata"])


def is_visible(character):
    """Whether a character is seen alone: letters, numbers, punctuation and symbols, but the blank pattern."""
    return unicodedata.category(character)[0] in "LNPS" and character != "\u2800"


def named(name):
    """A name within the rules that the schema tells in words."""
    kept = "".join(character for character in name if is_visible(character) or character == " ")
    return unicodedata.normalize("NFC", kept if kept.strip() else "x")[:100]


def storable(value):
    """Metadata within the rules that the schema tells in words."""
    if isinstance(value, dict):
        return {key: storable(field) for key, field in value.items() if key}
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not 1e-130 <= abs(value) < 1e125:
        return 0
    return value


@schemathesis.hook
def filter_case(context, case):
    # A path segment of dots is none: clients resolve it (RFC 3986, section 5.2.4).
    return not any(str(value) in (".", "..") for value in case.path_parameters.values())
