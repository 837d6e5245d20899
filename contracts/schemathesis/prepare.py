"""Creates the channels and messages of hooks.py, opens a socket, writes its id and cursors to a file as JSON, and keeps
the socket open until it is killed.

    prepare.py READY_FILE TOKEN EXAMPLES_PER_OPERATION FILE_FOR_THE_RESULT
"""

import http.client
import json
import os
import sys
import urllib.parse

from websockets.sync.client import connect

# As in hooks.py.
MESSAGES = 220
MEMBERS = 10

# Lists with more than one item, by the path in openapi.yaml.
LISTS = {
    "/channels": "/channels",
    "/channels/{channel_id}/members": "/channels/fuzz/members",
    "/channels/{channel_id}/threads": "/channels/fuzz/threads",
    "/channels/{channel_id}/messages/{seq}/reactions": "/channels/fuzz/messages/1/reactions",
}

ready_file, token, examples, result = sys.argv[1:]
# At least one for each example and each request of the other phases.
doomed = 50 + 2 * int(examples)
with open(ready_file) as file:
    ready = json.load(file)
authorization = {"Authorization": f"Bearer {token}"}
rest = http.client.HTTPConnection(urllib.parse.urlsplit(ready["rest"]).netloc)


def request(method, path, body=None):
    rest.request(method, path, None if body is None else json.dumps(body), authorization)
    answer = rest.getresponse()
    said = answer.read()
    if answer.status >= 300:
        sys.exit(f"{method} {path}: {answer.status} {said!r}")
    return json.loads(said) if said else None


for channel in ["fuzz", "fuzz-settings", *(f"fuzz-doomed-{number}" for number in range(doomed))]:
    request("POST", "/channels", {"channel_id": channel, "name": "Fuzz", "visibility": "public", "agent": {"mode": "off"}})
for number in range(MESSAGES):
    request("POST", "/channels/fuzz/messages", {"content": f"message {number}"})
for number in range(MEMBERS):
    request("PUT", f"/channels/fuzz/members/member-{number}", {"role": "member"})
for root in (1, 2):
    request("POST", "/channels/fuzz/messages", {"content": "a reply", "thread_seq": root})
for emoji in "👍🎉":
    request("PUT", f"/channels/fuzz/messages/1/reactions/{urllib.parse.quote(emoji)}")
cursors = {path: request("GET", f"{address}?limit=1")["next"]["cursor"] for path, address in LISTS.items()}
rest.close()

with connect(ready["websocket"] + "?channels=fuzz", additional_headers=authorization) as socket:
    # The greeting names the connection too, but it is pushed once and may be lost.
    socket.send(json.dumps({"action": "ping"}))
    for frame in socket:
        frame = json.loads(frame)
        if "connection_id" in frame:
            with open(f"{result}.part", "w") as file:
                json.dump({"connection": frame["connection_id"], "cursors": cursors}, file)
            os.rename(f"{result}.part", result)
