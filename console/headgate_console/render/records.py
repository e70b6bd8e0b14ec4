"""Values as JSON and CSV: integers as numbers, decimals as text, times in RFC 3339 and UTC, NULL as null."""

import base64
import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TextIO
from uuid import UUID

_NANO = "_unix_nano"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plain(value: Any) -> Any:
    """A value of DuckDB as what JSON knows."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping():
            return {_key(name): plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case _:
            return _text(value)


def _key(name: Any) -> str:
    plainly = plain(name)
    return plainly if isinstance(plainly, str) else json.dumps(plainly)


def _text(value: Any) -> str:
    match value:
        case Decimal():
            return format(value, "f")
        case datetime():
            return rfc3339(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return f"PT{value / timedelta(seconds=1):.6f}".rstrip("0").rstrip(".") + "S"
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case UUID():
            return str(value)
        case _:
            return str(value)


def rfc3339(moment: datetime) -> str:
    """A time in UTC as RFC 3339; one without an offset is UTC already."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat().replace("+00:00", "Z")


def with_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with each `NAME_unix_nano` told once more as `NAME_time`, to the microsecond, as the views have it."""
    told: dict[str, Any] = {}
    for key, value in row.items():
        told[key] = value
        if key.endswith(_NANO):
            told[key.removesuffix(_NANO) + "_time"] = None if value is None else rfc3339(_moment(value))
    return told


def _moment(unix_nano: int) -> datetime:
    return _EPOCH + timedelta(microseconds=unix_nano // 1_000)


def distinct(names: Sequence[str]) -> list[str]:
    """The names of columns, later ones of the same name with `_1`, `_2` …, so that none is lost."""
    seen: dict[str, int] = {}
    result: list[str] = []
    for name in names:
        number = seen.get(name, 0)
        seen[name] = number + 1
        result.append(f"{name}_{number}" if number else name)
    return result


def write_json(rows: Iterable[Mapping[str, Any]], out: TextIO) -> None:
    """Write rows as one JSON array, one object a line; no rows are `[]`."""
    first = True
    for row in rows:
        out.write("[\n" if first else ",\n")
        out.write(json.dumps(plain(row), ensure_ascii=False))
        first = False
    out.write("[]\n" if first else "\n]\n")


def write_csv(names: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO) -> None:
    """Write a heading and rows as CSV; NULL is empty, nested values are JSON."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_field(value) for value in row] for row in rows)


def _field(value: Any) -> Any:
    plainly = plain(value)
    if isinstance(plainly, bool):
        return "true" if plainly else "false"
    return json.dumps(plainly, ensure_ascii=False) if isinstance(plainly, dict | list) else plainly
