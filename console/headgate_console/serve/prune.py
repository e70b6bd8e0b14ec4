"""The process that takes away what of control's chains is old: apart, so that no decision waits for it.

Its settings are on its standard input, as one line of JSON.
"""

import json
import os
import sys

from headgate_console.control.pruning import prune
from headgate_console.settings import Settings
from headgate_processors.errors import HeadgateError
from headgate_processors.workers.lifeline import die_with_parent

NICE = 10


def main() -> None:
    """Prune once; what went wrong is said on standard error."""
    die_with_parent()
    os.nice(NICE)
    try:
        done = prune(Settings(**json.loads(sys.stdin.readline())))
    except (HeadgateError, OSError) as error:
        sys.exit(str(error))
    for problem in done.kept:
        sys.stderr.write(f"{problem}\n")


if __name__ == "__main__":
    main()
