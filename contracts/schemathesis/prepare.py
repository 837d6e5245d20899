"""Makes what hooks.py points at, tells the id of a socket, and keeps that open until it is killed.

    prepare.py READY_FILE TOKEN EXAMPLES_PER_OPERATION FILE_FOR_THE_CONNECTION_ID
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

ready_file, token, examples, told = sys.argv[1:]
# At least one for each example and for each of the other phases' requests.
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


for channel in ["fuzz", "fuzz-settings", *(f"fuzz-doomed-{number}" for number in range(doomed))]:
    request("POST", "/channels", {"channel_id": channel, "name": "Fuzz", "visibility": "public", "agent": {"mode": "off"}})
for number in range(MESSAGES):
    request("POST", "/channels/fuzz/messages", {"content": f"message {number}"})
for number in range(MEMBERS):
    request("PUT", f"/channels/fuzz/members/member-{number}", {"role": "member"})
rest.close()

with connect(ready["websocket"] + "?channels=fuzz", additional_headers=authorization) as socket:
    socket.send(json.dumps({"action": "ping"}))
    for frame in socket:
        frame = json.loads(frame)
        if frame["type"] == "pong":
            with open(f"{told}.part", "w") as file:
                file.write(frame["connection_id"])
            os.rename(f"{told}.part", told)
