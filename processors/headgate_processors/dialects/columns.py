"""Columns from rows: the few Arrow constructions that tables need, dictionary-encoded where few values repeat."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from headgate_processors.schema import LOW, Dataset


def concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of batches of one schema, in order, with one dictionary for each column."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def values_of(column: pa.Array) -> list[Any]:
    """The values of a column as Python has them; each distinct one of a dictionary column is made once."""
    if not pa.types.is_dictionary(column.type):
        values: list[Any] = column.to_pylist()
        return values
    distinct = [*column.dictionary.to_pylist(), None]
    return [distinct[-1 if index is None else index] for index in column.indices.to_pylist()]


def low(values: Sequence[str | None], take: pa.Array) -> pa.Array:
    """A dictionary column whose row `i` is `values[take[i]]`."""
    distinct: dict[str, int] = {}
    places = [None if value is None else distinct.setdefault(value, len(distinct)) for value in values]
    indices = take if places == list(range(len(places))) else pa.array(places, pa.int32()).take(take)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(distinct), pa.string()))


def tiled(value: str, rows: int) -> pa.Array:
    """A dictionary column with one value in every row."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value], pa.string()))


def mapped(column: pa.Array, convert: Callable[[str], str]) -> pa.Array:
    """A column of texts with each distinct one converted; NULL stays."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    before = encoded.dictionary.to_pylist()
    after = [convert(text) for text in before]
    if before == after:
        return column
    texts = pa.array(after, pa.string()).take(encoded.indices)
    return texts.dictionary_encode() if pa.types.is_dictionary(column.type) else texts


def batch_of(dataset: Dataset, columns: Mapping[str, pa.Array], rows: Sequence[Mapping[str, object]]) -> pa.RecordBatch:
    """A batch of `dataset`: ready columns as they are, the others from `rows`, absent values NULL."""
    given = _transposed(rows)
    arrays: list[pa.Array] = []
    for field in dataset.schema:
        ready = columns.get(field.name)
        if ready is None:
            own = given.get(field.name)
            ready = pa.nulls(len(rows), field.type) if own is None else pa.array(own, field.type)
        elif ready.type != field.type:
            ready = ready.dictionary_encode() if field.type == LOW else ready.cast(field.type)
        arrays.append(ready)
    return pa.RecordBatch.from_arrays(arrays, schema=dataset.schema)


def _transposed(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """Name → the value of each row; rows have few of the names that there are."""
    columns: dict[str, list[object]] = {}
    for place, row in enumerate(rows):
        for name, value in row.items():
            if value is not None:
                column = columns.get(name)
                if column is None:
                    column = columns[name] = [None] * len(rows)
                column[place] = value
    return columns
