"""The process of control and the model gateway."""

import asyncio
import sys

from headgate_console.control.measures import measured
from headgate_console.control.parts import Parts, open_parts
from headgate_console.control.rounds import Round
from headgate_console.control.serving import serve
from headgate_console.errors import about_file
from headgate_console.serve.lifeline import Lifeline, log_to_stderr
from headgate_console.serve.receive import allow_files
from headgate_gateways.promptness import be_prompt
from headgate_processors.errors import ConfigError, HeadgateError
from headgate_processors.telemetry import Meter
from headgate_processors.telemetry.definition import CONTROL


def main() -> None:
    """Serve until the supervisor says stop."""
    lifeline = Lifeline()
    log_to_stderr()
    allow_files()
    try:
        with open_parts(lifeline.settings) as parts:
            be_prompt()
            asyncio.run(
                serve(
                    lifeline.settings,
                    parts,
                    lambda name, address, setting: lifeline.tell(
                        "listening", name=name, address=address, setting=setting
                    ),
                    lambda: lifeline.tell("ready"),
                    lifeline.stopping,
                    more=[figures(lifeline, parts)],
                )
            )
    except HeadgateError as error:
        lifeline.tell("say", text=f"headgate: {error}")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except OSError as error:
        lifeline.tell("say", text=f"headgate: {about_file(error)}")
        sys.exit(1)


def figures(lifeline: Lifeline, parts: Parts) -> Round:
    """Tells the supervisor what control counts, as it is shown on `/metrics`."""
    receiver = lifeline.settings.receiver
    own = receiver.grpc, receiver.http, receiver.platform
    meter = Meter("headgate-control", metrics=CONTROL, own=own, export=True)
    return measured(meter, parts, lambda text: lifeline.tell("facts", facts={"metrics": text}))


if __name__ == "__main__":
    main()
