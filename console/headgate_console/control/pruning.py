"""What of control's chains is old and in the store, taken away: logs file by file, the journal up to an event."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from opentelemetry.sdk._logs.export import LogRecordExporter

from headgate_console.control.holding import refuse_foreign
from headgate_console.control.keeping import changing, person
from headgate_console.control.place import Place
from headgate_console.control.platform import pinned_of, platform_of
from headgate_console.control.records import exporter_to
from headgate_console.control.retelling import retell
from headgate_console.queries.opening import open_views
from headgate_control.audit.log import Segment, closed_segments, last_path_with, segment_bodies, writers
from headgate_control.audit.pruning import last_before, prune_log, restate
from headgate_control.budgets.owner import WRITER as BUDGETS
from headgate_control.state import ControlState
from headgate_control.store.port import ControlStore
from headgate_processors.errors import TransientError

if TYPE_CHECKING:
    import duckdb

    from headgate_console.settings import Settings

EVENTS_MIN = 1_000
"""So many old events are worth saying again what is needed of them."""
BOOKS = "books"
"""The kind of record from which a start reads the log of budgets."""
_NS_PER_S = 1_000_000_000
_UNTOLD = "SELECT id FROM wanted ANTI JOIN decisions ON decisions.decision_id = wanted.id"
Untold = Callable[[Iterable[str]], frozenset[str]]
"""Which of some decisions the store does not have."""


@dataclass(slots=True, kw_only=True)
class Pruned:
    """What went. `told`: decisions that the store did not have, and was told of now; `kept`: why what is old stays."""

    files: list[str] = field(default_factory=list)
    events: int = 0
    told: int = 0
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pruning:
    settings: "Settings"
    store: ControlStore
    place: Place
    before_unix_nano: int
    done: Pruned

    @property
    def told_by(self) -> Mapping[str, str]:
        """Who takes it away, and why."""
        days = self.settings.control.retention.days
        return {"author": person(), "reason": f"older than control.retention ({days} d), and in the store"}

    def logs(self, untold: Untold) -> None:
        """Each log, file by file from its beginning, up to the first that must stay."""
        for writer in writers(self.place.logs):
            going = list(self._going(writer, untold))
            if going:
                prune_log(self.store, going, **self.told_by)
                self.done.files += [segment.path.name for segment in going]

    def _going(self, writer: str, untold: Untold) -> Iterator[Segment]:
        needed, is_held = _needed(self.place.logs, writer), False
        for segment in closed_segments(self.place.logs, writer):
            if segment.path.stat().st_mtime_ns >= self.before_unix_nano or segment.path == needed:
                return
            bodies = list(segment_bodies(segment.path))
            missing = untold(_decisions(bodies))
            if missing:
                self._tell(segment, [body for body in bodies if body.get("decision_id") in missing], len(missing))
                is_held = True
            elif not is_held:
                yield segment

    def _tell(self, segment: Segment, rows: list[Mapping[str, Any]], missing: int) -> None:
        """Tell the store what it does not have of a file, which may go once it has."""
        self.done.kept.append(f"{segment.path.name}: {missing:,} of its decisions are not in the store yet")
        if not rows:
            return
        try:
            with _exporting(self.settings, self.place) as exporter:
                self.done.told += retell(rows, ControlState(self.store).now.snapshot.instances, exporter)
        except (TransientError, OSError) as error:
            self.done.kept.append(f"they could not be told now: {error}")

    def journal(self) -> None:
        """The old events that the store was told of, once what is needed of them was said again."""
        last, first = last_before(self.store, self.before_unix_nano), self.store.events(limit=1)
        if last is None:
            return
        position = min(last.position, _told_to(self.place))
        if position - first[0].position < EVENTS_MIN:
            return
        restate(self.store, position, **self.told_by)
        self.done.events = self.store.prune(position, **self.told_by)


def prune(settings: "Settings") -> Pruned:
    """Take away what is older than `control.retention` and in the store; nothing where that is for ever.

    Raises:
        StoreError: there is no control state, a log is damaged, or the database belongs to the books of another folder.
        TransientError: the state cannot be changed.
    """
    place, done = Place(data=settings.data), Pruned()
    days = settings.control.retention.days
    if not days or not place.folder.is_dir():
        return done
    with changing(settings) as store, open_views(settings, only={"decisions"}) as connection:
        refuse_foreign(store, place)
        before = time.time_ns() - days * 86_400 * _NS_PER_S
        pruning = _Pruning(settings=settings, store=store, place=place, before_unix_nano=before, done=done)
        pruning.logs(_untold(connection))
        pruning.journal()
    return done


def _untold(connection: "duckdb.DuckDBPyConnection") -> Untold:
    def found(ids: Iterable[str]) -> frozenset[str]:
        connection.register("wanted", pa.table({"id": pa.array(sorted(set(ids)), pa.string())}))
        return frozenset(str(row[0]) for row in connection.sql(_UNTOLD).fetchall())

    return found


def _decisions(bodies: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The decisions that records are about: a reservation has the id of the one that it was made for."""
    for body in bodies:
        if (found := body.get("decision_id") or body.get("reservation_id")) is not None:
            yield str(found)


def _needed(folder: Path, writer: str) -> Path | None:
    """The file from which the next start reads a log of books; None of others."""
    return last_path_with(folder, writer, kind=BOOKS) if writer == BUDGETS else None


def _told_to(place: Place) -> int:
    """Up to where the store has taken the journal."""
    try:
        return int((place.folder / "told").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


@contextmanager
def _exporting(settings: "Settings", place: Place) -> Iterator[LogRecordExporter]:
    token = (place.folder / "control.token").read_text(encoding="ascii").strip()
    exporter = exporter_to(place.addresses().get("platform") or platform_of(settings), token, pinned_of(settings))
    try:
        yield exporter
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]
