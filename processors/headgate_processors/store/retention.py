"""Retention: for how long rows of each kind are kept. Days expire whole, by the day on which rows were received."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from headgate_processors.store.damaged import FOLDER
from headgate_processors.store.disk import changed_s, remove
from headgate_processors.store.layout import DAY_NS, day_number
from headgate_processors.store.live import LiveFile

_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "spans": "spans",
        "span_events": "spans",
        "span_links": "spans",
        "log_events": "logs",
        "metric_points": "metrics",
        "content": "content",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """For how many days rows are kept after the day on which they were received; 0 is for ever.

    Derived rows count from the day on which they were last derived.
    """

    spans_days: int = 0
    content_days: int = 0
    logs_days: int = 0
    metrics_days: int = 0
    derived_days: int = 0

    def days_of(self, dataset: str) -> int:
        """For how many days rows of a raw dataset are kept."""
        days: int = getattr(self, f"{_KINDS[dataset]}_days")
        return days

    def expired(self, files: Iterable[LiveFile], *, now_unix_nano: int) -> list[LiveFile]:
        """The raw files of days that are over for longer than their rows are kept."""
        today = now_unix_nano // DAY_NS
        return [file for file in files if not file.derived and _is_over(file, self.days_of(file.dataset), today)]

    def derived_before(self, now_unix_nano: int) -> int | None:
        """Derived rows that were written before this moment are over; None when they never are."""
        if not self.derived_days:
            return None
        return (now_unix_nano // DAY_NS - self.derived_days) * DAY_NS

    def remove_damaged(self, root: Path, *, now_unix_nano: int) -> int:
        """Delete what was set aside and would be over by now: it holds the same rows; how many files."""
        longest = [self.spans_days, self.content_days, self.logs_days, self.metrics_days]
        removed = 0
        for path in (root / FOLDER).rglob("*"):
            kind = path.relative_to(root / FOLDER).parts[0]
            days = self.days_of(kind) if kind in _KINDS else (max(longest) if all(longest) else 0)
            if path.is_file() and days and changed_s(path) * 1e9 < now_unix_nano - (days + 1) * DAY_NS:
                remove(path)
                removed += 1
        return removed


def _is_over(file: LiveFile, days: int, today: int) -> bool:
    if not days or file.day is None:
        return False
    return day_number(file.day) + days < today
