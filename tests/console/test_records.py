"""Values as JSON and CSV."""

import io
import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from headgate_console.render.records import distinct, with_times, write_csv, write_json


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in UTC."""
    with duckdb.connect() as found:
        found.execute("SET TimeZone = 'UTC'")
        yield found


def _value(connection: duckdb.DuckDBPyConnection, expression: str) -> Any:
    out = io.StringIO()
    write_json([{"value": connection.execute(f"SELECT {expression}").fetchall()[0][0]}], out)
    return json.loads(out.getvalue())[0]["value"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("NULL", None),
        ("true", True),
        ("42", 42),
        ("9007199254740993", 9007199254740993),
        ("170141183460469231731687303715884105727::HUGEINT", 170141183460469231731687303715884105727),
        ("(SELECT sum(x) FROM range(5) AS t(x))", 10),
        ("1.5::DOUBLE", 1.5),
        ("'nan'::DOUBLE", "nan"),
        ("0.000000001::DECIMAL(18,9)", "0.000000001"),
        ("12.5::DECIMAL(18,9)", "12.500000000"),
        ("TIMESTAMPTZ '2026-11-24 10:00:00+02'", "2026-11-24T08:00:00Z"),
        ("TIMESTAMP '2026-11-24 10:00:00.25'", "2026-11-24T10:00:00.250000Z"),
        ("DATE '2026-11-24'", "2026-11-24"),
        ("INTERVAL 90 SECOND", "PT90S"),
        ("[1.5::DECIMAL(4,2), NULL]", ["1.50", None]),
        ("{'a': 1, 'b': TIMESTAMPTZ '2026-11-24 00:00:00+00'}", {"a": 1, "b": "2026-11-24T00:00:00Z"}),
        ("MAP {1: 'x'}", {"1": "x"}),
        ("'\\xAA'::BLOB", "qg=="),
        ("'00000000-0000-0000-0000-000000000001'::UUID", "00000000-0000-0000-0000-000000000001"),
        ("'審査 \"x\"'", '審査 "x"'),
    ],
)
def test_each_type_has_one_form_in_json(connection: duckdb.DuckDBPyConnection, expression: str, expected: Any) -> None:
    """Integers of any size are numbers, decimals text, times RFC 3339 in UTC, NULL null, nested values nested."""
    assert expected == _value(connection, expression)


def test_no_rows_are_an_empty_array() -> None:
    """Nothing is `[]`, not nothing."""
    out = io.StringIO()
    write_json([], out)
    assert "[]\n" == out.getvalue()


def test_rows_are_one_array_with_a_row_a_line() -> None:
    """The output is one JSON document that can also be read by line."""
    out = io.StringIO()
    write_json([{"a": 1}, {"a": 2}], out)
    assert '[\n{"a": 1},\n{"a": 2}\n]\n' == out.getvalue()


def test_columns_of_one_name_are_told_apart() -> None:
    """None of them is lost in an object."""
    assert ["a", "b", "a_1", "a_2"] == distinct(["a", "b", "a", "a"])


def test_csv_writes_null_as_nothing() -> None:
    """NULL is empty, a boolean a word, a list JSON, and quotes are doubled."""
    out = io.StringIO()
    write_csv(["a", "b", "c", "d"], [(None, True, [1, "x"], 'say "hi", you')], out)
    assert 'a,b,c,d\n,true,"[1, ""x""]","say ""hi"", you"\n' == out.getvalue()


def test_each_time_in_nanoseconds_is_told_as_people_read_it_too() -> None:
    """What is not known stays so, and nothing else changes."""
    row = {"id": "a", "created_unix_nano": 1_796_037_438_762_822_658, "expires_unix_nano": None}
    times = {"created_time": "2026-11-30T11:17:18.762822Z", "expires_time": None}
    assert {**row, **times} == with_times(row)
