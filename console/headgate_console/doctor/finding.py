"""One thing that the doctor found."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How much it matters: all is well, good to know, or numbers are incomplete until it is mended."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found: a sentence, what to do next, and the rows behind it."""

    topic: str
    level: Level
    text: str
    next_step: str = ""
    details: tuple[str, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()
