"""What `headgate up` runs: the parts under a supervisor, and the console beside them."""

from collections.abc import Callable
from contextlib import closing

from headgate_console.serve.children import Part
from headgate_console.serve.console import ConsoleServer, address_of, console_app, listen
from headgate_console.serve.supervisor import Supervisor
from headgate_console.serve.uses import ProcessUse, process_use
from headgate_console.settings import Loaded
from headgate_processors.telemetry import Meter, Series
from headgate_processors.telemetry.definition import PARTS as PART_METRICS

PARTS = (
    Part(name="control", module="headgate_console.serve.control", after="receiver"),
    Part(name="receiver", module="headgate_console.serve.receive"),
    Part(name="deriver", module="headgate_console.serve.derive"),
)
DEFAULT = "default"


def serve(loaded: Loaded, *, out: Callable[[str], None], say: Callable[[str], None]) -> int:
    """Run everything until a signal; the exit code of the process.

    `out` gets one line per listener as soon as it takes requests, `say` what people should know.

    Raises:
        CommandError: the console's address cannot be had.
    """
    settings = loaded.settings
    chosen = loaded.origin("console.listen") != DEFAULT
    supervisor = Supervisor(PARTS, settings.model_dump(mode="json"), out=out, say=say)
    with closing(listen(settings.console.listen, chosen=chosen)) as sock:
        address = address_of(sock)
        if not address.endswith(settings.console.listen.rpartition(":")[2]) and not chosen:
            say(f"{settings.console.listen} is taken: the console listens on {address}; choose with console.listen.")
        meter = supervisor_meter(supervisor)
        with ConsoleServer(console_app(supervisor, lambda: metrics(supervisor, meter)), sock):
            out(f"ready console {address}")
            return supervisor.run()


def supervisor_meter(supervisor: Supervisor) -> Meter:
    """What the supervisor tells of its parts."""

    def used(read: Callable[[ProcessUse], float]) -> Series:
        found = {name: process_use(state.child.pid) for name, state in supervisor.states.items() if state.child}
        return {(name,): read(use) for name, use in found.items() if use is not None}

    meter = Meter("headgate", metrics=PART_METRICS)
    meter.watch("headgate_part_ready", lambda: {(name,): state.ready for name, state in supervisor.states.items()})
    meter.watch(
        "headgate_part_restarts_total",
        lambda: {(name,): max(state.starts - 1, 0) for name, state in supervisor.states.items()},
    )
    meter.watch("headgate_part_cpu_seconds_total", lambda: used(lambda use: use.cpu_s))
    meter.watch("headgate_part_memory_bytes", lambda: used(lambda use: use.memory_bytes))
    return meter


def metrics(supervisor: Supervisor, meter: Meter) -> str:
    """The Prometheus text of the supervisor, and that which every part told last."""
    texts = [str(state.facts["metrics"]) for state in supervisor.states.values() if "metrics" in state.facts]
    return "".join([meter.prometheus(), *texts])
