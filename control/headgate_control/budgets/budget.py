"""A ceiling on what a scope spends in a window of time."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from headgate_control.budgets.amount import Limits

Scope = Literal["platform", "team", "user", "workflow", "task_class", "model", "session", "instance"]
Window = Literal["total", "hour", "day", "month"]
Mode = Literal["hard", "soft"]
Place = tuple[Scope, str]
"""A scope and whose: `("team", "payments")`; that of the platform is `("platform", "")`."""

_FORMATS: dict[Window, str] = {"total": "", "hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}
_NS_PER_S = 1_000_000_000


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
        return datetime.fromtimestamp(at_unix_nano // _NS_PER_S, UTC).strftime(_FORMATS[self.window])
