"""Whether records stand as the journal says: it is the truth, and they are what it adds up to."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from headgate_control import kinds
from headgate_control.audit.heads import ANCHOR
from headgate_control.audit.pruning import PRUNED, pruned
from headgate_control.kinds import DIRECTORY
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Body, Event

_KNOWN = DIRECTORY.union(
    (ANCHOR, PRUNED, kinds.INSTANCE, kinds.MANIFEST, kinds.GATEWAY_KEY),
    (kinds.BUDGET, kinds.LIMIT, kinds.STOP, kinds.EPOCH),
)
Place = tuple[str, str]


@dataclass(slots=True)
class _Sum:
    """What the events add up to: the revision and body of each record, by kind and id."""

    is_whole: bool = True
    position: int = 0
    records: dict[Place, tuple[int | None, Body]] = field(default_factory=dict)
    _met: set[Place] = field(default_factory=set)

    def take(self, event: Event) -> Iterator[str]:
        """Add an event; what it says was there before must have been there.

        Where the beginning of the journal was pruned, the first event of a record is believed.
        """
        place = event.kind, event.id
        revision, before = self.records.get(place, (0, None))
        if not self.is_whole and place not in self._met and event.before is not None:
            revision, before = None, event.before
        self._met.add(place)
        if before != event.before:
            yield f"{event.kind} {event.id}: the event at position {event.position} does not follow the one before it"
        self.position = event.position
        if event.after is None:
            self.records.pop(place, None)
        else:
            self.records[place] = None if revision is None else revision + 1, event.after


def record_problems(store: ControlStore) -> Iterator[str]:
    """Every record that is not what its events add up to; those that change meanwhile are left out.

    Raises:
        TransientError: the database cannot be read.
        TypeError, ValueError: something in it is no record or no event.
    """
    expected = _Sum(is_whole=not any(kept == "journal" for kept, _ in pruned(store)))
    for event in _events(store, 0):
        yield from expected.take(event)
    found, unreadable = dict[Place, tuple[int, Body]](), set[Place]()
    for kind in sorted(_KNOWN | {kind for kind, _ in expected.records}):
        failed: list[str] = []
        found.update({(kind, one.id): (one.revision, one.body) for one in store.all(kind, unreadable=failed)})
        unreadable.update((kind, one) for one in failed)
    yield from (f"{kind} {one}: it cannot be read, so it is not what the journal says" for kind, one in unreadable)
    changing = {(event.kind, event.id) for event in _events(store, expected.position)} | unreadable
    for place in sorted((expected.records.keys() | found.keys()) - changing, key=str):
        if problem := _problem(expected.records.get(place), found.get(place)):
            yield f"{place[0]} {place[1]}: {problem}"


def _events(store: ControlStore, position: int) -> Iterator[Event]:
    while events := store.events(after=position):
        position = events[-1].position
        yield from events


def _problem(expected: tuple[int | None, Body] | None, found: tuple[int, Body] | None) -> str | None:
    if expected == found or (expected is not None and found is not None and expected == (None, found[1])):
        return None
    if found is None:
        return "the journal has it, and the records have not"
    if expected is None:
        return "it is in no event of the journal"
    if expected[1] == found[1]:
        return f"it is at revision {found[0]}, and the journal has {expected[0]} changes of it"
    return "it is not what the journal says"
