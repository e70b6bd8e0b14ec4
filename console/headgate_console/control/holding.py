"""The state of a control that runs: in a file of its own, or in a PostgreSQL database that it alone holds.

The books of budgets lie in the data folder, so a database belongs to those of one folder: it has their id. Another
folder is refused, and so is an older copy of the same.
"""

import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from headgate_console.control.place import WRITER, Place
from headgate_control.audit.heads import is_behind
from headgate_control.budgets.books import BOOKS, BOOKS_ID, books_of, make_books
from headgate_control.budgets.owner import WRITER as BUDGETS
from headgate_control.feed.messages import BLIND_AFTER_S, STALE_AFTER_S
from headgate_control.store.hold import HOLDER, HOLDER_ID, DatabaseHold
from headgate_control.store.opening import open_postgresql, open_sqlite
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change, ConflictError, Record
from headgate_processors.errors import StoreError, TransientError
from headgate_processors.store.lock import Holder

if TYPE_CHECKING:
    from headgate_console.settings import Settings

TAKE_OVER_S = STALE_AFTER_S + BLIND_AFTER_S + 1.0
"""After so long a control that has lost its database, and every gateway that reads its feed, deny."""
_BOOKS_CHARS = 8
_LOG = logging.getLogger("control")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Control state, opened for a control that runs, which writes its journal as `writer`.

    `hold` is None where it is a file: the logs beside it have a lock.
    """

    store: ControlStore
    writer: str = WRITER
    hold: DatabaseHold | None = None
    run: str = ""

    def age_ns(self) -> int:
        """How long ago it was known that nobody else has it."""
        return 0 if self.hold is None else self.hold.age_ns()

    def check(self) -> None:
        """See that nobody else has it.

        Raises:
            StoreError: somebody has, or had it meanwhile.
            TransientError: that cannot be known now.
        """
        if self.hold is not None:
            self.hold.check(self._again)

    def listens(self, address: str) -> None:
        """Tell whoever wants the database where this control listens.

        Raises:
            StoreError: another control has it.
            TransientError: that cannot be known now.
        """
        if self.hold is not None:
            self.hold.say(f"{_name()} at {address}")
            self.check()

    def _again(self) -> None:
        record = self.store.get(HOLDER, HOLDER_ID)
        if record is None or record.body.get("run") != self.run:
            raise StoreError("another control held the control database meanwhile: this one must start anew")


@contextmanager
def held_state(settings: "Settings", place: Place) -> Iterator[Held]:
    """The control state of the settings, for the control of this process.

    Raises:
        ConfigError: the address of the database is none.
        StoreError: another control has it, or it belongs to other books, or cannot be opened.
        TransientError: the database cannot be used now.
    """
    if settings.control.database is None:
        with closing(open_sqlite(place.database, writer=WRITER)) as store:
            yield Held(store=store)
        return
    if books_of(place.logs) is None:
        make_books(place.logs)
    with held_database(settings, place) as (hold, store):
        refuse_foreign(store, place)
        let_the_last_notice(store, place)
        held = Held(store=store, writer=writer_name(WRITER, place), hold=hold, run=secrets.token_hex(8))
        changes = [Change(kind=HOLDER, id=HOLDER_ID, body=_holder(place, held.run)), *_claim(store, place)]
        store.change(changes, author=WRITER, action="control.hold")
        try:
            held.check()
            yield held
        finally:
            with suppress(TransientError, ConflictError):
                _release(store, held.run)


@contextmanager
def held_database(settings: "Settings", place: Place) -> Iterator[tuple[DatabaseHold, ControlStore]]:
    """The PostgreSQL database of the settings, while this process alone holds it.

    Raises:
        ConfigError: its address is none.
        StoreError: a control has it, or it cannot be opened.
    """
    address = settings.control.database
    assert address is not None
    with (
        closing(DatabaseHold.take(address, name=_name())) as hold,
        closing(open_postgresql(address, writer=writer_name(WRITER, place))) as store,
    ):
        yield hold, store


def writer_name(kind: str, place: Place) -> str:
    """The name under which a process of this machine and folder writes the journal of a shared database."""
    own = (kind, socket.gethostname(), (books_of(place.logs) or "")[:_BOOKS_CHARS])
    return "-".join(part for part in own if part)


def refuse_foreign(store: ControlStore, place: Place) -> None:
    """Refuse a folder whose books are not those of the database, or an older copy of them; one without any is not.

    Raises:
        StoreError: they are not; the message says whose are.
    """
    record = store.get(BOOKS, BOOKS_ID)
    if record is None:
        return
    if record.body["books"] != books_of(place.logs):
        raise StoreError(
            f"the budgets of this control database are kept in {record.body['data']} on {record.body['host']}, not in "
            f"{place.data}: start control there, or end it there and copy its folder {place.folder.name}/ here, or "
            "begin the books anew from here with `headgate control adopt --reason TEXT` "
            "(docs/guides/several-machines.md)"
        )
    if is_behind(store, place.logs, BUDGETS):
        raise StoreError(
            f"the books of budgets in {place.logs} are an older copy: the control database knows of later entries. "
            f"Copy the newest here, or go on from these with `headgate control adopt --reason TEXT`"
        )


def let_the_last_notice(store: ControlStore, place: Place, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait where another machine's control did not end in good order: it may not know yet that it lost the database.

    Raises:
        TransientError: the database cannot be read.
    """
    record = store.get(HOLDER, HOLDER_ID)
    if record is not None and not _is_here(record, place):
        where = f"{record.body.get('data')} on {record.body.get('host')}"
        _LOG.warning("the control of %s did not end in good order: it has %g s to notice", where, TAKE_OVER_S)
        sleep(TAKE_OVER_S)


def books_change(place: Place) -> Change:
    """That the books of this folder are those of the database.

    Raises:
        OSError: they have no id.
    """
    books = books_of(place.logs)
    assert books is not None
    return Change(kind=BOOKS, id=BOOKS_ID, body={"books": books, **_where(place)})


def _claim(store: ControlStore, place: Place) -> list[Change]:
    """Who has the books, where that is not what the database knows."""
    record, change = store.get(BOOKS, BOOKS_ID), books_change(place)
    return [] if record is not None and record.body == change.body else [change]


def _holder(place: Place, run: str) -> dict[str, object]:
    return {**asdict(Holder.of_this_process()), **_where(place), "run": run}


def _where(place: Place) -> dict[str, object]:
    return {"host": socket.gethostname(), "data": str(place.data.absolute())}


def _is_here(record: Record, place: Place) -> bool:
    where: dict[str, Any] = _where(place)
    return {name: record.body.get(name) for name in where} == where


def _release(store: ControlStore, run: str) -> None:
    """Say that this control has ended in good order, unless another has the database by now."""
    record = store.get(HOLDER, HOLDER_ID)
    if record is not None and record.body.get("run") == run:
        change = Change(kind=HOLDER, id=HOLDER_ID, body=None, revision=record.revision)
        store.change([change], author=WRITER, action="control.release")


def _name() -> str:
    return f"control of {socket.gethostname()}"
