"""The command line: `headgate COMMAND`. Results on stdout, everything else on stderr; exit code 0, 1 or 2."""

import io
import sys
from collections.abc import Sequence

from headgate_console.cli.app import app
from headgate_console.errors import about_file
from headgate_processors.errors import ConfigError, HeadgateError

FAILED = 1
BAD_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    _never_fail_to_write()
    try:
        app(None if arguments is None else list(arguments), prog_name="headgate")
    except HeadgateError as error:
        sys.stderr.write(f"headgate: {error}\n")
        sys.exit(BAD_USAGE if isinstance(error, ConfigError) else FAILED)
    except OSError as error:
        sys.stderr.write(f"headgate: {about_file(error)}\n")
        sys.exit(FAILED)


def _never_fail_to_write() -> None:
    """A character that a terminal cannot show becomes a question mark, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
