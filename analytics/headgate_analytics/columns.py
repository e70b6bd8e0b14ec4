"""Raw rows as nodes: columns are read as whole columns, and only what a row has becomes a Python value."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headgate_analytics.node import FACT_COLUMNS, PLACE_COLUMNS, Facts, Node


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
        place = [self._values(name, start, stop) for name in ("is_log", *PLACE_COLUMNS)]
        return [
            _node(row, facts) for row, facts in zip(zip(*place, strict=True), self._facts(start, stop), strict=True)
        ]

    def _values(self, name: str, start: int, stop: int) -> Sequence[object]:
        column = self._columns.get(name)
        if column is None:
            return [None] * (stop - start)
        part = column.slice(start, stop - start)
        words = self._words.get(name)
        if words is None:
            values: list[object] = part.to_pylist()
            return values
        return [None if index is None else words[index] for index in part.indices.to_pylist()]

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


def _node(row: Sequence[Any], facts: Facts) -> Node:
    """A node from `is_log` and the values of `PLACE_COLUMNS`; a log that tells how long something took ends then."""
    is_log, record_id, trace_id, span_id, parent_span_id, name, side, start, end, *more = row
    flags, status, event, suspect, witness, service, resource_text = more
    begin: int = start or 0
    if is_log:
        took = facts.get("event_duration_ns")
        end = begin
        begin = max(0, begin - took) if isinstance(took, int) else begin
    return Node(
        record_id=record_id,
        is_log=is_log,
        trace_id=trace_id or None,
        span_id=span_id or None,
        parent_span_id=parent_span_id or None,
        name=name or "",
        start=begin,
        end=end,
        flags=flags or 0,
        status=status or "UNSET",
        event=event or "",
        suspect=bool(suspect),
        witness=witness or "client",
        service=service or None,
        resource_text=resource_text or "{}",
        facts=facts,
        side=side or "UNSPECIFIED",
    )
