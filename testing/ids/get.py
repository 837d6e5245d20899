"""Requests every URL of the JSON on standard input with `requests`; prints a line with status and body for each."""

import json
import sys

import requests

task = json.load(sys.stdin)
session = requests.Session()
# Ignores the machine's proxy and .netrc.
session.trust_env = False
for url in task["urls"]:
    answer = session.get(url, headers=task["headers"], timeout=60)
    print(json.dumps({"status": answer.status_code, "body": answer.json()}))
