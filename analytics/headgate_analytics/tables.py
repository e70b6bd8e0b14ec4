"""Rows of rebuilt sessions as Arrow tables; what all rows of a session share is written once for each session."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from headgate_analytics.reconstruct import Reconstruction
from headgate_analytics.rows import Row
from headgate_analytics.schema import DERIVED
from headgate_processors.schema import LOW, Column


def tables_of(rebuilt: Sequence[Reconstruction]) -> Mapping[str, pa.Table]:
    """The derived tables, by name, with the rows of these sessions in order."""
    shared = [one.shared for one in rebuilt]
    return {name: _table(name, shared, [one.rows(name) for one in rebuilt]) for name in DERIVED}


def _table(name: str, shared: Sequence[Row], rows: Sequence[Sequence[Row]]) -> pa.Table:
    dataset = DERIVED[name]
    flat = [row for listed in rows for row in listed]
    own = flat[0].keys() if flat else frozenset[str]()
    counts = [len(listed) for listed in rows]
    owners = pa.array([number for number, count in enumerate(counts) for _ in range(count)], pa.int32())
    arrays = [
        _own(column, flat) if column.name in own else _shared(column, shared, owners) for column in dataset.columns
    ]
    return pa.Table.from_arrays(arrays, schema=dataset.schema)


def _own(column: Column, rows: Sequence[Row]) -> pa.Array:
    name = column.name
    return _array(column, [row[name] for row in rows])


def _shared(column: Column, shared: Sequence[Row], owners: pa.Array) -> pa.Array:
    """A column that is the same in all rows of a session; NULL where nothing tells it."""
    name = column.name
    values = [row.get(name) for row in shared]
    if not any(value is not None for value in values):
        return pa.nulls(len(owners), column.type)
    return _array(column, values).take(owners)


def _array(column: Column, values: Sequence[object]) -> pa.Array:
    if column.type == LOW:
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, column.type)
