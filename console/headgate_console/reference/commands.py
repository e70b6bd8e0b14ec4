"""`commands.md`: the help of every command, as it is printed."""

import json
import os
import subprocess
import sys

WIDTH = 100
HEAD = """\
# Commands

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 bad usage or configuration.
Tables fit `COLUMNS`, else the terminal; to a pipe they are as wide as they are. Colour and progress bars appear only
on a terminal.

"""
COMMANDS = (
    (),
    ("up",),
    ("replay",),
    ("generate",),
    ("sessions",),
    ("session",),
    ("ledger",),
    ("cost",),
    ("sql",),
    ("doctor",),
    ("collector",),
    ("collector", "config"),
    ("collector", "validate"),
    ("collector", "run"),
    ("collector", "keys"),
    ("collector", "token"),
    ("token",),
    ("token", "create"),
    ("token", "list"),
    ("token", "revoke"),
    ("manifest",),
    ("manifest", "validate"),
    ("manifest", "explain"),
    ("manifest", "diff"),
    ("manifest", "schema"),
    ("manifest", "suggest"),
    ("policy",),
    ("policy", "init"),
    ("policy", "check"),
    ("policy", "test"),
    ("policy", "explain"),
    ("policy", "simulate"),
    ("instance",),
    ("instance", "create"),
    ("instance", "list"),
    ("instance", "show"),
    ("instance", "revoke"),
    ("stop",),
    ("pause",),
    ("resume",),
    ("stops",),
    ("drill",),
    ("budget",),
    ("budget", "set"),
    ("budget", "show"),
    ("budget", "history"),
    ("budget", "remove"),
    ("limit",),
    ("limit", "set"),
    ("limit", "show"),
    ("limit", "remove"),
    ("decisions",),
    ("decisions", "explain"),
    ("hook",),
    ("gateway",),
    ("gateway", "model"),
    ("gateway", "forget"),
    ("audit",),
    ("audit", "verify"),
    ("audit", "anchor"),
    ("audit", "export"),
    ("directory",),
    ("directory", "import"),
    ("directory", "list"),
    ("control",),
    ("control", "status"),
    ("control", "backup"),
    ("control", "restore"),
    ("control", "adopt"),
    ("control", "prune"),
    ("control", "keys"),
    ("control", "keys", "list"),
    ("control", "keys", "rotate"),
    ("control", "keys", "rotate-hash"),
    ("views",),
    ("compact",),
    ("store",),
    ("store", "check"),
    ("store", "repair"),
    ("store", "backup"),
    ("forget",),
    ("derive",),
    ("config",),
    ("config", "show"),
    ("config", "validate"),
    ("config", "schema"),
)


def commands_page() -> str:
    """The page, in Markdown."""
    return HEAD + "\n".join(map(_section, COMMANDS, _helps()))


def _section(command: tuple[str, ...], text: str) -> str:
    name = " ".join(("headgate", *command))
    return f"## {name}\n\n```console\n$ {name} --help\n{_tidy(text)}\n```\n"


def _helps() -> list[str]:
    """The help of every command, from a process of its own: the width of help is settled when it is imported."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "NO_COLOR": "1"}
    printed = subprocess.run(
        [sys.executable, "-m", "headgate_console.reference.helps"],
        input=json.dumps(COMMANDS),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    found: list[str] = json.loads(printed)
    return found


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()).strip("\n")
