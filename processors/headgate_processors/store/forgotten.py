"""What was forgotten: tombstones that hide rows at once, keep them from coming back, and tell compaction what to drop.

They hold no names: users and keys stand in them as hashes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import orjson
import pyarrow as pa

from headgate_processors.errors import StoreError
from headgate_processors.store.disk import Disk, remove
from headgate_processors.store.manifest import exclusive
from headgate_processors.store.relation import text
from headgate_processors.store.repeats import CHILD_KEYS

NAME = "forgotten.json"
COPY = "forgotten.copy.json"

TIMES: Mapping[str, str] = MappingProxyType(
    {
        "spans": "start_time_unix_nano",
        "log_events": "time_unix_nano",
        "metric_points": "time_unix_nano",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """One command to forget: every row that it names is hidden, whenever it was or will be received.

    Rows are named by trace, by session (the hash of tenant, scope and key), by record, and by user when they happened
    before `since_unix_nano`. `applied_version` is the version of the manifest up to which files were rewritten.
    """

    kind: str
    since_unix_nano: int
    session_ids: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()
    record_ids: tuple[str, ...] = ()
    user_hash: str | None = None
    applied_version: int = -1


def user_hash(user_id: str) -> str:
    """How a user is named in a tombstone."""
    return sha256(user_id.encode()).hexdigest()


def session_ids_of(tenant: str, service_name: str | None, key: str) -> tuple[str, str]:
    """The two ids that a source's key can have: alone, and within its service."""
    return _session_id(tenant, "", key), _session_id(tenant, service_name or "", key)


def read_forgotten(root: Path) -> tuple[Tombstone, ...]:
    """Every tombstone of a store.

    Raises:
        StoreError: they cannot be read, and so nothing may be shown.
    """
    for name in (NAME, COPY):
        try:
            return _parse((root / name).read_bytes())
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            continue
    if not any((root / name).exists() for name in (NAME, COPY)):
        return ()
    raise StoreError(
        f"{root / NAME} and its copy are damaged: what was to be forgotten is unknown; restore one of them"
    )


def forget(root: Path, tombstone: Tombstone, *, disk: Disk) -> None:
    """Hide what a tombstone names, in every view from now on.

    Raises:
        OSError: the disk refused; nothing is hidden.
        StoreError: the tombstones cannot be read.
    """
    with exclusive(root):
        _write(root, (*read_forgotten(root), tombstone), disk)


def mark_applied(root: Path, tombstones: Sequence[Tombstone], version: int, *, disk: Disk) -> None:
    """State that no file up to this version of the manifest holds what these tombstones name.

    Raises:
        OSError: the disk refused; files are looked at again.
    """
    known = frozenset(tombstones)
    with exclusive(root):
        now = read_forgotten(root)
        marked = tuple(replace(one, applied_version=version) if one in known else one for one in now)
        if marked != now:
            _write(root, marked, disk)


FORGET_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{
            name: ("record_id", "tenant", "service_name", "session_key", "trace_id", "user_id", TIMES[name])
            for name in ("spans", "log_events")
        },
        "metric_points": ("record_id", "user_id", TIMES["metric_points"]),
        **dict.fromkeys(CHILD_KEYS, ("record_id", "trace_id")),
    }
)


class Forgotten:
    """Tombstones as sets, to be asked of rows before they are stored."""

    def __init__(self, tombstones: Iterable[Tombstone]) -> None:
        self.tombstones = tuple(tombstones)
        self._sessions = {name for one in self.tombstones for name in one.session_ids}
        self._records = {name for one in self.tombstones for name in one.record_ids}
        self._users = {one.user_hash: one.since_unix_nano for one in self.tombstones if one.user_hash is not None}

    def screen(self, batches: Mapping[str, pa.RecordBatch]) -> tuple[Mapping[str, pa.RecordBatch], Mapping[str, int]]:
        """The rows that may be stored, and how many of each dataset may not."""
        if not self.tombstones:
            return batches, {}
        from pyarrow import compute as pc  # noqa: PLC0415 - a question screens no rows.

        masks = {name: self._mask(name, batch) for name, batch in batches.items() if batch.num_rows}
        hidden = {
            record_id
            for name, mask in masks.items()
            if name not in CHILD_KEYS and mask.true_count
            for record_id in batches[name].column("record_id").filter(mask).to_pylist()
        }
        kept: dict[str, pa.RecordBatch] = dict(batches)
        dropped: dict[str, int] = {}
        for name, mask in masks.items():
            gone = mask
            if hidden and name in CHILD_KEYS:
                ids = batches[name].column("record_id")
                gone = pc.or_(mask, pc.is_in(ids, value_set=pa.array(sorted(hidden), pa.string())))
            if gone.true_count:
                kept[name] = batches[name].filter(pc.invert(gone))
                dropped[name] = gone.true_count
        return kept, dropped

    @cached_property
    def _traces(self) -> pa.Array:
        return pa.array(sorted({name for one in self.tombstones for name in one.trace_ids}), pa.string())

    def _mask(self, dataset: str, batch: pa.RecordBatch) -> pa.BooleanArray:
        from pyarrow import compute as pc  # noqa: PLC0415 - as above.

        gone = pa.repeat(pa.scalar(False), batch.num_rows)
        names = set(batch.schema.names)
        if "trace_id" in names:
            gone = pc.or_(gone, pc.fill_null(pc.is_in(batch.column("trace_id"), value_set=self._traces), False))
        if self._records:
            ids = pa.array(sorted(self._records), pa.string())
            gone = pc.or_(gone, pc.is_in(batch.column("record_id"), value_set=ids))
        if "session_key" in names and self._sessions:
            gone = pc.or_(gone, self._of_session(batch))
        if dataset in TIMES and self._users:
            gone = pc.or_(gone, self._of_user(batch, TIMES[dataset]))
        return gone

    def _of_session(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        columns = (batch.column(name).to_pylist() for name in ("tenant", "service_name", "session_key"))
        found = [
            key is not None and not self._sessions.isdisjoint(session_ids_of(tenant, service, key))
            for tenant, service, key in zip(*columns, strict=True)
        ]
        return pa.array(found, pa.bool_())

    def _of_user(self, batch: pa.RecordBatch, time: str) -> pa.BooleanArray:
        users, times = batch.column("user_id").to_pylist(), batch.column(time).to_pylist()
        before = {user: self._users.get(user_hash(user)) for user in set(users) - {None}}
        found = [
            user is not None and (since := before[user]) is not None and at < since
            for user, at in zip(users, times, strict=True)
        ]
        return pa.array(found, pa.bool_())


class Forgetting:
    """The tombstones of a store as they stand, read again when they change."""

    def __init__(self, root: Path) -> None:
        self._path, self._root = root / NAME, root
        self._seen: object = None
        self._current = Forgotten(())

    @property
    def current(self) -> Forgotten:
        """What is to be forgotten now.

        Raises:
            StoreError: the tombstones cannot be read.
        """
        try:
            found = self._path.stat()
            seen: object = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = None
        if seen != self._seen:
            self._current, self._seen = Forgotten(read_forgotten(self._root)), seen
        return self._current


def tombstone_tables(prefix: str, tombstones: Iterable[Tombstone]) -> list[str]:
    """Statements that make the tables `PREFIX_traces`, `_sessions`, `_records` and `_users` of these tombstones."""
    every = tuple(tombstones)
    values = {
        "traces": {name for one in every for name in one.trace_ids},
        "sessions": {name for one in every for name in one.session_ids},
        "records": {name for one in every for name in one.record_ids},
    }
    statements = [
        f"CREATE TABLE {prefix}_{name} AS SELECT unnest([{', '.join(map(text, sorted(listed)))}]::VARCHAR[]) AS name"
        for name, listed in values.items()
    ]
    users = ", ".join(
        f"{{name: {text(one.user_hash)}, since: {one.since_unix_nano}}}" for one in every if one.user_hash is not None
    )
    listed = f"SELECT unnest([{users}]::STRUCT(name VARCHAR, since BIGINT)[]) AS one"
    grouped = f"SELECT one.name AS name, max(one.since) AS since FROM ({listed}) GROUP BY ALL"
    return [*statements, f"CREATE TABLE {prefix}_users AS {grouped}"]


def hidden_sql(dataset: str, source: str, prefix: str) -> str:
    """Which rows of `spans`, `log_events` or `metric_points` are forgotten: record_id, filename, file_row_number.

    `source` gives the dataset's `FORGET_COLUMNS`, `filename` and `file_row_number`; `prefix` is that of
    `tombstone_tables`.
    """
    scopes = ("''", "coalesce(service_name, '')")
    keyed = [
        f"session_key IS NOT NULL AND left(sha256(tenant || chr(0) || {scope} || chr(0) || session_key), 32)"
        f" IN (FROM {prefix}_sessions)"
        for scope in scopes
    ]
    placed = [f"trace_id IN (FROM {prefix}_traces)", *keyed] if dataset != "metric_points" else []
    user = f"EXISTS (FROM {prefix}_users WHERE name = sha256(user_id) AND {TIMES[dataset]} < since)"
    conditions = [*placed, f"record_id IN (FROM {prefix}_records)", user]
    return (
        f"SELECT record_id, filename, file_row_number FROM ({source}) WHERE {' OR '.join(map(_bracketed, conditions))}"
    )


def hidden_children_sql(source: str, prefix: str, records: str) -> str:
    """Which rows of a child dataset are forgotten: those of a trace, or of a record in the table `records`."""
    return f"""
SELECT filename, file_row_number FROM ({source})
WHERE trace_id IN (FROM {prefix}_traces) OR record_id IN (FROM {prefix}_records) OR record_id IN (FROM {records})"""


def _bracketed(condition: str) -> str:
    return f"({condition})"


def _session_id(tenant: str, scope: str, key: str) -> str:
    return sha256(f"{tenant}\0{scope}\0{key}".encode()).hexdigest()[:32]


def _parse(content: bytes) -> tuple[Tombstone, ...]:
    lists = ("session_ids", "trace_ids", "record_ids")
    return tuple(
        Tombstone(**{**one, **{name: tuple(one[name]) for name in lists}}) for one in orjson.loads(content)["forgotten"]
    )


def _write(root: Path, tombstones: Sequence[Tombstone], disk: Disk) -> None:
    content = orjson.dumps({"forgotten": [asdict(one) for one in tombstones]})
    for name in (COPY, NAME):
        temporary = root / f"{name}.{uuid4().hex}.tmp"
        try:
            temporary.write_bytes(content)
            disk.publish(temporary, root / name)
        except OSError:
            remove(temporary)
            raise
