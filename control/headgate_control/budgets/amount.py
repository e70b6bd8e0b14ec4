"""What is spent, in whole numbers of four units that are never converted into each other."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Literal

Unit = Literal["usd", "tokens", "calls", "seconds"]
NANO_USD = 1_000_000_000
MS_PER_S = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Billionths of a dollar, tokens, calls and milliseconds of wall time."""

    nano_usd: int = 0
    tokens: int = 0
    calls: int = 0
    duration_ms: int = 0

    def __post_init__(self) -> None:
        if self.nano_usd < 0 or self.tokens < 0 or self.calls < 0 or self.duration_ms < 0:
            raise ValueError(f"nothing is spent that is less than nothing: {self}")

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            nano_usd=self.nano_usd + other.nano_usd,
            tokens=self.tokens + other.tokens,
            calls=self.calls + other.calls,
            duration_ms=self.duration_ms + other.duration_ms,
        )

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(
            nano_usd=self.nano_usd - other.nano_usd,
            tokens=self.tokens - other.tokens,
            calls=self.calls - other.calls,
            duration_ms=self.duration_ms - other.duration_ms,
        )

    def or_more(self, other: "Amount") -> "Amount":
        """The greater of both, unit by unit."""
        return Amount(
            nano_usd=max(self.nano_usd, other.nano_usd),
            tokens=max(self.tokens, other.tokens),
            calls=max(self.calls, other.calls),
            duration_ms=max(self.duration_ms, other.duration_ms),
        )

    def of(self, unit: Unit) -> int:
        """How much of one unit, in its smallest parts."""
        if unit == "usd":
            return self.nano_usd
        if unit == "tokens":
            return self.tokens
        return self.calls if unit == "calls" else self.duration_ms


NOTHING = Amount()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that may be spent of each unit, in its smallest parts; None leaves a unit free."""

    nano_usd: int | None = None
    tokens: int | None = None
    calls: int | None = None
    duration_ms: int | None = None

    def items(self) -> list[tuple[Unit, int]]:
        """The units that are limited, and their limits."""
        found: list[tuple[Unit, int]] = []
        if self.nano_usd is not None:
            found.append(("usd", self.nano_usd))
        if self.tokens is not None:
            found.append(("tokens", self.tokens))
        if self.calls is not None:
            found.append(("calls", self.calls))
        if self.duration_ms is not None:
            found.append(("seconds", self.duration_ms))
        return found


def nano_usd(usd: Decimal) -> int:
    """Dollars as billionths, rounded up so that no cost is ever forgotten."""
    return int((usd * NANO_USD).to_integral_value(ROUND_CEILING))


def shown(unit: Unit, value: int) -> str:
    """An amount of one unit as people read it: `$0.25`, `1200 tokens`."""
    if unit == "usd":
        text = f"{Decimal(value) / NANO_USD:f}"
        whole, _, part = text.partition(".")
        return f"${whole}.{part.rstrip('0').ljust(2, '0')}"
    if unit == "seconds":
        return f"{Decimal(value) / MS_PER_S:f} s"
    return f"{value} {unit}"
