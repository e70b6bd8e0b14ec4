"""What was stopped and revoked after a copy of control state was made, carried into the copy before it is put back.

The epoch of what is put back is above every one that there ever was: it goes on from the seconds of the clock, ahead of
any count of stops, however little is known of what was. So nobody takes a new stop for one that it has seen.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headgate_control.identity.instance import LIVING
from headgate_control.identity.launch import revoke
from headgate_control.kinds import EPOCH, STOP, write_stop
from headgate_control.state import ControlState
from headgate_control.stops.commands import EPOCH_ID, record_id
from headgate_control.stops.stop import Stop
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change

_NS_PER_S = 1_000_000_000
ACTION = "control.restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What somebody knows of stops: those that hold, by their ids, the ids of all that ever were, and the last epoch.

    `revoked` are instances that have ended for good.
    """

    held: Mapping[str, Stop] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    epoch: int = 0
    revoked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What holds once a copy is put back.

    `missing` are the stops that are not in the copy, `ended` those in it that somebody has ended since, `revoked` the
    instances that have ended for good since. `kept`: whether what is missing, and what is revoked, was carried over.
    """

    epoch: int
    missing: tuple[Stop, ...]
    ended: tuple[Stop, ...]
    revoked: tuple[str, ...]
    kept: bool


def known_of(store: ControlStore) -> Known:
    """What a control state knows.

    Raises:
        TransientError: the database cannot be read.
        TypeError, ValueError: something in it is no record or no event.
    """
    state, seen = ControlState(store).now, set[str]()
    position = 0
    while events := store.events(after=position):
        position = events[-1].position
        seen.update(str(event.after["stop_id"]) for event in events if event.kind == STOP and event.after is not None)
    stops, instances = state.snapshot.stops, state.snapshot.instances.values()
    return Known(
        held={stop.stop_id: stop for stop in stops},
        seen=frozenset(seen),
        epoch=stops.epoch,
        revoked=frozenset(one.instance_id for one in instances if one.state not in LIVING),
    )


def carry(store: ControlStore, sources: Sequence[Known], *, keep: bool, author: str, at_unix_nano: int) -> Carried:
    """Raise the epoch of a copy, and have what was stopped and revoked since hold in it, unless `keep` is False.

    Raises:
        TransientError: the copy cannot be written.
    """
    copy, state = known_of(store), ControlState(store).now
    over = frozenset(one for source in sources for one in source.seen - source.held.keys())
    missing = tuple(_missing(copy, sources, over, at_unix_nano))
    ended = tuple(stop for name, stop in copy.held.items() if name in over and not _is_replaced(stop, missing))
    living = {one.instance_id for one in state.snapshot.instances.values() if one.state in LIVING}
    revoked = tuple(sorted(living & frozenset().union(*(source.revoked for source in sources))))
    epoch = max(at_unix_nano // _NS_PER_S, *(one.epoch + 1 for one in (copy, *sources)))
    changes = [Change(kind=EPOCH, id=EPOCH_ID, body={"epoch": epoch})]
    if keep:
        for stop in missing:
            body = write_stop(replace(stop, epoch=epoch))
            changes.append(Change(kind=STOP, id=record_id(stop.key, stop.mode), body=body))
    store.change(changes, author=author, action=ACTION, reason="a copy is put back: what was stopped since holds on")
    for instance_id in revoked if keep else ():
        revoke(store, instance_id, state.keys.values(), author=author, reason="revoked after the copy was made")
    return Carried(epoch=epoch, missing=missing, ended=ended, revoked=revoked, kept=keep)


def keep_ahead(store: ControlStore, seen: int, *, author: str, at_unix_nano: int) -> None:
    """Raise the epoch of a store under which somebody has decided at a later one: it is an older copy by now.

    Raises:
        TransientError: the store cannot be written.
    """
    record = store.get(EPOCH, EPOCH_ID)
    epoch = int(str(record.body["epoch"])) if record is not None else 0
    if epoch < seen:
        ahead = max(at_unix_nano // _NS_PER_S, seen + 1)
        reason = f"decisions were made at epoch {seen}, and the store is at {epoch}: it is an older copy"
        change = Change(kind=EPOCH, id=EPOCH_ID, body={"epoch": ahead})
        store.change([change], author=author, action="stop.epoch", reason=reason)


def _missing(copy: Known, sources: Iterable[Known], over: frozenset[str], at_unix_nano: int) -> Iterator[Stop]:
    """The stops that hold by what a source knows, and were never in the copy; of two in one place the later."""
    found: dict[str, Stop] = {}
    for source in sources:
        for name, stop in source.held.items():
            place = record_id(stop.key, stop.mode)
            is_later = place not in found or found[place].epoch < stop.epoch
            if name not in copy.seen | over and stop.holds(at_unix_nano) and is_later:
                found[place] = stop
    yield from sorted(found.values(), key=lambda one: one.epoch)


def _is_replaced(stop: Stop, later: Iterable[Stop]) -> bool:
    return any((one.key, one.mode) == (stop.key, stop.mode) for one in later)
