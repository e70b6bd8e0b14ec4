"""The deriver's process: keeps sessions, calls and timelines current with what is sealed."""

import logging
import os
import sys
import time
from pathlib import Path

from headgate_analytics.derive import Deriver
from headgate_console.errors import about_file
from headgate_console.serve.lifeline import Lifeline, log_to_stderr
from headgate_console.serve.measures import open_meter
from headgate_console.wiring import MANIFEST, manifest_state, open_deriver
from headgate_processors.errors import ConfigError, HeadgateError
from headgate_processors.memory import give_back
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.quarantine import set_aside_damaged

INTERVAL_S = 1.0
INTERVAL_MAX_S = 5.0
INTERVAL_AFTER_FAILURE_S = 10.0
NICE = 10
ROWS_MAX_EACH_CORE = 100_000

_LOG = logging.getLogger("deriver")


def main() -> None:
    """Derive until the supervisor says stop, then once more: the receiver has sealed everything by then."""
    lifeline = Lifeline(gives_way=True)
    log_to_stderr()
    give_way()
    try:
        with open_deriver(lifeline.settings, rows_max=ROWS_MAX_EACH_CORE * (os.cpu_count() or 1)) as deriver:
            run = Run(deriver, lifeline)
            lifeline.tell("ready")
            run.follow()
            while run.once() and run.is_behind:
                pass
            run.meter.close()
    except HeadgateError as error:
        lifeline.tell("say", text=f"headgate: {error}")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except OSError as error:
        lifeline.tell("say", text=f"headgate: {about_file(error)}")
        sys.exit(1)


def give_way() -> None:
    """Let the receiver go first: what is not acknowledged may be lost, what is derived a moment later is not."""
    os.nice(NICE)


class Run:
    """Derives whenever the manifest was replaced, and tells how that goes."""

    def __init__(self, deriver: Deriver, lifeline: Lifeline) -> None:
        self._deriver, self._lifeline = deriver, lifeline
        self._runs = self._failures = self._revision = 0
        self._lag_s = self._behind_since_s = 0.0
        self.is_behind = False
        self.meter = open_meter("headgate-deriver", lifeline.settings)
        self.meter.watch("headgate_deriver_runs_total", lambda: {(): self._runs})
        self.meter.watch("headgate_deriver_failures_total", lambda: {(): self._failures})
        self.meter.watch("headgate_deriver_revision", lambda: {(): self._revision})
        self.meter.watch("headgate_deriver_lag_seconds", lambda: {(): self._lag_s})

    def follow(self) -> None:
        """Derive whenever there is something, until it is time to stop."""
        seen, wait_s = "", 0.0
        while not self._lifeline.stopping.wait(wait_s):
            state = manifest_state(self._lifeline.settings.data)
            if state == seen:
                wait_s = INTERVAL_S
                continue
            began_s = time.monotonic()
            derived = self.once()
            took_s = time.monotonic() - began_s
            seen, wait_s = (state, pause_s(took_s)) if derived else ("", INTERVAL_AFTER_FAILURE_S)
            if derived and self.is_behind:
                seen, wait_s = "", 0.0

    def once(self) -> bool:
        """Whether one run went through; one that did not is tried again, for what it read is still there."""
        began_s, changed = time.monotonic(), changed_s(self._lifeline.settings.data)
        sealed_s = self._behind_since_s or changed
        try:
            done = self._deriver.run()
        except Exception:  # noqa: BLE001 - the edge of a worker loop: it logs, counts and tries again
            _LOG.exception("sessions could not be derived; trying again in %d s", INTERVAL_AFTER_FAILURE_S)
            self._failures += 1
            self._set_aside()
            self._tell()
            return False
        self._runs += 1
        self._revision = done.revision
        self.is_behind = done.files_left > 0
        self._behind_since_s = sealed_s if self.is_behind else 0.0
        self._lag_s = max(0.0, time.time() - sealed_s) if sealed_s else 0.0
        self.meter.record("headgate_deriver_run_seconds", time.monotonic() - began_s)
        self._tell()
        give_back()
        return True

    def _set_aside(self) -> None:
        """A file that turns out to be damaged must not keep all others from being derived."""
        try:
            set_aside_damaged(self._lifeline.settings.data, disk=LocalDisk())
        except (OSError, HeadgateError) as error:
            _LOG.error("damaged files could not be set aside: %s", error)

    def _tell(self) -> None:
        facts = {"revision": self._revision, "derive_failures": self._failures, "metrics": self.meter.prometheus()}
        self._lifeline.tell("facts", facts=facts)


def pause_s(took_s: float) -> float:
    """How long to wait after a run that took so long: as long again, within bounds.

    A session that goes on is made anew in every run, so fewer runs are less work for each span when there is much.
    """
    return min(max(INTERVAL_S, took_s), INTERVAL_MAX_S)


def changed_s(data: Path) -> float:
    """When the manifest of a store was replaced last, in seconds since the epoch; 0 while there is none."""
    try:
        return (data / MANIFEST).stat().st_mtime
    except FileNotFoundError:
        return 0.0


if __name__ == "__main__":
    main()
