"""The receiver's process: the store, the pipeline into it and the OTLP servers."""

import sys
import time
from contextlib import closing

from headgate_console.serve.lifeline import Lifeline, log_to_stderr
from headgate_console.wiring import build_intake, build_receiver, open_preparer, open_store, workers_of
from headgate_processors.errors import ConfigError, HeadgateError

DRAIN_S = 20.0
METRICS_INTERVAL_S = 1.0
EXPIRE_INTERVAL_S = 3600.0


def main() -> None:
    """Serve until the supervisor says stop, then answer what is in flight and seal everything."""
    lifeline = Lifeline()
    log_to_stderr()
    try:
        _serve(lifeline)
    except HeadgateError as error:
        lifeline.tell("say", text=f"headgate: {error}")
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _serve(lifeline: Lifeline) -> None:
    settings = lifeline.settings
    with (
        closing(open_store(settings)) as store,
        open_preparer(settings, workers=workers_of(settings)) as preparer,
    ):
        if store.recovered.segments or store.recovered.leftovers:
            lifeline.tell("say", text=f"{settings.data}: {store.recovered}.")
        intake = build_intake(settings, store, preparer)
        receiver = build_receiver(settings, intake)
        for name, address in receiver.start().items():
            lifeline.tell("listening", name=f"otlp-{name}", address=address, setting=f"receiver.{name}")
        lifeline.tell("ready")
        expired_at_s = time.monotonic()
        while not lifeline.stopping.wait(METRICS_INTERVAL_S):
            lifeline.tell("facts", facts={"metrics": intake.counters.prometheus()})
            if time.monotonic() - expired_at_s > EXPIRE_INTERVAL_S:
                expired_at_s = time.monotonic()
                intake.letters.expire()
        if not receiver.drain(DRAIN_S):
            lifeline.tell("say", text="Some requests were cut off unanswered; their senders send them again.")


if __name__ == "__main__":
    main()
