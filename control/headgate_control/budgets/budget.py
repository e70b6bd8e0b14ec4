"""A ceiling on what a scope spends in a window of time."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from headgate_control.budgets.amount import Limits

Scope = Literal["platform", "team", "user", "workflow", "task_class", "model", "session", "instance"]
Window = Literal["total", "hour", "day", "month"]
Mode = Literal["hard", "soft"]
Place = tuple[Scope, str]
"""A scope and whose: `("team", "payments")`; that of the platform is `("platform", "")`."""

TURNS_KEPT_MAX = 256
_FORMATS: dict[Window, str] = {"total": "", "hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}
_S_PER_HOUR = 3_600
_NS_PER_HOUR = _S_PER_HOUR * 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What `place` may spend in each window; a `soft` one warns and refuses nothing."""

    budget_id: str
    place: Place
    window: Window
    limits: Limits
    mode: Mode = "hard"

    def turn(self, at_unix_nano: int) -> str:
        """The window that a moment falls into, in UTC: `2026-11-30`, or nothing where there is only one."""
        return _turn(self.window, at_unix_nano // _NS_PER_HOUR) if self.window != "total" else ""


@lru_cache(maxsize=TURNS_KEPT_MAX)
def _turn(window: Window, hour: int) -> str:
    return datetime.fromtimestamp(hour * _S_PER_HOUR, UTC).strftime(_FORMATS[window])
