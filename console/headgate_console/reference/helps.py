"""Prints the help of many commands from one process: a JSON list of commands in, a JSON list of texts out."""

import json
import sys
from collections.abc import Sequence

from typer.testing import CliRunner

from headgate_console.cli.app import app


def help_of(commands: Sequence[Sequence[str]]) -> list[str]:
    """What each command prints for `--help`.

    Raises:
        ValueError: a command is not known.
    """
    runner, texts = CliRunner(), []
    for command in commands:
        printed = runner.invoke(app, [*command, "--help"], prog_name="headgate")
        if printed.exit_code:
            message = f"headgate {' '.join(command)}: {printed.output}"
            raise ValueError(message)
        texts.append(printed.output)
    return texts


if __name__ == "__main__":
    json.dump(help_of(json.load(sys.stdin)), sys.stdout)
