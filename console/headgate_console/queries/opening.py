"""The connection that questions are asked on, by the settings."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from headgate_analytics import views

if TYPE_CHECKING:
    import duckdb

    from headgate_console.settings import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def open_views(
    settings: "Settings", *, now: datetime | None = None, only: Collection[str] | None = None
) -> "duckdb.DuckDBPyConnection":
    """A read-only connection with every view of the store, or those that `only` names.

    Idle sessions are judged as of `now`.

    Raises:
        StoreError: the folder holds no store.
    """
    return views.open_views(
        settings.data,
        idle_gap_ns=nanoseconds(settings.sessions.idle_gap),
        now_unix_nano=None if now is None else nanoseconds(now - EPOCH),
        only=only,
    )


def nanoseconds(length: timedelta) -> int:
    """A length of time in nanoseconds."""
    return length // timedelta(microseconds=1) * 1000
