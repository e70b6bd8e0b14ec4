"""A DuckDB connection with the derived views' columns, filled with rows that say only what matters."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from headgate_analytics.schema import DERIVED
from headgate_processors.schema import Dataset

START = 1_763_000_000_000_000_000
SECOND = 1_000_000_000
ID = "3f9c1c0b" + "0" * 24

Views = Callable[[Mapping[str, Sequence[Mapping[str, Any]]]], duckdb.DuckDBPyConnection]


def _empty(type_: pa.DataType) -> Any:
    if pa.types.is_list(type_):
        return []
    if pa.types.is_integer(type_):
        return 0
    return False if pa.types.is_boolean(type_) else ""


def _row(dataset: Dataset, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(given) - {column.name for column in dataset.columns}
    assert unknown == set()
    return {
        column.name: given.get(column.name, None if column.nullable else _empty(column.type))
        for column in dataset.columns
    }


def _create(connection: duckdb.DuckDBPyConnection, dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> None:
    table = pa.Table.from_pylist([_row(dataset, row) for row in rows], schema=dataset.schema)
    times = [column.name for column in dataset.columns if column.name.endswith("_time_unix_nano")]
    added = [f"make_timestamptz({name} // 1000) AS {name.removesuffix('_unix_nano')}" for name in times]
    if dataset.name == "timeline":
        added.append("make_timestamptz(unix_nano // 1000) AS time")
    connection.register("given", table)
    connection.execute(f"CREATE TABLE {dataset.name} AS SELECT {', '.join(['*', *added])} FROM given")
    connection.unregister("given")


@pytest.fixture
def views() -> Iterator[Views]:
    """Make a connection whose derived views hold the rows given; what a row leaves out is NULL or empty."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def make(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> duckdb.DuckDBPyConnection:
            for name, dataset in DERIVED.items():
                _create(connection, dataset, rows.get(name, ()))
            return connection

        yield make


@pytest.fixture
def session_row() -> Callable[..., dict[str, Any]]:
    """Make a row of `sessions`: a finished session of `fixer`, changed by what is given."""

    def make(**changes: Any) -> dict[str, Any]:
        row = {
            "tenant": "default",
            "session_id": ID,
            "identity_source": "claimed",
            "agent_name": "fixer",
            "team": "payments",
            "workflow": "fix-tests",
            "user_id": "ada",
            "service_name": "claude-code",
            "witnesses": ["client"],
            "session_source": "attribute",
            "source_key": "thread-1",
            "task": "Fix the failing test in calc.py",
            "state": "done",
            "start_time_unix_nano": START,
            "end_time_unix_nano": START + 41 * SECOND,
            "last_activity_time_unix_nano": START + 41 * SECOND,
            "duration_ns": 41 * SECOND,
            "agent_names": ["fixer", "reviewer"],
            "models": ["claude-sonnet-4-5"],
            "model_call_count": 6,
            "tool_call_count": 5,
            "tool_error_count": 1,
            "retry_count": 1,
            "handoff_count": 1,
            "input_tokens": 41_200,
            "cache_read_tokens": 38_100,
            "output_tokens": 2_100,
            "reasoning_tokens": 800,
            "cost_usd": Decimal("0.0813"),
            "cost_priced_share": 1.0,
        }
        return row | changes

    return make


@pytest.fixture
def call_row() -> Callable[..., dict[str, Any]]:
    """Make a row of `model_calls`: a priced call of `fixer`, changed by what is given."""

    def make(**changes: Any) -> dict[str, Any]:
        row = {
            "model_call_id": "c1",
            "session_id": ID,
            "agent_name": "fixer",
            "team": "payments",
            "workflow": "fix-tests",
            "start_time_unix_nano": START,
            "operation": "chat",
            "provider": "anthropic",
            "model": "claude-sonnet-4-5",
            "status": "ok",
            "input_tokens": 1000,
            "output_tokens": 100,
            "cost_usd": Decimal("0.01"),
        }
        return row | changes

    return make


@pytest.fixture
def entry() -> Callable[..., dict[str, Any]]:
    """Make a row of `timeline`, `at_s` and `took_s` in seconds from the start."""

    def make(
        seq: int, kind: str, title: str, *, at_s: float, took_s: float | None = None, **more: Any
    ) -> dict[str, Any]:
        return {
            "session_id": ID,
            "seq": seq,
            "kind": kind,
            "title": title,
            "unix_nano": START + round(at_s * SECOND),
            "duration_ns": None if took_s is None else round(took_s * SECOND),
            "status": None,
            "cost_usd": None,
            "cost_so_far_usd": None,
            "actor": "fixer",
            "depth": 0,
            "parent_seq": None,
            **more,
        }

    return make
