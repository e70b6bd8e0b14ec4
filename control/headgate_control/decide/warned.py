"""Says in the log that a soft budget is passed: once for each window of it."""

import logging
from collections import OrderedDict
from collections.abc import Iterable

from headgate_control.budgets.ledger import Excess

WINDOWS_MAX = 4_096
_LOG = logging.getLogger(__name__)


class Warned:
    """Remembers the last `WINDOWS_MAX` windows that it has told of. For one event loop."""

    def __init__(self, enforcement_point: str) -> None:
        self._point = enforcement_point
        self._told: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def __call__(self, passed: Iterable[Excess], *, at_unix_nano: int) -> None:
        """A request has passed these budgets and was let through."""
        for excess in passed:
            key = (excess.budget.budget_id, excess.budget.turn(at_unix_nano), excess.unit)
            if key in self._told:
                continue
            self._told[key] = None
            if len(self._told) > WINDOWS_MAX:
                self._told.popitem(last=False)
            _LOG.warning("%s: passed, and nothing is refused for it, at %s", excess, self._point)
