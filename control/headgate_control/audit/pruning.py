"""Old records taken away, so that chains do not grow for ever: what is left is proven from a known record on.

Only a beginning goes. The journal keeps the number and digest of the last record of it, as an event of its own: whoever
cuts off a beginning without that is found, and a head that was kept elsewhere is compared with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from headgate_control.audit.chain import Anchor
from headgate_control.audit.heads import Head, Kept, read_head
from headgate_control.audit.log import Segment
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change, ConflictError, Event

PRUNED = "pruned"
ACTION = "audit.prune"
RESTATED_AT_ONCE = 200
Chained = tuple[Kept, str]
"""Where a chain is kept, and its writer."""


def pruned(store: ControlStore) -> dict[Chained, Anchor]:
    """The last record that was taken away of each chain of which some were.

    Raises:
        TransientError: the database cannot be read.
        ValueError: a record of it is none.
    """
    heads = [read_head(record.body) for record in store.all(PRUNED)]
    return {(head.kept, head.writer): head.anchor for head in heads}


def pruned_change(kept: Kept, last: Anchor) -> Change:
    """The record of what was taken away of a chain."""
    head = Head(kept=kept, writer=last.writer, number=last.number, digest=last.digest)
    return Change(
        kind=PRUNED,
        id=f"{kept}:{last.writer}",
        body={name: value for name, value in asdict(head).items() if value is not None},
    )


def prune_log(store: ControlStore, segments: Sequence[Segment], *, author: str, reason: str) -> None:
    """Remove the first files of a log. The journal says so before they go, and verifies either way.

    Raises:
        TransientError: the store cannot be written.
        OSError: a file cannot be removed.
    """
    store.change([pruned_change("log", segments[-1].last)], author=author, action=ACTION, reason=reason)
    for segment in segments:
        segment.path.unlink()


def restate(store: ControlStore, position: int, *, author: str, reason: str) -> int:
    """Say again in the journal what it has last said up to a position, so that nothing before is needed; how many.

    Raises:
        TransientError: the store cannot be read or written.
    """
    kinds, later = set[str](), set[tuple[str, str]]()
    for event in _events(store):
        kinds.add(event.kind)
        if event.position > position:
            later.add((event.kind, event.id))
    every = (record for kind in sorted(kinds) for record in store.all(kind))
    old = [record for record in every if (record.kind, record.id) not in later]
    changes = [Change(kind=one.kind, id=one.id, body=one.body, revision=one.revision) for one in old]
    for first in range(0, len(changes), RESTATED_AT_ONCE):
        _say(store, changes[first : first + RESTATED_AT_ONCE], author, reason)
    return len(changes)


def _say(store: ControlStore, changes: Sequence[Change], author: str, reason: str) -> None:
    """Each of them, but for those that somebody has changed meanwhile: these have a later event."""
    try:
        store.change(changes, author=author, action="audit.restate", reason=reason)
    except ConflictError:
        if len(changes) > 1:
            for change in changes:
                _say(store, [change], author, reason)


def last_before(store: ControlStore, time_unix_nano: int) -> Event | None:
    """The last event of those at the beginning of the journal that are older than a time; None where there is none.

    Raises:
        TransientError: the store cannot be read.
    """
    last = None
    for event in _events(store):
        if event.time_unix_nano >= time_unix_nano:
            break
        last = event
    return last


def _events(store: ControlStore) -> Iterator[Event]:
    position = 0
    while events := store.events(after=position):
        position = events[-1].position
        yield from events
