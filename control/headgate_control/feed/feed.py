"""The feed itself: the state as its readers know it, the changes since, and who reads.

Positions count within one run of control. A reader that comes with a position of this run, and not too old a one, gets
the changes since; every other gets a snapshot. Which points read is a record, so that a control that has just started
knows whose acknowledgement it must wait for.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from headgate_control.feed import messages
from headgate_control.feed.messages import Beat
from headgate_control.feed.subscriber import WAITING_MAX, Subscriber
from headgate_control.kinds import EPOCH
from headgate_control.policy.engine import PolicyEngine
from headgate_control.state import ControlState, State
from headgate_control.stops.points import POINTS_MAX, EnforcementPoints
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change, ConflictError, Event
from headgate_processors.errors import ForbiddenError, OverloadError, PermanentError

POINT = "enforcement_point"
"""The kind of record that says whose a point is."""
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedConfig:
    """`changes_max`: how far back a reader may come without a snapshot. `forget_s`: a point that was gone for so
    long is expected to acknowledge nothing any more.
    """

    changes_max: int = 4_096
    waiting_max: int = WAITING_MAX
    beat_every_s: float = messages.BEAT_EVERY_S
    forget_s: float = 600.0


@dataclass(slots=True, kw_only=True)
class _Point:
    """Who speaks for an enforcement point, and since when nobody does (None: somebody does)."""

    owner: str
    subscriber: Subscriber | None
    gone_ns: int | None = None


class Feed:
    """For one event loop, in which it is `start`ed; changes may be learned of by any thread.

    While `is_blind` says that the store cannot be seen, nobody is told that everything was told.
    """

    def __init__(
        self,
        store: ControlStore,
        state: ControlState,
        points: EnforcementPoints,
        config: FeedConfig = FeedConfig(),
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        is_blind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store, self._source, self._points = store, state, points
        self.config, self._clock, self._is_blind = config, clock, is_blind
        self._run = secrets.token_hex(8)
        self._changes: deque[tuple[int, bytes]] = deque()
        self._remote: dict[str, _Point] = {}
        self._forgotten: set[str] = set()
        self._state = state.now
        self._oldest = self._position = self._state.position
        self._policy = _encoded(self._state.snapshot.policy)

    def start(self) -> None:
        """Follow control state from now on. Call it once, in the loop of its readers.

        Raises:
            TransientError: the store cannot be read.
        """
        loop = asyncio.get_running_loop()

        def heard(state: State, events: list[Event]) -> None:
            loop.call_soon_threadsafe(self._publish, state, list(events))

        for record in self._store.all(POINT)[:POINTS_MAX]:
            self._points.join(record.id)
            owner = str(record.body["owner"])
            self._remote[record.id] = _Point(owner=owner, subscriber=None, gone_ns=self._clock())
        self._source.listen(heard)
        self._state = self._source.now
        self._oldest = self._position = self._state.position
        self._policy = _encoded(self._state.snapshot.policy)

    def close(self) -> None:
        """Let all readers go: they come back when control does."""
        for point in self._remote.values():
            if point.subscriber is not None:
                point.subscriber.drop()

    @property
    def told(self) -> Beat:
        """Up to where everything was told to whoever has nothing waiting."""
        return Beat(position=self._position, epoch=self._state.snapshot.stops.epoch)

    async def remember(self, name: str, owner: str) -> None:
        """Write down whose a point is, before it is told anything.

        Raises:
            ConflictError: control itself has a point of this name.
            ForbiddenError: the name is another credential's.
            OverloadError: there are as many points as may be.
            TransientError: the store cannot be written.
        """
        self._forget()
        known = self._check(name, owner)
        if known is None and name in self._points.names:
            raise ConflictError(f"control itself has an enforcement point {name!r}: give this gateway another name")
        if known is None and len(self._points.names) >= POINTS_MAX:
            raise OverloadError(f"{POINTS_MAX} enforcement points have joined: no more may")
        if known is None:
            over, self._forgotten = self._forgotten - {name}, set()
            changes = [Change(kind=POINT, id=name, body={"owner": owner}), *_removed(over)]
            await asyncio.to_thread(self._store.change, changes, author=owner, action="point.join")

    def join(self, name: str, process: str, owner: str) -> Subscriber:
        """A point that is remembered begins to read; `process` is a random name of the process that it is.

        Raises:
            ConflictError: another process reads under this name.
            ForbiddenError: the name is another credential's.
            OverloadError: there are as many points as may be.
        """
        known = self._check(name, owner)
        if known is not None and known.subscriber is not None:
            if known.subscriber.process != process and not known.subscriber.is_dropped:
                raise ConflictError(f"another process reads as {name!r}: give each gateway a name of its own")
            known.subscriber.drop()
        try:
            self._points.join(name)
        except OverflowError as error:
            raise OverloadError(str(error)) from error
        made = Subscriber(name, process, waiting_max=self.config.waiting_max)
        self._remote[name] = _Point(owner=owner, subscriber=made)
        return made

    def opening(self, since: int | None, run: str | None) -> Iterator[bytes]:
        """What a reader that has just joined hears first. Take it before anything else happens."""
        self._use_policy()
        state, position, told, last = self._state, self._position, self.told, self._beat()
        missed = self._since(since, run)
        policy = self._policy

        def pieces() -> Iterator[bytes]:
            yield messages.hello(self._run, told, control=_control())
            yield from messages.snapshot(state, position) if missed is None else missed
            yield policy[1]
            yield last

        return pieces()

    def beat(self) -> bytes:
        """A beat, for a reader that has nothing waiting."""
        self._use_policy()
        return self._beat()

    def gone(self, subscriber: Subscriber) -> None:
        """A reader's connection has ended: its point stays, silent, until it comes back or is forgotten."""
        point = self._remote.get(subscriber.name)
        if point is not None and point.subscriber is subscriber:
            point.subscriber, point.gone_ns = None, self._clock()

    def acknowledge(self, name: str, owner: str, cut: Mapping[int, int]) -> None:
        """A point enforces these epochs, and has cut so many calls for each.

        Raises:
            ForbiddenError: the point is not this credential's.
            PermanentError: an epoch has not been yet.
        """
        self._own(name, owner)
        if max(cut) > self._state.snapshot.stops.epoch:
            raise PermanentError(f"epoch {max(cut)} is ahead of control's, {self._state.snapshot.stops.epoch}")
        for epoch, count in sorted(cut.items()):
            self._points.acknowledge(name, epoch, cut=count)

    async def leave(self, name: str, owner: str, *, is_operator: bool = False) -> None:
        """A point ends for good, and nothing is expected of it; an operator may say so of one that is gone.

        Raises:
            ForbiddenError: the point is not this credential's.
            TransientError: the store cannot be written.
        """
        known = self._remote.get(name)
        point = known if is_operator and known is not None else self._own(name, owner)
        if point.subscriber is not None:
            point.subscriber.drop()
        del self._remote[name]
        self._points.leave(name)
        await asyncio.to_thread(self._store.change, _removed([name]), author=owner, action="point.leave")

    def _check(self, name: str, owner: str) -> _Point | None:
        """What is known of a point that is to be this credential's."""
        known = self._remote.get(name)
        if known is not None and known.owner != owner:
            raise ForbiddenError(f"the enforcement point {name!r} belongs to another credential")
        return known

    def _own(self, name: str, owner: str) -> _Point:
        point = self._remote.get(name)
        if point is None or point.owner != owner:
            raise ForbiddenError(f"no enforcement point {name!r} reads the feed with this credential")
        return point

    def _since(self, since: int | None, run: str | None) -> list[bytes] | None:
        """The changes after a position; None where they are not all known."""
        if since is None or (run is not None and run != self._run):
            return None
        known = {self._oldest, *(position for position, _ in self._changes)}
        return [piece for position, piece in self._changes if position > since] if since in known else None

    def _publish(self, state: State, events: list[Event]) -> None:
        """Tell what has changed; then, when it belongs to nothing that is still to come, that this was all."""
        for event in events:
            if event.kind in messages.KINDS and event.position > self._position:
                piece = messages.change(event, after=self._position)
                self._position = event.position
                self._keep(event.position, piece)
                self._tell(piece)
        if state.position >= self._state.position:
            self._state = state
        self._use_policy()
        # A new epoch comes before the stops that it is about: it is not all of them yet.
        if not events or events[-1].kind != EPOCH:
            self._tell(self._beat())
        self._forget()

    def _beat(self) -> bytes:
        return messages.blind() if self._is_blind() else messages.beat(self.told)

    def _use_policy(self) -> None:
        """Tell the bundle when it is another one by now."""
        engine = self._source.now.snapshot.policy
        if engine is not self._policy[0]:
            self._policy = _encoded(engine)
            self._tell(self._policy[1])

    def _keep(self, position: int, piece: bytes) -> None:
        self._changes.append((position, piece))
        if len(self._changes) > self.config.changes_max:
            self._oldest, _ = self._changes.popleft()

    def _tell(self, piece: bytes) -> None:
        for point in self._remote.values():
            if point.subscriber is not None and not point.subscriber.is_dropped:
                point.subscriber.offer(piece)

    def _forget(self) -> None:
        over_ns = self._clock() - int(self.config.forget_s * _NS_PER_S)
        for name, point in list(self._remote.items()):
            if point.gone_ns is not None and point.gone_ns < over_ns:
                del self._remote[name]
                self._points.leave(name)
                self._forgotten.add(name)


def _removed(names: Iterable[str]) -> list[Change]:
    return [Change(kind=POINT, id=name, body=None) for name in names]


def _encoded(engine: PolicyEngine | None) -> tuple[PolicyEngine | None, bytes]:
    return engine, messages.policy(engine.bundle if engine is not None else None)


def _control() -> str:
    """The version of Headgate that speaks."""
    try:
        return version("headgate")
    except PackageNotFoundError:
        return "unknown"
