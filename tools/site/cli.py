"""The page of the program `switchboard`, from its own help."""

import re
import subprocess

from pages import Page

COMMAND = re.compile(r"^  (?P<name>[a-z][a-z-]*)(?:\s{2,}|$)")


def help_of(program, commands):
    """Returns the help of a subcommand."""
    run = subprocess.run([program, *commands, "--help"], capture_output=True, text=True, check=True)
    return run.stdout.rstrip()


def subcommands(text):
    """Returns the names in the list of commands of a help, without `help` itself."""
    names, listed = [], False
    for line in text.split("\n"):
        if line == "Commands:":
            listed = True
        elif listed and not line.strip():
            break
        elif listed and (found := COMMAND.match(line)) and found["name"] != "help":
            names.append(found["name"])
    return names


def sections(program, commands=(), help_of=help_of):
    """Returns the sections of a command and of all commands below it."""
    text = help_of(program, list(commands))
    title = " ".join(["switchboard", *commands])
    found = [f"## `{title}`\n\n```text\n{text}\n```"]
    for name in subcommands(text):
        found += sections(program, (*commands, name), help_of)
    return found


def page(program):
    """Returns the page. Without the program, the page says where the help is."""
    text = ["# Command line"]
    if program is None:
        text.append("`switchboard --help` and `switchboard COMMAND --help` print the commands and their options.")
    else:
        text += ["The output of `switchboard --help`, and of each command's.", *sections(str(program))]
    return [Page("reference/cli.md", "Command line", "\n\n".join(text))]
