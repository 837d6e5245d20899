"""The emulator `ministack` as a process, and clients of it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import botocore.config
import botocore.session

ACCOUNT = "123456789012"
REGION = "us-east-1"
START_SECONDS = 60
STOP_SECONDS = 20


def program(name):
    """Returns the path of a program."""
    found = shutil.which(name)
    if not found:
        raise FileNotFoundError(f"{name} is not in PATH; infra/README.md tells how to install it")
    return found


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Emulator:
    """A running ministack that enforces IAM. The account's id as access key is its root user."""

    def __init__(self, folder):
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.root = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            "AUTH": "true",
            "AWS_ENDPOINT_URL": f"http://{self.host}",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": REGION,
            # It unpacks archives here.
            "TMPDIR": str(folder),
        }
        self.log = (folder / "ministack.log").open("wb")
        self.process = subprocess.Popen(
            [program("ministack")],
            env=environment,
            cwd=folder,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def wait(self):
        """Waits until the emulator responds, and returns its version."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://{self.host}/_ministack/health", timeout=5) as response:
                    return json.load(response).get("version", "unknown")
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"ministack did not start: {self.log.name}") from None
                time.sleep(0.1)

    def stop(self):
        """Ends the emulator and the functions that it runs, which are in its session."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, how)
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                break
        self.log.close()

    def client(self, service, keys=None):
        """Returns a client of a service, as root by default."""
        keys = keys or self.root
        return botocore.session.Session().create_client(
            service,
            region_name=REGION,
            endpoint_url=f"http://{self.host}",
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=keys.get("AWS_SESSION_TOKEN"),
            config=botocore.config.Config(s3={"addressing_style": "path"}, read_timeout=120),
        )

    def run(self, *command, keys=None, variables=None, **options):
        """Runs a program with access keys, root's by default. Returns what `subprocess.run` does."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment = (
            clean
            | (keys or self.root)
            | {
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ENDPOINT_URL": f"http://{self.host}",
                "AWS_PAGER": "",
                "AWS_REGION": REGION,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            }
        )
        command = [str(one) for one in command]
        return subprocess.run(command, env=environment | (variables or {}), capture_output=True, text=True, **options)
