"""What control's own door refuses: counted at once, logged and journalled a little later, so seldom that a flood of bad
credentials neither fills a disk nor keeps anybody waiting.

Whoever is known and asks for what is not theirs, such as an agent that commands, has an event in the journal.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from headgate_control.server.doors import Caller, NotYoursError
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change
from headgate_processors.errors import ForbiddenError, HeadgateError, UnauthenticatedError

REFUSED = "refused"
"""The kind of record that says what a caller was refused last."""
ACTION = "command.refuse"
WAITING_MAX = 256
SAID_AGAIN_NS = 60_000_000_000
EVENTS_A_MINUTE = 20
LINES_A_MINUTE = 20
_LOG = logging.getLogger("control")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is told as one: what was asked for, such as `POST /v1/stops/{scope}`, and by whom where that is known."""

    status: int
    asked: str
    caller: Caller | None = None


@dataclass(slots=True)
class _Times:
    """How often it happened since it was told last, between when and when, and from where the last time."""

    times: int = 0
    first_unix_nano: int = 0
    last_unix_nano: int = 0
    remote: str = ""


@dataclass(slots=True)
class _Budget:
    """So many a minute."""

    left: int
    a_minute: int
    since_ns: int = 0

    def spend(self, now_ns: int) -> bool:
        if now_ns - self.since_ns >= SAID_AGAIN_NS:
            self.left, self.since_ns = self.a_minute, now_ns
        self.left -= 1
        return self.left >= 0


def _budget(a_minute: int) -> _Budget:
    return _Budget(left=a_minute, a_minute=a_minute)


@dataclass(slots=True)
class Refusals:
    """Refused requests. `note` is called by the event loop, `tell` by one thread at a time."""

    clock: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    counts: dict[tuple[str, ...], float] = field(default_factory=dict)
    """How many there were by what was asked for and the status, as `/metrics` shows them."""
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _waiting: dict[Refusal, _Times] = field(default_factory=dict)
    _told_ns: dict[Refusal, int] = field(default_factory=dict)
    _unnamed: int = 0
    _events: _Budget = field(default_factory=partial(_budget, EVENTS_A_MINUTE))
    _lines: _Budget = field(default_factory=partial(_budget, LINES_A_MINUTE))

    def note(self, error: UnauthenticatedError | ForbiddenError, asked: str, remote: str) -> None:
        """One request was refused; what is refused for other reasons than who asks is left out."""
        caller = error.caller if isinstance(error, NotYoursError) else None
        if caller is None and not isinstance(error, UnauthenticatedError):
            return
        refusal = Refusal(status=401 if caller is None else 403, asked=asked, caller=caller)
        place = asked, str(refusal.status)
        self.counts[place] = self.counts.get(place, 0) + 1
        now = self.clock()
        self._add(refusal, _Times(times=1, first_unix_nano=now, last_unix_nano=now, remote=remote))

    def tell(self, store: ControlStore) -> None:
        """Log and journal what is due; what is not, or cannot be journalled, waits.

        Raises:
            TransientError: the journal cannot be written.
        """
        now_ns = self.monotonic_ns()
        self._told_ns = {one: at_ns for one, at_ns in self._told_ns.items() if now_ns - at_ns < SAID_AGAIN_NS}
        for refusal in self._due():
            if refusal.caller is not None and not self._events.spend(now_ns):
                continue
            with self._guard:
                times = self._waiting.pop(refusal)
            if refusal.caller is not None:
                self._journal(store, refusal, refusal.caller, times)
            self._told_ns[refusal] = now_ns
            self._say(now_ns, _line(refusal, times))
        with self._guard:
            unnamed, self._unnamed = self._unnamed, 0
        if unnamed:
            self._say(now_ns, f"{unnamed} more requests of others were refused")

    def _due(self) -> list[Refusal]:
        with self._guard:
            return [one for one in self._waiting if one not in self._told_ns]

    def _add(self, refusal: Refusal, more: _Times) -> None:
        with self._guard:
            if refusal not in self._waiting and len(self._waiting) >= WAITING_MAX:
                self._unnamed += more.times
                return
            before = self._waiting.setdefault(refusal, more)
            if before is not more:
                before.times += more.times
                before.first_unix_nano = min(before.first_unix_nano, more.first_unix_nano)
                before.last_unix_nano, before.remote = more.last_unix_nano, more.remote

    def _journal(self, store: ControlStore, refusal: Refusal, caller: Caller, times: _Times) -> None:
        try:
            change = _change(refusal, caller, times)
            store.change([change], author=caller.name, action=ACTION, reason=f"{refusal.asked}: {_whom(caller)}")
        except HeadgateError:
            self._add(refusal, times)
            raise

    def _say(self, now_ns: int, line: str) -> None:
        if self._lines.spend(now_ns):
            _LOG.warning("%s", line)


def _change(refusal: Refusal, caller: Caller, times: _Times) -> Change:
    body: Mapping[str, object] = {
        "caller": caller.name,
        "role": caller.role,
        "instance_id": caller.instance_id,
        "key_id": caller.key_id,
        "asked": refusal.asked,
        "status": refusal.status,
        "times": times.times,
        "first_unix_nano": times.first_unix_nano,
        "last_unix_nano": times.last_unix_nano,
    }
    return Change(kind=REFUSED, id=caller.instance_id or caller.name, body=body)


def _whom(caller: Caller) -> str:
    return f"it is not for {caller.role}s"


def _line(refusal: Refusal, times: _Times) -> str:
    caller = refusal.caller
    often = "once" if times.times == 1 else f"{times.times} times"
    last = f"{often}, the last time from {times.remote}"
    if caller is None:
        return f"{refusal.asked} was refused {last}: no token or key that is good here"
    whose = caller.name if caller.instance_id is None else f"{caller.name} of {caller.instance_id}"
    return f"{refusal.asked} was refused to {whose} {last}: {_whom(caller)}"
