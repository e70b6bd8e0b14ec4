"""What control tells of itself on `/metrics`."""

import asyncio
from collections.abc import Callable

from headgate_console.control.parts import Parts
from headgate_console.control.rounds import Round
from headgate_processors.telemetry import Meter

EVERY_S = 1.0


def measured(meter: Meter, parts: Parts, tell: Callable[[str], None]) -> Round:
    """A round that gives the Prometheus text of control to `tell`."""
    meter.watch("headgate_control_refused_total", parts.refusals.counts.copy)
    meter.watch("headgate_control_policies_refused", lambda: {(): parts.policies.problem is not None})

    async def work() -> None:
        tell(await asyncio.to_thread(meter.prometheus))

    return Round(what="the figures of control are not told", work=work, every_s=EVERY_S, is_last=False)
