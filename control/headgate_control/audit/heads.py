"""Heads of chains, written down elsewhere: those of the logs in the journal, and all of them in a file to be kept away.

Whoever cuts off the end of a chain must also change what was written down of it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from headgate_control.audit.chain import Anchor
from headgate_control.audit.log import AuditLog, log_head, writers
from headgate_control.budgets.books import books_of
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change
from headgate_processors.errors import ConfigError

Kept = Literal["journal", "log"]
"""Where a chain is: in the control database, or in files of its own."""

ANCHOR = "anchor"
_DIGEST_CHARS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How many records a chain had, and the digest of the last; `books` says in whose folder, where it has an id."""

    kept: Kept
    writer: str
    number: int
    digest: str
    books: str | None = None

    @property
    def anchor(self) -> Anchor:
        """The same within its chain."""
        return Anchor(writer=self.writer, number=self.number, digest=self.digest)


def heads(store: ControlStore, logs: Path) -> list[Head]:
    """The heads of all chains as they are now, those of the journal first.

    Raises:
        StoreError: the last line of a log is damaged.
        TransientError: the database cannot be read.
    """
    found = [_head("journal", anchor) for anchor in store.anchors()]
    return found + log_heads(logs)


def log_heads(logs: Path) -> list[Head]:
    """The heads of the logs of a folder.

    Raises:
        StoreError: the last line of one is damaged.
    """
    return [_head("log", log_head(logs, writer)) for writer in writers(logs)]


def anchor_logs(store: ControlStore, logs: Iterable[AuditLog], *, author: str) -> list[Head]:
    """Write the heads of logs into the journal, each once it is durable; one that has not moved is left out.

    Raises:
        TransientError: a disk refuses, or the store cannot be written.
    """
    found = [_head("log", log.durable_anchor(), books_of(log.folder)) for log in logs]
    moved = [head for head in found if head.number and _is_new(store, head)]
    if moved:
        store.change([_change(head) for head in moved], author=author, action="audit.anchor")
    return moved


def is_behind(store: ControlStore, logs: Path, writer: str) -> bool:
    """Whether a log is shorter than the journal knows of the log of these books, such as one of an older copy.

    Raises:
        StoreError: its last line is damaged.
        TransientError: the database cannot be read.
    """
    own = _head("log", log_head(logs, writer), books_of(logs))
    record = store.get(ANCHOR, _id(own))
    known = None if record is None else read_head(record.body)
    is_other = known is not None and known.number == own.number and known.digest != own.digest
    return known is not None and (known.number > own.number or is_other)


def journalled(store: ControlStore) -> Iterator[Head]:
    """Every head that the journal has ever been given."""
    position = 0
    while events := store.events(after=position):
        position = events[-1].position
        for event in events:
            if event.kind == ANCHOR and event.after is not None:
                yield read_head(event.after)


def heads_text(found: Iterable[Head], *, at_unix_nano: int) -> bytes:
    """Heads as a file keeps them."""
    content = {"version": 1, "time_unix_nano": at_unix_nano, "heads": [_body(head) for head in found]}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"


def read_heads(path: Path) -> list[Head]:
    """The heads of a file that `heads_text` gave.

    Raises:
        ConfigError: it cannot be read, or is no such file.
    """
    try:
        content = orjson.loads(path.read_bytes())
        if content["version"] != 1:
            raise ValueError("it is of a newer Headgate")
        return [read_head(one) for one in content["heads"]]
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path} is no file of heads ({error}): expected what `headgate audit anchor` prints"
        raise ConfigError(message) from error


def read_head(body: Any) -> Head:
    """A head of a record.

    Raises:
        ValueError: it is none.
    """
    kept, writer, number, digest = (body.get(name) for name in ("kept", "writer", "number", "digest"))
    if kept not in ("journal", "log") or not isinstance(writer, str) or type(number) is not int or number < 0:
        raise ValueError("no head of a chain")
    if not isinstance(digest, str) or len(digest) != _DIGEST_CHARS:
        raise ValueError("no head of a chain: a digest has 64 digits")
    books = body.get("books")
    return Head(kept=kept, writer=writer, number=number, digest=digest, books=None if books is None else str(books))


def _head(kept: Kept, anchor: Anchor, books: str | None = None) -> Head:
    return Head(kept=kept, writer=anchor.writer, number=anchor.number, digest=anchor.digest, books=books)


def _is_new(store: ControlStore, head: Head) -> bool:
    record = store.get(ANCHOR, _id(head))
    return record is None or record.body != _body(head)


def _change(head: Head) -> Change:
    return Change(kind=ANCHOR, id=_id(head), body=_body(head))


def _id(head: Head) -> str:
    return ":".join(part for part in (head.kept, head.books, head.writer) if part is not None)


def _body(head: Head) -> dict[str, object]:
    return {name: value for name, value in asdict(head).items() if value is not None}
