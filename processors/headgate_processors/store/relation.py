"""Tables as SQL text: typed columns, lists of files, times for people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from headgate_processors.schema import Dataset

_NANO = "unix_nano"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlColumn:
    """One column as DuckDB types it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlTable:
    """The columns that a view shows, times apart."""

    name: str
    columns: tuple[SqlColumn, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> "SqlTable":
        """The table of a dataset."""
        return cls.of_schema(dataset.name, dataset.schema)

    @classmethod
    def of_schema(cls, name: str, schema: pa.Schema) -> "SqlTable":
        """The table of an Arrow schema."""
        return cls(name=name, columns=tuple(SqlColumn(name=field.name, type=sql_type(field.type)) for field in schema))

    @property
    def names(self) -> str:
        """The quoted column names, comma-separated."""
        return ", ".join(quote(column.name) for column in self.columns)

    @property
    def nothing(self) -> str:
        """A query of no rows with these columns: DuckDB refuses an empty list of files."""
        return (
            f"SELECT {', '.join(f'NULL::{column.type} AS {quote(column.name)}' for column in self.columns)} WHERE false"
        )

    @property
    def shown(self) -> str:
        """The select list of the view: the columns, and a TIMESTAMPTZ for each in nanoseconds; 0 is no time."""
        present = {column.name for column in self.columns}
        times = [
            f"make_timestamptz(nullif({quote(column.name)}, 0) // 1000) AS {quote(time_name(column.name))}"
            for column in self.columns
            if column.name.endswith(_NANO) and time_name(column.name) not in present
        ]
        return ", ".join([self.names, *times])


def time_name(column: str) -> str:
    """`start_time_unix_nano` → `start_time`, `received_unix_nano` → `received_time`, `unix_nano` → `time`."""
    stem = column.removesuffix(_NANO).removesuffix("_")
    if not stem:
        return "time"
    return stem if stem.endswith("time") else f"{stem}_time"


def sql_type(type_: pa.DataType) -> str:
    """The DuckDB type of an Arrow type."""
    if pa.types.is_dictionary(type_):
        return sql_type(type_.value_type)
    if pa.types.is_list(type_):
        return f"{sql_type(type_.value_type)}[]"
    if pa.types.is_decimal(type_):
        return f"DECIMAL({type_.precision},{type_.scale})"
    if pa.types.is_timestamp(type_):
        return "TIMESTAMPTZ" if type_.tz else "TIMESTAMP"
    names = {
        pa.string(): "VARCHAR",
        pa.large_string(): "VARCHAR",
        pa.binary(): "BLOB",
        pa.bool_(): "BOOLEAN",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.uint64(): "UBIGINT",
        pa.float64(): "DOUBLE",
        pa.date32(): "DATE",
    }
    return names[type_]


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A string as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def parquet(paths: Sequence[str], *, mixed: bool = False) -> str:
    """A table function over files; `mixed` when their columns differ."""
    listing = ", ".join(text(path) for path in paths)
    return f"read_parquet([{listing}], hive_partitioning = false{', union_by_name = true' if mixed else ''})"


def union(queries: Iterable[str], table: SqlTable) -> str:
    """All rows of the queries, with the columns of the table whatever the queries lack or add."""
    return "\nUNION ALL BY NAME\n".join([table.nothing, *queries])
