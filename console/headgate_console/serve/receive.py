"""The receiver's process: the store, the pipeline into it and the OTLP servers."""

import gc
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import closing

from headgate_console.cli.up import BEHIND_PLATFORM
from headgate_console.errors import about_file
from headgate_console.serve.lifeline import Lifeline, log_to_stderr
from headgate_console.serve.measures import open_meter, unready, watch_receiver
from headgate_console.settings import Settings
from headgate_console.settings.definition import ReceiverSettings
from headgate_console.wiring import build_intake, build_receiver, open_preparer, open_store, workers_of
from headgate_processors.errors import ConfigError, HeadgateError
from headgate_processors.receiver.server import Receiver

DRAIN_S = 20.0
METRICS_INTERVAL_S = 1.0
EXPIRE_INTERVAL_S = 3600.0
FREE_PORT = "127.0.0.1:0"
FILES_MAX = 65_536


def main() -> None:
    """Serve until the supervisor says stop, then answer what is in flight and seal everything."""
    lifeline = Lifeline(gives_way=True)
    log_to_stderr()
    allow_files()
    try:
        _serve(lifeline)
    except HeadgateError as error:
        lifeline.tell("say", text=f"headgate: {error}")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except OSError as error:
        lifeline.tell("say", text=f"headgate: {about_file(error)}")
        sys.exit(1)


def allow_files() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve(lifeline: Lifeline) -> None:
    settings = lifeline.settings
    with (
        closing(open_store(settings, compact_apart=True)) as store,
        open_preparer(settings, workers=workers_of(settings)) as preparer,
    ):
        if store.recovered.segments or store.recovered.leftovers:
            lifeline.tell("say", text=f"{settings.data}: {store.recovered}.")
        meter = open_meter("headgate-receiver", settings)
        intake = build_intake(settings, store, preparer, meter=meter)
        watch_receiver(meter, store=store, preparer=preparer, pipeline=intake.ingest, folder=settings.data)
        receiver = build_receiver(settings, intake)
        for name, address in started(receiver, settings, lifeline).items():
            lifeline.tell("listening", name=f"otlp-{name}", address=address, setting=f"receiver.{name}")
        # What is there now stays to the end: the collector need not look at it again and again.
        gc.freeze()
        lifeline.tell("ready")
        expired_at_s = time.monotonic()
        told: str | None = None
        while not lifeline.stopping.wait(METRICS_INTERVAL_S):
            why = unready(store, preparer)
            if why != told:
                receiver.set_unready(why)
                lifeline.tell("ready" if why is None else "unready", why=why)
                told = why
            lifeline.tell("facts", facts={"metrics": meter.prometheus()})
            if time.monotonic() - expired_at_s > EXPIRE_INTERVAL_S:
                expired_at_s = time.monotonic()
                intake.letters.expire()
        if not receiver.drain(DRAIN_S):
            lifeline.tell("say", text="Some requests were cut off unanswered; their senders send them again.")
        meter.close()


def started(receiver: Receiver, settings: Settings, lifeline: Lifeline) -> Mapping[str, str]:
    """Where each listener is. The default port of our own parts gives way to a free one when it is taken."""
    default = ReceiverSettings().platform
    is_default = settings.receiver.platform in {default, BEHIND_PLATFORM}
    addresses = receiver.start(otherwise={"platform": FREE_PORT} if is_default else None)
    wanted = settings.receiver.platform
    if is_default and addresses.get("platform", wanted) != wanted:
        taken = f"{wanted} is taken: Headgate's own parts send to {addresses['platform']}"
        lifeline.tell("say", text=f"{taken}; choose with receiver.platform.")
    return addresses


if __name__ == "__main__":
    main()
