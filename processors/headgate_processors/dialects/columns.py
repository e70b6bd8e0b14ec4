"""Columns from rows: the few Arrow constructions that tables need, dictionary-encoded where few values repeat."""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from headgate_processors.schema import LOW, Dataset


def concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of batches of one schema, in order, with one dictionary for each column."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def low(values: Sequence[str | None], take: pa.Array) -> pa.Array:
    """A dictionary column whose row `i` is `values[take[i]]`."""
    return pa.array(values, pa.string()).take(take).dictionary_encode()


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
    arrays: list[pa.Array] = []
    present = set().union(*rows)
    for column in dataset.columns:
        ready = columns.get(column.name)
        if ready is None:
            known = column.name in present
            ready = _from_rows(column.name, column.type, rows) if known else pa.nulls(len(rows), column.type)
        elif ready.type != column.type:
            ready = ready.dictionary_encode() if column.type == LOW else ready.cast(column.type)
        arrays.append(ready)
    return pa.RecordBatch.from_arrays(arrays, schema=dataset.schema)


def _from_rows(name: str, type_: pa.DataType, rows: Sequence[Mapping[str, object]]) -> pa.Array:
    values = [row.get(name) for row in rows]
    if type_ == LOW:
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, type_)
