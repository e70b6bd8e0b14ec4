"""`tables.md`: every view with its columns, from the schema that the writer reads."""

from collections.abc import Iterator

import pyarrow as pa

from headgate_analytics.control_schema import CONTROL
from headgate_analytics.schema import DERIVED
from headgate_processors.schema import DATASETS, Column, Dataset

HEAD = """\
# Tables

What `headgate sql` and any DuckDB with the statements of `headgate views` see. Unknown is NULL. Times are stored as
nanoseconds since the epoch, in columns that end in `unix_nano`; beside each the views have one of type
`TIMESTAMP WITH TIME ZONE`: `start_time`, `received_time`, in `timeline` just `time`. Durations end in `_ns`, money in
`_usd`.

"""


def tables_page() -> str:
    """The page, in Markdown: first what is derived, then what control tells, then what was received."""
    every = (*DERIVED.values(), *(view.dataset for view in CONTROL.values()), *DATASETS.values())
    contents = "".join(f"- [`{dataset.name}`](#{dataset.name}): one row per {dataset.row}\n" for dataset in every)
    return HEAD + contents + "".join(map(_section, every))


def _section(dataset: Dataset) -> str:
    rows = "".join(f"| {' | '.join(_cells(column))} |\n" for column in dataset.columns)
    head = "| column | type | unit | NULL | what it is | from |\n| --- | --- | --- | --- | --- | --- |\n"
    return f"\n## {dataset.name}\n\nOne row per {dataset.row}.\n\n{head}{rows}"


def _cells(column: Column) -> Iterator[str]:
    yield f"`{column.name}`"
    yield _type(column.type)
    yield column.unit
    yield "yes" if column.nullable else ""
    yield column.doc.replace("|", "\\|")
    yield column.source


def _type(type_: pa.DataType) -> str:
    if pa.types.is_dictionary(type_):
        return _type(type_.value_type)
    if pa.types.is_list(type_):
        return f"{_type(type_.value_type)}[]"
    if pa.types.is_decimal(type_):
        return f"DECIMAL({type_.precision},{type_.scale})"
    return {"string": "VARCHAR", "int64": "BIGINT", "bool": "BOOLEAN", "double": "DOUBLE"}[str(type_)]
