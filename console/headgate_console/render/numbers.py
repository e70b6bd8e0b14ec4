"""Numbers as people read them. Unknown is a dash, never a zero."""

from datetime import UTC, datetime
from decimal import Decimal

UNKNOWN = "–"
SECOND_NS = 1_000_000_000


def money(usd: Decimal | None) -> str:
    """US dollars: cents from a dollar on, four places from a cent on, two significant digits below."""
    if usd is None:
        return UNKNOWN
    if usd == 0:
        return "$0"
    size = abs(usd)
    places = 0 if size >= 1000 else 2 if size >= 1 else 4 if size >= Decimal("0.01") else 1 - size.adjusted()
    sign = "-" if usd < 0 else ""
    return f"{sign}${size:,.{places}f}"


def count(value: int | None) -> str:
    """A plain count with thousands apart."""
    return UNKNOWN if value is None else f"{value:,}"


def tokens(value: int | None) -> str:
    """A number of tokens in three significant digits: 950, 41.2k, 1.20M."""
    return UNKNOWN if value is None else _scaled(value, 1000, ("", "k", "M", "G", "T"))


def size(value: int | None) -> str:
    """A number of bytes: 950 B, 41.2 KiB, 1.20 MiB."""
    return UNKNOWN if value is None else _scaled(value, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def _scaled(value: int, base: int, units: tuple[str, ...]) -> str:
    amount, rank = float(value), 0
    while abs(amount) >= base * 0.9995 and rank < len(units) - 1:
        amount, rank = amount / base, rank + 1
    places = 0 if rank == 0 or abs(amount) >= 100 else 1 if abs(amount) >= 10 else 2
    return f"{amount:.{places}f}{units[rank]}"


def duration(ns: int | None) -> str:
    """A length of time in nanoseconds: 312 ms, 3.2 s, 2 m 05 s, 1 h 04 m, 3 d 04 h."""
    if ns is None:
        return UNKNOWN
    seconds = ns / SECOND_NS
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if ns >= SECOND_NS // 1000 or ns == 0 else "<1 ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    return _long_duration(round(seconds))


def _long_duration(seconds: int) -> str:
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour:02d} h"
    return f"{hours} h {minute:02d} m" if hours else f"{minutes} m {second:02d} s"


def share(value: float | Decimal | None) -> str:
    """A share between 0 and 1 in per cent; 100 % and 0 % only when it is exactly that."""
    if value is None:
        return UNKNOWN
    percent = float(value) * 100
    if 99.5 <= percent < 100:
        return ">99 %"
    if 0 < percent < 0.5:
        return "<1 %"
    return f"{percent:.0f} %"


def moment(time: datetime | None) -> str:
    """A time in UTC to the second."""
    return UNKNOWN if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def moment_of_year(time: datetime | None) -> str:
    """A time in UTC to the second, without the year: for lists of what happened lately."""
    return UNKNOWN if time is None else time.astimezone(UTC).strftime("%m-%d %H:%M:%S")


def ago(time: datetime | None, now: datetime) -> str:
    """How long before `now` a time lies; what lies after it is just that."""
    if time is None:
        return UNKNOWN
    seconds = round((now - time).total_seconds())
    if seconds < 0:
        return "in the future"
    return "just now" if seconds < 2 else f"{duration(seconds * SECOND_NS)} ago"


def plural(number: int, one: str, many: str = "") -> str:
    """`1 call`, `2 calls`; `many` where an s is not enough."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
