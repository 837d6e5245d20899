"""Gets every URL of the JSON on standard input with `requests`; writes a line with status and body for each."""

import json
import sys

import requests

task = json.load(sys.stdin)
session = requests.Session()
# Neither a proxy nor a .netrc of the machine.
session.trust_env = False
for url in task["urls"]:
    answer = session.get(url, headers=task["headers"], timeout=60)
    print(json.dumps({"status": answer.status_code, "body": answer.json()}))
