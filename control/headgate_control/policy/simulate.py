"""A draft tried on what was recorded: which calls it would have denied, in which sessions, and by what.

Every call is decided by the same `decide` as a live one, in the order in which they happened. Agents would have done
something else after a deny; here they do what they did.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headgate_control.budgets.ledger import Excess, Ledger
from headgate_control.decide.core import Moment, Snapshot, decide
from headgate_control.decide.decision import Decision
from headgate_control.decide.service import budget_places
from headgate_control.identity.directory import Directory
from headgate_control.identity.instance import Instance
from headgate_control.identity.launch import budgets_of
from headgate_control.manifests.everything import everything
from headgate_control.manifests.grant import Grant
from headgate_control.policy.engine import PolicyEngine, PolicyFacts, SessionFacts
from headgate_control.policy.history import Recorded

CAUSES_MAX = 500
OTHERS = "others"
_NANO_PER_MICRO = 1_000
_HOUR_NS = 3_600 * 1_000_000_000

Granted = Callable[[Recorded], Grant | None]
"""The manifest of a call's instance; None where none is known."""


@dataclass(slots=True)
class Cause:
    """What stood in the way of some calls: the step that said no, and by what.

    `sessions` are those it met, with whether they succeeded, None where nobody knows; `unpriced` calls are in no cost.
    """

    effect: str
    code: str
    by: str
    model_calls: int = 0
    tool_calls: int = 0
    nano_usd: int = 0
    unpriced: int = 0
    sessions: dict[str, bool | None] = field(default_factory=dict)
    example: str = ""

    def row(self) -> dict[str, Any]:
        """The cause as a row."""
        outcomes = list(self.sessions.values())
        return {
            "effect": self.effect,
            "code": self.code,
            "by": self.by,
            "calls": self.model_calls + self.tool_calls,
            "model_calls": self.model_calls,
            "tool_calls": self.tool_calls,
            "sessions": len(outcomes),
            "sessions_succeeded": outcomes.count(True),
            "sessions_failed": outcomes.count(False),
            "sessions_unresolved": outcomes.count(None),
            "nano_usd": self.nano_usd,
            "calls_unpriced": self.unpriced,
            "example": self.example,
        }


@dataclass(slots=True)
class Report:
    """What became of every call. `ungranted` are the instances that no manifest was given for: they may do all.

    `denied_then` of the calls were refused when they happened; they are decided again like the others.
    """

    calls: int = 0
    denied: int = 0
    denied_then: int = 0
    approvals: int = 0
    unpriced: int = 0
    without_arguments: int = 0
    unreadable: int = 0
    sessions: set[str] = field(default_factory=set)
    denied_sessions: set[str] = field(default_factory=set)
    instances: set[str] = field(default_factory=set)
    ungranted: set[str] = field(default_factory=set)
    causes: dict[tuple[str, str, str], Cause] = field(default_factory=dict)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The causes, those of the most calls first."""
        found = sorted(self.causes.values(), key=lambda one: (-one.model_calls - one.tool_calls, one.by))
        return (one.row() for one in found)


class Simulation:
    """Decides recorded calls one after the other; memory grows with sessions and instances, not with calls."""

    def __init__(
        self, policy: PolicyEngine, granted: Granted = lambda _call: None, directory: Directory | None = None
    ) -> None:
        self.report, self._directory = Report(), directory or Directory()
        self._policy, self._granted, self._all = policy, granted, everything()
        self._facts: dict[str, SessionFacts] = {}
        self._books = Ledger()

    def run(self, calls: Iterable[Recorded | None], progress: Callable[[int], None] = lambda _done: None) -> Report:
        """Decide them all; None is a row that no request could be made of."""
        for done, call in enumerate(calls):
            if call is None:
                self.report.unreadable += 1
            else:
                self._take(call)
            if not done % 1_000:
                progress(done)
        return self.report

    def _take(self, call: Recorded) -> None:
        report = self.report
        report.calls += 1
        report.sessions.add(call.session_id)
        report.denied_then += call.was_denied
        report.unpriced += not call.cost_known
        report.without_arguments += not call.arguments_known
        decision = self._decided(call)
        if not decision.allowed:
            report.denied += decision.effect == "deny"
            report.approvals += decision.effect == "require_approval"
            report.denied_sessions.add(call.session_id)
            self._blame(call, decision)
        before = self._facts.get(call.session_id, SessionFacts())
        self._facts[call.session_id] = replace(
            before,
            model_calls=before.model_calls + (call.kind == "model_call"),
            tool_calls=before.tool_calls + (call.kind == "tool_call"),
            errors=before.errors + call.failed,
            micro_usd=before.micro_usd + call.amount.nano_usd // _NANO_PER_MICRO,
        )

    def _decided(self, call: Recorded) -> Decision:
        """The first of its requests that is not allowed, else the last."""
        instance, grant = self._instance(call)
        snapshot = Snapshot(
            instances={instance.instance_id: instance},
            grants={grant.digest: grant},
            policy=self._policy,
            directory=self._directory,
        )
        moment = self._moment(call, instance)
        found = [decide(request, snapshot, moment) for request in call.requests]
        worst = next((one for one in found if not one.allowed), found[-1])
        if worst.allowed and call.kind == "model_call":
            self._book(call, instance, moment)
        return worst

    def _instance(self, call: Recorded) -> tuple[Instance, Grant]:
        grant = self._granted(call)
        is_new = call.subject not in self.report.instances
        self.report.instances.add(call.subject)
        if grant is None:
            self.report.ungranted.add(call.subject)
            grant = self._all
        instance = call.instance(grant.digest)
        for budget in budgets_of(grant, instance) if is_new else ():
            self._books.set(budget)
        return instance, grant

    def _moment(self, call: Recorded, instance: Instance) -> Moment:
        priced = call.kind == "model_call" and call.cost_known
        facts = PolicyFacts(
            session=self._facts.get(call.session_id, SessionFacts()),
            micro_usd_estimate=call.amount.nano_usd // _NANO_PER_MICRO if priced else None,
            tokens_estimate=call.amount.tokens if call.kind == "model_call" else None,
            content_classes=call.classes,
        )
        moment = Moment(at_unix_nano=call.at_unix_nano, session=call.session_id, policy=facts)
        return replace(moment, excess=self._excess(call, instance, moment)) if call.kind == "model_call" else moment

    def _excess(self, call: Recorded, instance: Instance, moment: Moment) -> Excess | None:
        places = budget_places(call.requests[0], instance, moment)
        return self._books.quote(
            call.call_id,
            places,
            call.amount,
            at_unix_nano=call.at_unix_nano,
            expires_unix_nano=call.at_unix_nano + _HOUR_NS,
        ).refused

    def _book(self, call: Recorded, instance: Instance, moment: Moment) -> None:
        places = budget_places(call.requests[0], instance, moment)
        answer = self._books.quote(
            call.call_id,
            places,
            call.amount,
            at_unix_nano=call.at_unix_nano,
            expires_unix_nano=call.at_unix_nano + _HOUR_NS,
        )
        if answer.reservation is not None:
            self._books.hold(answer.reservation)
            self._books.settle(call.call_id, call.amount)

    def _blame(self, call: Recorded, decision: Decision) -> None:
        ids = ", ".join(decision.policy_ids)
        by = ids if ids and decision.code != "approval" else decision.reason
        code = str(decision.code)
        key = (decision.effect, code, by)
        if key not in self.report.causes and len(self.report.causes) >= CAUSES_MAX:
            key = (decision.effect, code, OTHERS)
        cause = self.report.causes.setdefault(key, Cause(*key))
        cause.model_calls += call.kind == "model_call"
        cause.tool_calls += call.kind == "tool_call"
        cause.nano_usd += call.amount.nano_usd
        cause.unpriced += not call.cost_known
        cause.sessions[call.session_id] = call.row.get("success")
        cause.example = cause.example or f"{call.kind} {call.call_id}: {call.requests[0].named}"
