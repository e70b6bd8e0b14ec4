"""Control state as one snapshot to decide by, kept current from the journal's events."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from headgate_control.budgets.budget import Budget
from headgate_control.decide.core import Snapshot
from headgate_control.identity.gateway_key import GatewayKey
from headgate_control.identity.instance import Instance
from headgate_control.kinds import (
    BUDGET,
    DIRECTORY,
    EPOCH,
    GATEWAY_KEY,
    INSTANCE,
    LIMIT,
    MANIFEST,
    STOP,
    read_budget,
    read_grant,
    read_stop,
)
from headgate_control.limits.limit import Limit
from headgate_control.policy.engine import PolicyEngine
from headgate_control.stops.stop import Stop
from headgate_control.stops.stop_set import StopSet
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Body, Event
from headgate_processors.errors import StoreError

_PAGE = 1_000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that control knows at one position of the journal."""

    position: int = 0
    snapshot: Snapshot = field(default_factory=Snapshot)
    keys: Mapping[str, GatewayKey] = field(default_factory=dict)
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)


Listener = Callable[[State, list[Event]], None]


class ControlState:
    """The state of a store. Reading is free of locks; `refresh` may be called by any thread.

    `clock` is monotonic: whoever decides by the state asks it how old the state may be.
    """

    def __init__(
        self,
        store: ControlStore,
        policy: PolicyEngine | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._store, self._clock = store, clock
        self._guard = threading.Lock()
        self._listeners: list[Listener] = []
        self._seen_ns = clock()
        self.now, self._last = _loaded(store, policy)

    def age_ns(self) -> int:
        """How long ago the journal was read to its end, counted from before it was asked."""
        return self._clock() - self._seen_ns

    def listen(self, listener: Listener) -> None:
        """Have every later change told to `listener`, in order, by the thread that learns of it."""
        self._listeners.append(listener)

    def refresh(self) -> State:
        """Take in what the journal has got since.

        Raises:
            TransientError: the store cannot be read.
            StoreError: its journal is another one by now, such as that of a copy that was put back.
        """
        with self._guard:
            while True:
                asked_ns, events = self._clock(), self._fresh()
                if not events:
                    self._seen_ns = asked_ns
                    return self.now
                self.now, self._last = applied(self.now, events), events[-1]
                if len(events) < _PAGE - 1:
                    # This was all: whoever listens may say so.
                    self._seen_ns = asked_ns
                for listener in self._listeners:
                    listener(self.now, events)

    def _fresh(self) -> list[Event]:
        """The events after the last that is known, which must still be where it was."""
        if self._last is None:
            return self._store.events(limit=_PAGE)
        found = self._store.events(after=self._last.position - 1, limit=_PAGE)
        if not found or (found[0].position, found[0].digest) != (self._last.position, self._last.digest):
            message = (
                "the journal is not the one that was followed so far, as after a copy was put back while control ran: "
                "control must start anew"
            )
            raise StoreError(message)
        return found[1:]

    def use_policy(self, policy: PolicyEngine) -> None:
        """Decide by another bundle from now on."""
        with self._guard:
            self.now = replace(self.now, snapshot=replace(self.now.snapshot, policy=policy))


def _loaded(store: ControlStore, policy: PolicyEngine | None) -> tuple[State, Event | None]:
    """The state of all events there are, and the last of them: whoever writes meanwhile is heard of by `refresh`."""
    state, last = State(snapshot=Snapshot(policy=policy)), None
    while events := store.events(after=state.position, limit=_PAGE):
        state, last = applied(state, events), events[-1]
    return state, last


def applied(state: State, events: Iterable[Event]) -> State:
    """The state after some more events."""
    instances, grants = dict(state.snapshot.instances), dict(state.snapshot.grants)
    keys, budgets, stops, position = dict(state.keys), dict(state.budgets), state.snapshot.stops, state.position
    limits, entries = state.limits, list[tuple[str, str, Body | None]]()
    for event in events:
        position = event.position
        if event.kind == INSTANCE:
            _put(instances, event, Instance.read)
        elif event.kind == MANIFEST:
            _put(grants, event, read_grant)
        elif event.kind == GATEWAY_KEY:
            _put(keys, event, GatewayKey.read)
        elif event.kind == BUDGET:
            _put(budgets, event, read_budget)
        elif event.kind == LIMIT:
            limits = dict(limits)
            _put(limits, event, Limit.read)
        elif event.kind in DIRECTORY:
            entries.append((event.kind, event.id, event.after))
        elif event.kind == STOP:
            stops = _stopped(stops, event)
        elif event.kind == EPOCH and event.after is not None:
            stops = replace(stops, epoch=max(stops.epoch, int(str(event.after["epoch"]))))
    directory = state.snapshot.directory.after(entries)
    snapshot = replace(state.snapshot, stops=stops, instances=instances, grants=grants, directory=directory)
    return State(position=position, snapshot=snapshot, keys=keys, budgets=budgets, limits=limits)


def _put(into: dict[str, _T], event: Event, read: Callable[[Body], _T]) -> None:
    if event.after is None:
        into.pop(event.id, None)
    else:
        into[event.id] = read(event.after)


def _stopped(stops: StopSet, event: Event) -> StopSet:
    stop: Stop | None = read_stop(event.after) if event.after is not None else None
    if stop is not None:
        return stops.with_stop(stop)
    before = read_stop(event.before) if event.before is not None else None
    return stops if before is None else stops.without(before, epoch=stops.epoch)
