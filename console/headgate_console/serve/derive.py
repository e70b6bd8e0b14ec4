"""The deriver's process: keeps sessions, calls and timelines current with what is sealed."""

import logging
import sys

from headgate_analytics.derive import Deriver
from headgate_console.serve.lifeline import Lifeline, log_to_stderr
from headgate_console.wiring import manifest_state, open_deriver
from headgate_processors.errors import ConfigError, HeadgateError

INTERVAL_S = 1.0
INTERVAL_AFTER_FAILURE_S = 10.0

_LOG = logging.getLogger("deriver")


def main() -> None:
    """Derive until the supervisor says stop, then once more: the receiver has sealed everything by then."""
    lifeline = Lifeline()
    log_to_stderr()
    try:
        with open_deriver(lifeline.settings) as deriver:
            lifeline.tell("ready")
            _follow(deriver, lifeline)
            _derived(deriver, lifeline)
    except HeadgateError as error:
        lifeline.tell("say", text=f"headgate: {error}")
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _follow(deriver: Deriver, lifeline: Lifeline) -> None:
    """Derive whenever the manifest was replaced, until it is time to stop."""
    seen, wait_s = "", 0.0
    while not lifeline.stopping.wait(wait_s):
        state = manifest_state(lifeline.settings.data)
        if state == seen:
            continue
        derived = _derived(deriver, lifeline)
        seen, wait_s = (state, INTERVAL_S) if derived else ("", INTERVAL_AFTER_FAILURE_S)


def _derived(deriver: Deriver, lifeline: Lifeline) -> bool:
    """Whether one run went through; one that did not is tried again, for what it read is still there."""
    try:
        done = deriver.run()
    except Exception:  # noqa: BLE001 - the edge of a worker loop: it logs, counts and tries again
        _LOG.exception("sessions could not be derived; trying again in %d s", INTERVAL_AFTER_FAILURE_S)
        lifeline.tell("facts", facts={"derive_failures": 1})
        return False
    lifeline.tell("facts", facts={"revision": done.revision})
    return True


if __name__ == "__main__":
    main()
