"""Rows of rebuilt sessions as Arrow tables; what all rows of a session share is written once for each session."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter

import pyarrow as pa

from headgate_analytics.reconstruct import Reconstruction
from headgate_analytics.rows import Row
from headgate_analytics.schema import DERIVED, WHO
from headgate_analytics.shares import Share
from headgate_processors.schema import LOW, Column, Dataset


def tables_of(rebuilt: Iterable[Reconstruction]) -> Mapping[str, pa.Table]:
    """The derived tables, by name, with the rows of these sessions in order."""
    gathered = {name: _Rows() for name in DERIVED}
    shared: list[Row] = []
    for one in rebuilt:
        parts: list[Reconstruction | Share] = [one, *one.of_others]
        for part in parts:
            for name, rows in gathered.items():
                rows.add(part.rows(name), owner=len(shared))
            shared.append(part.shared)
    common = {column.name: array for column in WHO if (array := _shared(column, shared)) is not None}
    return {name: _table(DERIVED[name], rows, common) for name, rows in gathered.items()}


class _Rows:
    """Rows of one table as tuples, each read once, while it is new; `owners` are the numbers of their sessions."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.owners: list[int] = []
        self._rows: list[tuple[object, ...]] = []
        self._values_of: Callable[[Row], tuple[object, ...]] | None = None

    def add(self, rows: Sequence[Row], owner: int) -> None:
        """Take the rows of a session, which have the columns of the first one."""
        if not rows:
            return
        if self._values_of is None:
            self.names = tuple(rows[0])
            self._values_of = itemgetter(*self.names)
        self._rows.extend(map(self._values_of, rows))
        self.owners.extend([owner] * len(rows))

    def columns(self) -> dict[str, tuple[object, ...]]:
        """What was taken, by column."""
        return dict(zip(self.names, zip(*self._rows, strict=True), strict=True))


def _table(dataset: Dataset, rows: _Rows, shared: Mapping[str, pa.Array]) -> pa.Table:
    owners, own = pa.array(rows.owners, pa.int32()), rows.columns()
    arrays = []
    for column in dataset.columns:
        if column.name in own:
            arrays.append(_array(column, own[column.name]))
        elif column.name in shared:
            arrays.append(shared[column.name].take(owners))
        else:
            arrays.append(pa.nulls(len(owners), column.type))
    return pa.Table.from_arrays(arrays, schema=dataset.schema)


def _shared(column: Column, shared: Sequence[Row]) -> pa.Array | None:
    """A column that is the same in all rows of a session; None where nothing tells it."""
    values = [row.get(column.name) for row in shared]
    return _array(column, values) if any(value is not None for value in values) else None


def _array(column: Column, values: Sequence[object]) -> pa.Array:
    if column.type == LOW:
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, column.type)
