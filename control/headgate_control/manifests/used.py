"""What recorded calls used, counted: the ground that a suggested manifest stands on."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from headgate_control.budgets.amount import NOTHING, Amount
from headgate_control.policy.history import Recorded
from headgate_control.request import ActionName, Request

VALUES_MAX = 50
NAMES_MAX = 20_000
Tool = tuple[str | None, str]
"""The MCP server, None for the agent's own, and the tool."""


@dataclass(slots=True)
class Seen:
    """How often something was used, and in which sessions."""

    calls: int = 0
    sessions: set[str] = field(default_factory=set)

    def add(self, call: Recorded) -> None:
        """Count one more."""
        self.calls += 1
        self.sessions.add(call.session_id)


@dataclass(slots=True)
class SeenTool(Seen):
    """A tool, with the values of each of its arguments; None where there are too many, or one is no plain value.

    `with_arguments` are the calls whose arguments were kept.
    """

    with_arguments: int = 0
    values: dict[str, set[str | int | bool] | None] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)

    def take(self, call: Recorded, request: Request) -> None:
        """Count a call and what it was given."""
        self.add(call)
        self.with_arguments += call.arguments_known
        for name, value in request.arguments.items():
            self.given[name] = self.given.get(name, 0) + 1
            known = self.values.setdefault(name, set())
            if known is None:
                continue
            if not isinstance(value, str | int | bool) or len(known) >= VALUES_MAX:
                self.values[name] = None
            else:
                known.add(value)


@dataclass(slots=True)
class Used:
    """Everything that some calls used. `spent` is by instance, or by session where no instance is known.

    `denied` are the calls that were refused then: they used nothing.
    """

    calls: int = 0
    unpriced: int = 0
    sessions: set[str] = field(default_factory=set)
    tools: dict[Tool, SeenTool] = field(default_factory=dict)
    named: dict[ActionName, dict[str, Seen]] = field(default_factory=dict)
    spent: dict[str, Amount] = field(default_factory=dict)
    traits: dict[str, set[str | None]] = field(default_factory=dict)
    forgotten: int = 0
    denied: int = 0

    def names(self, action: ActionName) -> dict[str, Seen]:
        """What an action was done to."""
        return self.named.get(action, {})


def used_by(calls: Iterable[Recorded | None]) -> Used:
    """Count calls. Memory grows with different names, of each action at most 20,000, never with calls."""
    found = Used()
    for call in calls:
        if call is not None and call.was_denied:
            found.denied += 1
        elif call is not None:
            _count(found, call)
    return found


def _count(found: Used, call: Recorded) -> None:
    found.calls += 1
    found.unpriced += not call.cost_known
    found.sessions.add(call.session_id)
    for trait in ("team", "workflow", "repo", "runtime"):
        found.traits.setdefault(trait, set()).add(call.row.get(trait))
    if call.kind == "model_call":
        found.spent[call.subject] = found.spent.get(call.subject, NOTHING) + call.amount
    for request in call.requests:
        if request.action == "tools/call":
            key = (request.resource.text("server"), request.resource.id)
            found.tools.setdefault(key, SeenTool()).take(call, request)
            continue
        names = found.named.setdefault(request.action, {})
        if request.resource.id not in names and len(names) >= NAMES_MAX:
            found.forgotten += 1
            continue
        names.setdefault(request.resource.id, Seen()).add(call)
