"""The command line: `headgate COMMAND`. Results on stdout, everything else on stderr; exit code 0, 1 or 2."""

import sys
from collections.abc import Sequence

from headgate_console.cli.app import app
from headgate_processors.errors import ConfigError, HeadgateError

FAILED = 1
BAD_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        app(None if arguments is None else list(arguments), prog_name="headgate")
    except HeadgateError as error:
        sys.stderr.write(f"headgate: {error}\n")
        sys.exit(BAD_USAGE if isinstance(error, ConfigError) else FAILED)
