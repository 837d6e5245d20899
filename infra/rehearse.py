#!/usr/bin/env python3
"""Rehearses deployments: runs `infra/deploy` against ministack, an emulator of AWS that enforces IAM.

It sets an account up by `bootstrap.yaml` and `environment.yaml`, assumes the roles with tokens like GitHub's, and
deploys a Zip twin of `backend.yaml` with the functions of this repository. `staging` goes through a first deployment,
a second, an update, a roll-back and a failed update; `production` through a failed first deployment and its repair. The
smoke test runs after each. docs/reports/deployment.md lists what the emulator does not show.

The exit code is 0 if everything went as it has to, else 1. `ministack` and `aws` have to be in PATH; the Python that
runs this needs the packages of infra/rehearsal/requirements.txt.
"""

import argparse
import pathlib
import platform
import shutil
import sys
import tempfile
import time

import check
from rehearsal import account, cli, steps, twin
from rehearsal.door import Door
from rehearsal.emulator import Emulator, program
from rehearsal.stack import Stack

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATES = ("backend.yaml", "bootstrap.yaml", "environment.yaml")
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}


class Report:
    """Prints a line for each step, and counts them."""

    def __init__(self):
        self.began = time.monotonic()
        self.count = 0

    def step(self, name, run, *arguments):
        """Runs a step, and prints the line that it returns, if any."""
        began = time.monotonic()
        result = run(*arguments)
        took = time.monotonic() - began
        self.count += 1
        print(f"ok  {took:5.1f} s  {name}" + (f": {result}" if result else ""), flush=True)


def twins(emulator, to):
    """Writes the files that `infra/deploy` reads, with twins of the templates, and prints the differences."""
    (to / "infra").mkdir(parents=True)
    (to / "infra/deploy").symlink_to(ROOT / "infra/deploy")
    (to / "services").symlink_to(ROOT / "services")
    values = {
        "architecture": ARCHITECTURES[platform.machine()],
        "door": Door(emulator.port).host,
        "host": emulator.host,
    }
    lines = 0
    for name in TEMPLATES:
        template = ROOT / "infra" / name
        text = twin.make(template, **values)
        (to / "infra" / name).write_text(text)
        lines += twin.differences(template.read_text(), text)
    return f"{lines} lines of three templates replaced, for {len(twin.REPLACED)} reasons"


def rehearse(report, emulator, binaries, work):
    """Runs all steps."""
    tree = work / "tree"
    report.step("ministack", emulator.wait)
    report.step("twins", twins, emulator, tree)
    record = cli.write(tree / "bin", program("aws"))
    report.step("account", account.set_up, emulator, tree / "infra")
    report.step("trust", steps.trust, emulator)
    folders = sorted(one.name for one in (ROOT / "services").iterdir() if one.is_dir())
    (work / "functions").mkdir()
    images = account.Images(emulator, binaries, folders, work / "functions")
    report.step("images", images.push, "one")
    report.step("images of a change", images.push, "two", ("health",))
    staging, production = (Stack(emulator, tree, name, work, binaries / "smoke") for name in account.ENVIRONMENTS)
    one, two = (staging.images(staging.run("digests", tag, keys=images.keys)) for tag in ("one", "two"))

    report.step("staging, first deployment", steps.first, staging, one)
    report.step("staging, smoke test", steps.smoke, staging)
    report.step("staging, second deployment", steps.again, staging, one)
    report.step("staging, update", steps.update, staging, two)
    report.step("staging, smoke test", steps.smoke, staging)
    report.step("staging, roll-back", steps.roll_back, staging, one)
    report.step("staging, failed update", steps.failed_update, staging, one)
    report.step("production, failed first deployment", steps.failed_first, production, one)
    report.step("production, repair", steps.repair, production, one)
    report.step("production, smoke test", steps.smoke, production)
    report.step("roles of other environments", steps.other_stack, staging, production)
    report.step("roles of other environments", steps.other_stack, production, staging)
    report.step("control of the deploy role", steps.control_of_deployment, staging, one)
    report.step("control of a function's role", steps.control_of_functions, production)
    templates = check.templates()
    report.step("calls of infra/deploy", steps.deploy_calls, record, templates)
    report.step("calls of CloudFormation", steps.execution_calls, staging, templates)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/debug", help="folder of the binaries")
    parser.add_argument("--keep", type=pathlib.Path, help="folder to copy the logs to, if a step fails")
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as folder:
        work = pathlib.Path(folder)
        emulator = Emulator(work)
        try:
            rehearse(report, emulator, options.binaries.resolve(), work)
        except Exception as error:
            print(f"FAILED  {type(error).__name__}: {error}")
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(work / "ministack.log", options.keep)
            return 1
        finally:
            emulator.stop()
    print(f"{report.count} steps in {time.monotonic() - report.began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
