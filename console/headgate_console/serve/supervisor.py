"""The supervisor: starts the parts, tells when each listens, restarts what ends, drains on a signal."""

import queue
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from headgate_console.serve.children import Child, Event, Part

POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorConfig:
    """How long all parts together may take to end, and when one that ended by itself is started again.

    A part that was ready is started again however often it ends: after `restart_wait_s`, doubled for each time within
    `restarts_window_s`, to `restart_wait_s_max`. After `attempts_max` starts in a row in which it never was ready,
    everything ends.
    """

    drain_s: float = 30.0
    attempts_max: int = 5
    restarts_window_s: float = 60.0
    restart_wait_s: float = 0.5
    restart_wait_s_max: float = 5.0


@dataclass(slots=True, kw_only=True)
class PartState:
    """What is known of one part."""

    child: Child | None = None
    ready: bool = False
    failed: bool = False
    unready: str | None = None
    starts: int = 0
    attempts: int = 0
    listeners: dict[str, str] = field(default_factory=dict)
    restarts: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Supervisor:
    """Runs parts until a signal. `out` gets a line per listener, `say` everything else.

    Parts end in the order given: what feeds another one comes before it. They start together, but for those that
    wait for another.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        settings: Mapping[str, Any],
        *,
        out: Callable[[str], None],
        say: Callable[[str], None],
        config: SupervisorConfig = SupervisorConfig(),
    ) -> None:
        self._parts = {part.name: part for part in parts}
        self._settings = dict(settings)
        self._out, self._say, self._config = out, say, config
        self._events: queue.SimpleQueue[tuple[Child | None, Event]] = queue.SimpleQueue()
        self.states = {name: PartState() for name in self._parts}

    @property
    def ready(self) -> bool:
        """Whether every part runs and takes work."""
        return all(state.ready for state in self.states.values())

    @property
    def healthy(self) -> bool:
        """Whether every part runs, or is being started again."""
        return not any(state.failed for state in self.states.values())

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, then drain; the exit code of the process.

        A second signal ends the parts at once.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for name, part in self._parts.items():
                if part.after is None:
                    self._start(name)
            code = self._watch()
            self._drain()
            return code
        finally:
            for state in self.states.values():
                if state.child is not None:
                    state.child.kill()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._events.put((None, {"event": "signal", "number": number}))

    def _start(self, name: str) -> None:
        self.states[name].starts += 1
        self.states[name].child = Child(
            self._parts[name], self._settings, lambda child, event: self._events.put((child, event))
        )

    def _start_after(self, name: str) -> None:
        """Start those that waited for a part."""
        for part in self._parts.values():
            if part.after == name and not self.states[part.name].starts:
                self._start(part.name)

    def _watch(self) -> int:
        while True:
            child, event = self._events.get()
            if child is None:
                return 0
            if event["event"] == "ended" and not self._restart(child.part.name, event["code"]):
                return event["code"] if event["code"] in {1, 2} else 1
            self._note(child.part.name, event)

    def _note(self, name: str, event: Event) -> None:
        state = self.states[name]
        match event["event"]:
            case "listening":
                if state.listeners.get(event["name"]) != event["address"]:
                    state.listeners[event["name"]] = event["address"]
                    self._out(f"ready {event['name']} {event['address']}")
                self._keep_port(event)
            case "ready":
                state.ready, state.unready, state.attempts = True, None, 0
                self._start_after(name)
            case "unready":
                state.ready, state.unready, state.attempts = False, event["why"], 0
            case "say":
                self._say(event["text"])
            case "facts":
                state.facts.update(event["facts"])

    def _keep_port(self, event: Event) -> None:
        """A part that starts again listens where it did, also when its port was picked for it."""
        *sections, last = event["setting"].split(".")
        branch = self._settings
        for section in sections:
            branch[section] = dict(branch[section])
            branch = branch[section]
        branch[last] = event["address"]

    def _restart(self, name: str, code: int) -> bool:
        """Start a part that ended by itself again; False when it cannot be brought to be ready."""
        state = self.states[name]
        began = state.ready or state.unready is not None or state.attempts > 0
        state.ready, state.unready = False, None
        if not began or state.attempts >= self._config.attempts_max:
            state.failed = True
            if began:
                self._say(f"The {name} ended with code {code}, {state.attempts} times before it was ready.")
            return False
        self._say(f"The {name} ended with code {code}; it is started again.")
        return self._start_again(name)

    def _start_again(self, name: str) -> bool:
        """Start a part again; a machine without room for another process is asked `attempts_max` times."""
        state, config = self.states[name], self._config
        while state.attempts < config.attempts_max:
            state.attempts += 1
            now = time.monotonic()
            state.restarts = [*(at for at in state.restarts if now - at < config.restarts_window_s), now]
            time.sleep(min(config.restart_wait_s * 2 ** (len(state.restarts) - 1), config.restart_wait_s_max))
            try:
                self._start(name)
            except OSError as error:
                self._say(f"The {name} cannot be started: {error}. Trying again.")
            else:
                return True
        state.failed = True
        return False

    def _drain(self) -> None:
        deadline = time.monotonic() + self._config.drain_s
        if any(state.ready or state.unready for state in self.states.values()):
            self._say("Finishing what was begun; a second signal ends it at once.")
        for state in self.states.values():
            state.ready = False
            if state.child is not None:
                state.child.stop()
                if not self._wait(state.child, deadline):
                    deadline = 0.0
        late = [name for name, state in self.states.items() if state.child is not None and state.child.running]
        if late:
            self._say(
                f"Ended at once: {', '.join(late)}. What was acknowledged is in segments; the next start seals it."
            )

    def _wait(self, child: Child, deadline: float) -> bool:
        """Wait for one part to end, until the deadline; False when another signal says not to wait."""
        while child.running and time.monotonic() < deadline:
            try:
                sender, event = self._events.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if sender is None:
                return False
            self._note(sender.part.name, event)
        return True
