"""Raw rows of wanted sessions out of Parquet files: which rows belong to which session, and what of them is needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from headgate_analytics.columns import single
from headgate_analytics.node import FACT_COLUMNS, PLACE_COLUMNS
from headgate_analytics.stitch import Stitched, log_anchor_id, scope_of
from headgate_processors.errors import StoreError
from headgate_processors.schema import LOG_EVENTS, SPANS, Dataset

SESSION = "session"
_LOG_NAMES = {"time_unix_nano": "start_time_unix_nano"}
_LOG_LACKS = frozenset({"name", "kind", "start_time_unix_nano", "end_time_unix_nano", "parent_span_id", "status_code"})
_KEYS = ("tenant", "trace_id", "session_key", "service_name", "operation_kind")
_BELIEVED = ("witness", "dialect", "identity_source", "instance_id")
_DIALECT = "headgate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Sessions by number: `sessions[i]` is the number of the session to which the anchor `anchors[i]` belongs."""

    anchors: pa.Array
    sessions: pa.Array

    @classmethod
    def of(cls, sessions: Sequence[Stitched]) -> "Wanted":
        """All anchors of sessions, which are numbered by their places."""
        pairs = [(anchor, number) for number, one in enumerate(sessions) for anchor in one.anchors]
        return cls(
            anchors=pa.array([anchor for anchor, _ in pairs], pa.string()),
            sessions=pa.array([number for _, number in pairs], pa.int64()),
        )

    def save(self, path: Path) -> None:
        """Write it down, for other processes."""
        save(pa.table({"anchor": self.anchors, SESSION: self.sessions}), path)

    @classmethod
    def load(cls, path: Path) -> "Wanted":
        """Map what `save` wrote: its pages are shared by all processes that do."""
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().combine_chunks()
        return cls(anchors=single(table.column("anchor")), sessions=single(table.column(SESSION)))

    def sessions_of(self, anchors: pa.Array) -> pa.Array:
        """The session of each anchor, NULL for one that is not wanted."""
        encoded = anchors.dictionary_encode()
        places = pc.index_in(encoded.dictionary, value_set=self.anchors)
        return self.sessions.take(places).take(encoded.indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some row groups of one file of `spans` or `log_events`; all of them without `groups`."""

    dataset: str
    path: Path
    groups: tuple[int, ...] | None
    rows: int


def pieces(dataset: str, path: Path, *, rows: int, rows_max: int) -> Iterator[Piece]:
    """A file of so many rows in pieces of at most `rows_max`, or of one row group; a small one is not opened for that.

    Raises:
        StoreError: the file is damaged; the message names it.
    """
    if rows <= rows_max:
        yield Piece(dataset=dataset, path=path, groups=None, rows=rows)
        return
    with _opened(path, ()) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    taken: list[int] = []
    held = 0
    for group, size in enumerate(sizes):
        if taken and held + size > rows_max:
            yield Piece(dataset=dataset, path=path, groups=tuple(taken), rows=held)
            taken, held = [], 0
        taken.append(group)
        held += size
    if taken:
        yield Piece(dataset=dataset, path=path, groups=tuple(taken), rows=held)


def wanted_rows(piece: Piece, wanted: Wanted) -> pa.Table | None:
    """The rows of wanted sessions with their number, `is_log` and the columns that nodes are made of; None without any.

    Files in which no wanted row lies cost the reading of their keys only.

    Raises:
        StoreError: the file is damaged; the message names it.
    """
    dataset = SPANS if piece.dataset == SPANS.name else LOG_EVENTS
    with _opened(piece.path, _low(dataset)) as file:
        present = set(file.schema_arrow.names)
        groups = list(range(file.num_row_groups) if piece.groups is None else piece.groups)
        keys = file.read_row_groups(groups, [name for name in (*_KEYS, *_BELIEVED) if name in present])
        sessions = wanted.sessions_of(_anchors(keys, is_log=dataset is LOG_EVENTS))
        rows = np.flatnonzero(sessions.is_valid())
        if not len(rows):
            return None
        names = [name for name in _columns(dataset) if name in present]
        own = _has(keys, "dialect", _DIALECT)
        table = file.read_row_groups(groups, [*names, "attributes"] if own else names)
    table = _believed(table, keys, own=own)
    if len(rows) < table.num_rows:
        table, sessions = table.take(rows), sessions.take(pa.array(rows))
    if dataset is LOG_EVENTS:
        table = table.rename_columns([_LOG_NAMES.get(name, name) for name in table.column_names])
    flags = pa.repeat(pa.scalar(dataset is LOG_EVENTS), table.num_rows)
    return table.append_column("is_log", flags).append_column(SESSION, sessions)


def _has(keys: pa.Table, name: str, word: str) -> bool:
    """Whether a dictionary column may hold a word somewhere."""
    if name not in keys.column_names:
        return False
    return any(word in _words(chunk) for chunk in keys.column(name).chunks)


def _words(chunk: pa.Array) -> list[str]:
    words: list[str] = (chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk).to_pylist()
    return words


def _believed(table: pa.Table, keys: pa.Table, *, own: bool) -> pa.Table:
    """The rows with what Headgate's own parts say in `own_attributes`, and the instance that a credential proved."""
    if own:
        is_ours = pc.and_(pc.equal(keys.column("dialect"), _DIALECT), pc.not_equal(keys.column("witness"), "client"))
        told = pc.if_else(pc.fill_null(is_ours, fill_value=False), table.column("attributes"), None)
        table = table.drop_columns(["attributes"]).append_column("own_attributes", told)
    if _has(keys, "identity_source", "verified"):
        is_sure = pc.fill_null(pc.equal(keys.column("identity_source"), "verified"), fill_value=False)
        names = keys.column("instance_id").cast(pa.string())
        table = table.append_column("verified_instance_id", pc.if_else(is_sure, names, None))
    return table


def save(table: pa.Table, path: Path) -> None:
    """Write a table down, under its name when it is whole."""
    temporary = path.with_suffix(".tmp")
    with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    temporary.replace(path)


def without_trace(rows: pa.Table) -> pa.Table:
    """The records and sessions of gathered rows that are in no trace: their content is found by the record alone."""
    return rows.filter(ds.field("trace_id").is_null()).select(["record_id", SESSION])


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows, those of one session together, with one dictionary and one chunk for each column."""
    table = pa.concat_tables(tables, promote_options="default").unify_dictionaries()
    order = pc.sort_indices(table, sort_keys=[(SESSION, "ascending")])
    return table.take(order).combine_chunks()


def _columns(dataset: Dataset) -> list[str]:
    lacks = _LOG_LACKS if dataset is LOG_EVENTS else {"event_name"}
    moved = list(_LOG_NAMES) if dataset is LOG_EVENTS else []
    return [name for name in (*PLACE_COLUMNS, *FACT_COLUMNS) if name not in lacks] + moved


def _anchors(keys: pa.Table, *, is_log: bool) -> pa.Array:
    """The anchor of every row; a log without trace, key or kind has none."""
    tenant, trace = single(keys.column("tenant")), single(keys.column("trace_id"))
    texts = pa.nulls(len(trace), pa.string()) if trace.null_count == len(trace) else trace
    anchors = pc.binary_join_element_wise("trace", _plain(tenant), texts, "\0")
    if not is_log or not trace.null_count:
        return anchors
    names = ("tenant", "service_name", "session_key", "operation_kind", *_BELIEVED)
    columns = [_plain(single(keys.column(name))).to_pylist() for name in names]
    told: dict[tuple[str, ...], str] = {}
    found: list[str | None] = anchors.to_pylist()
    for row in np.flatnonzero(trace.is_null()).tolist():
        tenant_name, service, key, kind, witness, _, source, instance = (column[row] for column in columns)
        if witness != "client" and source == "verified":
            service = scope_of(instance)
        if key is not None and kind is not None:
            pair = (tenant_name, service, key)
            found[row] = told.get(pair) or told.setdefault(pair, log_anchor_id(*pair))
    return pa.array(found, pa.string())


def _plain(column: pa.Array) -> pa.Array:
    return column.cast(pa.string()) if column.type != pa.string() else column


def _low(dataset: Dataset) -> list[str]:
    return [field.name for field in dataset.schema if pa.types.is_dictionary(field.type)]


@contextmanager
def _opened(path: Path, dictionaries: Sequence[str]) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, read_dictionary=list(dictionaries)) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} cannot be read ({error}): restore it from a copy") from error
