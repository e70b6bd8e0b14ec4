"""Values of settings: addresses, lengths of time and sizes, as people write them."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

NOWHERE = "none"
YEARS_MAX = 100
"""The longest length of time: a century from today is a date that every part can write."""
_UNITS_S = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "week", "weeks"), 604800),
}
_UNITS_BYTES = {
    **dict.fromkeys(("", "b", "byte", "bytes"), 1),
    **{unit: 1000 ** (rank + 1) for rank, unit in enumerate(("kb", "mb", "gb", "tb"))},
    **{unit: 1024 ** (rank + 1) for rank, unit in enumerate(("kib", "mib", "gib", "tib"))},
}
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_duration(value: object) -> timedelta:
    """A length of time from `30 min`, `1h30m`, `90` (seconds), or a timedelta itself.

    Raises:
        ValueError: it is something else, negative, or longer than `YEARS_MAX`.
    """
    if isinstance(value, timedelta):
        return value
    parts = _parts(value, _UNITS_S)
    if parts is None:
        message = f"expected a length of time such as `30 min`, `90s` or `1h30m`, got {value!r}"
        raise ValueError(message)
    if sum(parts) > YEARS_MAX * 365 * 86400:
        message = f"expected a length of time of {YEARS_MAX} years at most, got {value!r}"
        raise ValueError(message)
    return timedelta(seconds=sum(parts))


def write_duration(value: timedelta) -> str:
    """The shortest exact writing: `30 min`, `90 s`, `2 h`, `7 d`."""
    seconds = value.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + " s"


def parse_size(value: object) -> int:
    """A number of bytes from `64 MiB`, `1 GB` or `1048576`.

    Raises:
        ValueError: it is something else, or negative.
    """
    parts = _parts(value, _UNITS_BYTES)
    if parts is None or len(parts) != 1:
        message = f"expected a size such as `64 MiB` or a number of bytes, got {value!r}"
        raise ValueError(message)
    return round(parts[0])


def write_size(value: int) -> str:
    """The shortest exact writing: `64 MiB`, or the number of bytes."""
    for unit, length in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value and value % length == 0:
            return f"{value // length} {unit}"
    return f"{value} B"


def parse_free_room(text: str) -> tuple[int | None, float | None]:
    """Bytes and share of a disk from `2 GiB`, `5%`, or `1 GiB or 5%`, which means the smaller of the two.

    Raises:
        ValueError: it is something else.
    """
    size: int | None = None
    share: float | None = None
    for part in re.split(r"\s+or\s+", text.strip()):
        found = _SHARE.fullmatch(part)
        if found is not None and share is None and float(found[1]) <= 100:
            share = float(found[1]) / 100
        elif found is None and size is None:
            size = parse_size(part)
        else:
            message = f"expected free room such as `2 GiB`, `5%` or `1 GiB or 5%`, got {text!r}"
            raise ValueError(message)
    return size, share


def _check_free_room(value: object) -> str:
    text = str(value)
    parse_free_room(text)
    return text


def _parts(value: object, units: dict[str, float]) -> list[float] | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    found = [(number, unit.lower()) for number, unit in _PART.findall(text)]
    whole = bool(found) and not _PART.sub("", text)
    if not whole or any(unit not in units for _, unit in found):
        return None
    return [float(number) * units[unit] for number, unit in found]


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 host stands in brackets.

    Raises:
        ValueError: it is something else.
    """
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isdecimal() or int(port) > 65535 or (":" in bare) != host.startswith("["):
        message = f"expected HOST:PORT such as `127.0.0.1:4317`, got {address!r}"
        raise ValueError(message)
    return bare, int(port)


def _check_address(address: str) -> str:
    split_address(address)
    return address


def _check_address_or_none(address: str) -> str:
    return NOWHERE if address.strip().lower() == NOWHERE else _check_address(address)


Address = Annotated[str, AfterValidator(_check_address)]
OptionalAddress = Annotated[str, AfterValidator(_check_address_or_none)]
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(write_duration),
    WithJsonSchema({"type": ["string", "number"], "description": "such as `30 min`; a bare number is seconds"}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(write_size),
    WithJsonSchema({"type": ["string", "integer"], "description": "such as `64 MiB`; a bare number is bytes"}),
]
FreeRoom = Annotated[
    str,
    BeforeValidator(_check_free_room),
    WithJsonSchema(
        {"type": ["string", "integer"], "description": "such as `2 GiB`, `5%`, or the smaller: `1 GiB or 5%`"}
    ),
]
