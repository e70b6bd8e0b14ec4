"""How datasets lie on disk: the paths of their files, what a bucket is taken from, how rows are sorted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType

DAY_NS = 86_400 * 10**9
ANY_BUCKET = "all"
SPILL = "derive.spill"
STITCH = "stitch"
PAST = f"{STITCH}/past.sqlite"
SEQUENCE_DIGITS = 10

_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """`bucket_by`: the first of these columns that is not NULL; `order_by`: the sort of a file."""

    bucket_by: tuple[str, ...]
    order_by: tuple[str, ...]


RAW: Mapping[str, Layout] = MappingProxyType(
    {
        "spans": Layout(bucket_by=("trace_id",), order_by=("trace_id", "start_time_unix_nano")),
        "span_events": Layout(bucket_by=("trace_id",), order_by=("trace_id", "span_id", "ordinal")),
        "span_links": Layout(bucket_by=("trace_id",), order_by=("trace_id", "span_id", "ordinal")),
        "log_events": Layout(
            bucket_by=("trace_id", "session_key"), order_by=("trace_id", "session_key", "time_unix_nano")
        ),
        "metric_points": Layout(bucket_by=("service_name",), order_by=("service_name", "name", "time_unix_nano")),
        "content": Layout(bucket_by=("trace_id", "record_id"), order_by=("trace_id", "span_id", "record_id")),
    }
)
DERIVED = Layout(bucket_by=("session_id",), order_by=("session_id",))


def day_name(day: int) -> str:
    """`2026-11-24`, of the number of days since the epoch."""
    return date.fromordinal(_EPOCH + day).isoformat()


def day_number(name: str) -> int:
    """The number of days since the epoch, of a day's name."""
    return date.fromisoformat(name).toordinal() - _EPOCH


def bucket_name(bucket: int | None) -> str:
    """`03`, or `all` for a file that holds rows of every bucket."""
    return ANY_BUCKET if bucket is None else f"{bucket:02d}"


def raw_path(dataset: str, day: str, bucket: int | None, name: str) -> str:
    """The path of a raw file, relative to the store's folder."""
    return f"{dataset}/day={day}/bucket={bucket_name(bucket)}/{name}.parquet"


def derived_path(table: str, bucket: int | None, name: str) -> str:
    """The path of a derived file, relative to the store's folder."""
    return f"derived/{table}/bucket={bucket_name(bucket)}/{name}.parquet"


def sequence_of(segment: Path) -> tuple[str, int] | None:
    """The writer and number in a segment's name; None for a file that is no segment."""
    writer, _, number = segment.name.removesuffix(".seg").rpartition("-")
    if segment.suffix != ".seg" or not writer or not number.isdecimal():
        return None
    return writer, int(number)
