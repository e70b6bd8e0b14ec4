"""What `headgate up` runs: the parts under a supervisor, and the console beside them."""

from collections.abc import Callable
from contextlib import closing

from headgate_console.serve.children import Part
from headgate_console.serve.console import ConsoleServer, address_of, console_app, listen
from headgate_console.serve.supervisor import Supervisor
from headgate_console.settings import Loaded

PARTS = (
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
        with ConsoleServer(console_app(supervisor, lambda: metrics(supervisor)), sock):
            out(f"ready console {address}")
            return supervisor.run()


def metrics(supervisor: Supervisor) -> str:
    """The Prometheus text of every part, and of the supervisor itself."""
    own = ["# HELP headgate_part_ready Whether a part takes work.", "# TYPE headgate_part_ready gauge"]
    own += [f'headgate_part_ready{{part="{name}"}} {int(state.ready)}' for name, state in supervisor.states.items()]
    texts = [str(state.facts["metrics"]) for state in supervisor.states.values() if "metrics" in state.facts]
    return "\n".join([*own, *texts])
