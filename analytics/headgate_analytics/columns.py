"""Raw rows as nodes: columns are read as whole columns, and only what a row has becomes a Python value."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headgate_analytics.node import FACT_COLUMNS, Node

# What a node needs besides its facts, in the order of its fields, and what stands where a row does not tell it.
_PLACE: Mapping[str, object] = {
    "record_id": None,
    "is_log": False,
    "trace_id": None,
    "span_id": None,
    "parent_span_id": None,
    "name": "",
    "start_time_unix_nano": 0,
    "end_time_unix_nano": None,
    "flags": 0,
    "status_code": "UNSET",
    "event_name": "",
    "time_suspect": False,
    "witness": "client",
    "service_name": None,
    "resource_attributes": "{}",
    "kind": "UNSPECIFIED",
}


class NodeColumns:
    """Makes nodes of the rows of one table, a range at a time; texts of dictionary columns are shared by all rows.

    The table has `PLACE_COLUMNS` and `FACT_COLUMNS` and the flag `is_log`, one chunk each; what is missing is NULL.
    """

    def __init__(self, table: pa.Table) -> None:
        self._columns = {name: single(table.column(name)) for name in table.column_names}
        self._words = {
            name: column.dictionary.to_pylist()
            for name, column in self._columns.items()
            if pa.types.is_dictionary(column.type)
        }

    def nodes(self, start: int, stop: int) -> list[Node]:
        """The nodes of the rows from `start` to before `stop`."""
        facts = self._facts(start, stop)
        told = [self._values(name, start, stop, instead) for name, instead in _PLACE.items()]
        nodes = list(map(Node, *told, facts))
        for node in nodes:
            if node.is_log:
                _begin(node)
        return nodes

    def _values(self, name: str, start: int, stop: int, instead: object) -> Sequence[Any]:
        """A column of the rows, with `instead` where it is NULL."""
        column = self._columns.get(name)
        if column is None or column.null_count == len(column):
            return [instead] * (stop - start)
        part = column.slice(start, stop - start)
        words = self._words.get(name)
        if words is None:
            part = part if instead is None else part.fill_null(instead)
            values: list[object] = part.to_pylist()
            return values
        return [instead if index is None else words[index] or instead for index in part.indices.to_pylist()]

    def _facts(self, start: int, stop: int) -> list[dict[str, object]]:
        """What each row says, without what it does not."""
        found: list[dict[str, object]] = [{} for _ in range(stop - start)]
        for name in FACT_COLUMNS:
            column = self._columns.get(name)
            part = None if column is None else column.slice(start, stop - start)
            if part is None or part.null_count == len(part):
                continue
            rows: Sequence[dict[str, object]] = found
            if part.null_count:
                rows = [found[row] for row in np.flatnonzero(part.is_valid()).tolist()]
                part = part.drop_null()
            words = self._words.get(name)
            if words is None:
                for facts, value in zip(rows, part.to_pylist(), strict=True):
                    facts[name] = value
            else:
                for facts, index in zip(rows, part.indices.to_pylist(), strict=True):
                    facts[name] = words[index]
        return found


def single(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _begin(log: Node) -> None:
    """A log ends when it was written, and began before that where it tells how long something took."""
    log.end = log.start
    took = log.facts.get("event_duration_ns")
    if isinstance(took, int):
        log.start = max(0, log.start - took)
