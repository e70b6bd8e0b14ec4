"""What a call stands by while it runs: the decision that let it in, or the one that let it go on elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from headgate_control.budgets.amount import NOTHING, Amount
from headgate_control.decide.decision import Logged
from headgate_gateways.model.inbound import Inbound
from headgate_gateways.model.meter import Meter
from headgate_gateways.model.unfinished import Entry


@dataclass(slots=True, kw_only=True)
class Standing:
    """The standing of one call. `skipped` are those that it did not go to, and why; `meter` keeps its reservation.

    `entry` is what another process would tell of it.
    """

    logged: Logged
    skipped: list[str]
    meter: Meter | None = None
    entry: Entry | None = None
    _before: list[Logged] = field(default_factory=list)

    def moved(self, logged: Logged, reserved: Amount | None, inbound: Inbound) -> None:
        """It goes on as `inbound`, by another decision, which has reserved so much in place of what it had."""
        self._before.append(self.logged)
        self.logged = logged
        if self.entry is not None and inbound.asked is not None:
            self.entry.moved(
                decision_id=logged.decision_id,
                provider=inbound.upstream.name,
                request_model=inbound.asked.model,
                reserved_nano_usd=reserved.nano_usd if reserved is not None else 0,
            )
        if self.meter is not None and logged.reservation_id is not None and reserved is not None:
            self.meter.moved(logged.reservation_id, reserved)

    def settlements(self, cost: Amount) -> Iterator[tuple[str, Amount]]:
        """What is to be booked at its end. What it had before cost nothing; of most of that control knows already."""
        for logged, amount in ((self.logged, cost), *((one, NOTHING) for one in self._before)):
            if logged.reservation_id is not None:
                yield logged.reservation_id, amount


def skipped(inbound: Inbound, logged: Logged) -> str:
    """Why a call did not go where it might have: `DOOR/MODEL (DECISION): CODE: REASON`."""
    model = inbound.asked.model if inbound.asked is not None else ""
    return f"{inbound.door}/{model} ({logged.decision_id}): {logged.decision.code}: {logged.decision.reason}"
