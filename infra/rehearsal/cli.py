"""An `aws` before the AWS CLI in PATH: it records each call of `infra/deploy`, and rewrites one argument.

CloudFormation reads templates from `https://BUCKET.s3.REGION.amazonaws.com/KEY`. ministack takes the first part of the
path as the bucket, so the address gets that form.
"""

import json
import os
import sys

PROGRAM = """#!{python}
import json, os, re, sys
with open({record!r}, "a") as file:
    file.write(json.dumps([os.environ.get("STAGE", ""), sys.argv[1:]]) + "\\n")
address = re.compile(r"https://([^./]+)\\.s3\\.[^/]+\\.amazonaws\\.com/(.+)")
os.execv({aws!r}, ["aws", *(address.sub(r"http://s3/\\1/\\2", one) for one in sys.argv[1:])])
"""


def write(folder, aws):
    """Writes the program to a folder, and returns the path of its record."""
    folder.mkdir()
    record = folder / "calls"
    record.touch()
    program = folder / "aws"
    program.write_text(PROGRAM.format(python=sys.executable, record=str(record), aws=aws))
    program.chmod(0o755)
    return record


def path(folder):
    return os.pathsep.join([str(folder), os.environ["PATH"]])


def recorded(record):
    """Returns (environment, arguments) of each call, once."""
    return sorted({(one[0], tuple(one[1])) for one in map(json.loads, record.read_text().splitlines())})
