"""Control state as the feed tells it: every change once and in order, or none at all.

Whatever this version cannot read is denied by: a manifest, an instance or a key that it cannot read is not there, a
bundle that it cannot read permits nothing. A stop, a limit or an entry of the directory that it cannot read makes it
useless, for it would let pass what it should not, and it says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from headgate_control.budgets.budget import Scope
from headgate_control.decide.core import Snapshot
from headgate_control.feed.messages import VERSION, VERSION_OLDEST, Beat, bundle_from, event_of
from headgate_control.kinds import DIRECTORY, EPOCH, LIMIT, STOP, read_stop
from headgate_control.policy.engine import PolicyEngine
from headgate_control.state import State, applied
from headgate_control.stops.stop import SCOPES, Mode
from headgate_control.store.record import Event
from headgate_gateways.link.frames import Frame
from headgate_processors.errors import HeadgateError, PermanentError, TransientError

RECORDS_MAX = 2_000_000
UNREADABLE = (HeadgateError, AttributeError, KeyError, TypeError, ValueError)
"""What comes of reading a record that has another shape than this version expects."""


class GapError(TransientError):
    """Something was not heard: read the feed again from the last position."""


class UnreadableError(PermanentError):
    """Control speaks of something that a gateway of this version cannot do."""


@dataclass(slots=True)
class Replica:
    """What is known of control. `run` names the run of control that its position counts in; None is none yet.

    `problem` is what of it this version cannot read.
    """

    state: State = field(default_factory=State)
    run: str | None = None
    policy: Mapping[str, Any] = field(default_factory=lambda: {"digest": None})
    problem: str | None = None
    _speaking: str | None = None
    _pages: list[Event] = field(default_factory=list)
    _page: int = 0

    def take(self, frame: Frame) -> Beat | None:
        """Take in one event of the feed; a beat is returned. What it does not know it leaves alone.

        Raises:
            GapError: an event before it is missing.
            UnreadableError: it is a stop that cannot be followed, or another language altogether.
        """
        try:
            return self._taken(frame)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableError(f"control's {frame.name!r} cannot be read by this version: {error!r}") from error

    def use_policy(self, body: Mapping[str, Any]) -> None:
        """Decide by this bundle; by none if it cannot be read."""
        self.policy, engine, self.problem = body, None, None
        try:
            bundle = bundle_from(body)
            engine = PolicyEngine(bundle) if bundle is not None else None
        except UNREADABLE as error:
            self.problem = f"the policies of control cannot be read by this version, so all is denied: {error}"
        self.state = replace(self.state, snapshot=replace(self.state.snapshot, policy=engine))

    def restore(self, events: Sequence[Event], position: int) -> None:
        """Be what these records say, with the bundle as it is."""
        state = _taken_in(State(snapshot=Snapshot(policy=self.state.snapshot.policy)), events)
        self.state = replace(state, position=position)

    def _taken(self, frame: Frame) -> Beat | None:
        body = frame.body
        if frame.name == "hello":
            self._heard_hello(body)
        elif frame.name == "snapshot":
            self._heard_page(body)
        elif frame.name == "change":
            self._heard_change(body, frame.position)
        elif frame.name == "policy":
            self.use_policy(body)
        elif frame.name == "beat":
            return self._heard_beat(body)
        return None

    def _heard_hello(self, body: Mapping[str, Any]) -> None:
        if body["version"] < VERSION_OLDEST or body["version_oldest"] > VERSION:
            message = (
                f"control speaks version {body['version']} of the feed, this gateway {VERSION_OLDEST} to {VERSION}"
            )
            raise UnreadableError(message)
        self._speaking, self._pages, self._page = str(body["run"]), [], 0

    def _heard_page(self, body: Mapping[str, Any]) -> None:
        """A page of the whole state, which stands in place of the old one when the last page is there."""
        if body["page"] != self._page or len(self._pages) > RECORDS_MAX:
            raise GapError("a page of control's snapshot is missing")
        self._page += 1
        self._pages += [event_of(record, position=body["position"]) for record in body["records"]]
        if not body["more"]:
            self.restore(self._pages, body["position"])
            self.run, self._pages, self._page = self._speaking, [], 0

    def _heard_change(self, body: Mapping[str, Any], position: int | None) -> None:
        if position is None or self.run != self._speaking:
            raise GapError("control tells of a change before it has told its state")
        if position <= self.state.position:
            return
        if body["after"] != self.state.position:
            raise GapError(f"the changes between {self.state.position} and {body['after']} were not heard")
        self.state = _taken_in(self.state, [event_of(body, position=position)])

    def _heard_beat(self, body: Mapping[str, Any]) -> Beat:
        beat = Beat(position=body["position"], epoch=body["epoch"])
        if self.run != self._speaking or beat.position != self.state.position:
            raise GapError(f"control is at {beat.position}, and {self.state.position} was heard of")
        if beat.epoch != self.state.snapshot.stops.epoch:
            raise GapError(f"control is at epoch {beat.epoch}, and {self.state.snapshot.stops.epoch} was heard of")
        return beat


def _taken_in(state: State, events: Sequence[Event]) -> State:
    """The state after these events; one by one where they cannot be read all."""
    for event in events:
        _check(event)
    try:
        return applied(state, events)
    except UNREADABLE:
        for event in events:
            state = _one(state, event)
        return state


def _one(state: State, event: Event) -> State:
    """One event more. What cannot be read is not there, which denies."""
    try:
        return applied(state, [event])
    except UNREADABLE as error:
        if event.kind in {STOP, EPOCH, LIMIT, *DIRECTORY}:
            raise UnreadableError(f"a {event.kind} of control cannot be read by this version: {error!r}") from error
        return applied(state, [replace(event, after=None)])


def _check(event: Event) -> None:
    """Refuse a stop or a limit that nobody here could follow.

    Raises:
        UnreadableError: it is one.
    """
    if event.after is None or event.kind not in {STOP, LIMIT}:
        return
    if event.kind == LIMIT:
        scope = event.after["place"][0]  # type: ignore[index]
        is_known = scope in get_args(Scope)
    else:
        stop = read_stop(event.after)
        scope, is_known = stop.key[0], stop.key[0] in SCOPES and stop.mode in get_args(Mode)
    if not is_known:
        raise UnreadableError(f"control has a {event.kind} of scope {scope!r}, which this version does not know")
