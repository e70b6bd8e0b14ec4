"""The decision service: what it allows is reserved and logged, what it cannot log it denies."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from headgate_control.audit.log import AuditLog, log_faults
from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.budgets.port import LocalBudgets
from headgate_control.decide.core import Moment, Snapshot
from headgate_control.decide.decision import Logged
from headgate_control.decide.service import DecisionService, Estimate
from headgate_control.identity.instance import Instance
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.request import Request, Resource, Subject

MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer}
spec: {models: [{provider: openai, model: "*"}]}
"""
GRANT = parse_manifest(MANIFEST, {}, source="manifest")
SNAPSHOT = Snapshot(
    instances={
        "ai-1": Instance(
            instance_id="ai-1",
            manifest_digest=GRANT.digest,
            root="ai-1",
            state="running",
            created_unix_nano=0,
            team="payments",
        )
    },
    grants={GRANT.digest: GRANT},
    policy=PolicyEngine(bundle_of({"a.cedar": '@id("all") permit(principal, action, resource);'})),
)
HARD = Budget(budget_id="hard", place=("team", "payments"), window="total", limits=Limits(tokens=100))
SOFT = Budget(budget_id="soft", place=("session", "s1"), window="total", limits=Limits(tokens=10), mode="soft")
CALL = Estimate(amount=Amount(tokens=60, calls=1), lifetime_ns=1_000)


def request_of(instance: str, session: str | None = None) -> Request:
    """A model call."""
    return Request(
        subject=Subject(type="agent_instance", id=instance),
        action="model.call",
        resource=Resource(type="model", id="openai/gpt-5"),
        context={"session": session, "input": {"prompt": "secret"}},
    )


class Bench:
    """A service over real books and a real log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner = BudgetOwner.open(folder / "budgets", [HARD, SOFT])
        self.log = AuditLog.open(folder / "decisions", "gateway-1")
        self.service = DecisionService(
            lambda: SNAPSHOT, LocalBudgets(self.owner), self.log, enforcement_point="gateway-1"
        )

    def ask(
        self,
        *,
        instance: str = "ai-1",
        estimate: Estimate | None = CALL,
        session: str | None = None,
        instead_of: Logged | None = None,
    ) -> Logged:
        """What the service says to a model call."""
        moment = Moment(at_unix_nano=0, session=session)
        return asyncio.run(self.service(request_of(instance, session), moment, estimate, instead_of=instead_of))

    def rows(self) -> list[dict[str, object]]:
        """What the log has."""
        lines = [
            line
            for path in sorted((self.folder / "decisions").glob("*.jsonl"))
            for line in path.read_bytes().splitlines()
        ]
        return [json.loads(line)["body"] for line in lines]

    def close(self) -> None:
        """Let go of both."""
        self.owner.close()
        self.log.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A fresh service."""
    with closing(Bench(tmp_path)) as made:
        yield made


def test_what_is_allowed_is_reserved_and_written(bench: Bench) -> None:
    """The row names the reservation, and nothing of what was said."""
    logged = bench.ask(session="s1")
    assert (True, logged.decision_id, 60) == (
        logged.decision.allowed,
        logged.reservation_id,
        bench.owner.account(HARD, 0).reserved.tokens,
    )
    (row,) = bench.rows()
    assert {"kind": "decision", **logged.row()} == row
    assert ("gateway-1", "s1") == (row["enforcement_point"], row["session"])
    assert "secret" not in json.dumps(row)


def test_what_does_not_fit_is_denied_and_reserves_nothing(bench: Bench) -> None:
    """The second call is one too many."""
    logged = [bench.ask() for _ in range(2)]
    assert [(True, None), (False, "budget")] == [(one.decision.allowed, one.decision.code) for one in logged]
    assert (60, ["allow", "deny"]) == (
        bench.owner.account(HARD, 0).used.tokens,
        [row["effect"] for row in bench.rows()],
    )


def test_a_call_that_goes_on_elsewhere_holds_one_reservation(bench: Bench) -> None:
    """That of its last decision; where it may not go on, it has what it had."""
    first = bench.ask()
    second = bench.ask(instead_of=first)
    third = bench.ask(estimate=Estimate(amount=Amount(tokens=101), lifetime_ns=1_000), instead_of=second)
    assert [True, True, False] == [one.decision.allowed for one in (first, second, third)]
    assert 60 == bench.owner.account(HARD, 0).used.tokens
    bench.owner.settle(second.decision_id, Amount(tokens=1))
    assert 1 == bench.owner.account(HARD, 0).used.tokens


def test_a_soft_budget_is_warned_of(bench: Bench) -> None:
    """In the words of the budget."""
    assert ("soft budget of session s1 (total): 60 tokens wanted, 10 tokens left of 10 tokens",) == bench.ask(
        session="s1"
    ).decision.warnings


def test_a_soft_budget_is_warned_of_in_each_row_and_once_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Each window of it."""
    few = Estimate(amount=Amount(tokens=20), lifetime_ns=1_000)
    warnings = [bench.ask(session="s1", estimate=few).decision.warnings for _ in range(3)]
    assert warnings == [tuple(row["warnings"]) for row in bench.rows()]  # type: ignore[arg-type]
    assert [f"{warnings[0][0]}: passed, and nothing is refused for it, at gateway-1"] == [
        one.message for one in caplog.records
    ]


def test_where_the_books_are_at_hand_what_does_not_fit_is_denied_before_the_policies(bench: Bench) -> None:
    """And a call that goes on elsewhere may use what it holds."""
    service = DecisionService(
        lambda: replace(SNAPSHOT, policy=None),
        LocalBudgets(bench.owner),
        bench.log,
        enforcement_point="gateway-1",
        look=bench.owner.look,
    )
    held = bench.ask()

    def code(instead_of: Logged | None) -> object:
        moment = Moment(at_unix_nano=0)
        return asyncio.run(service(request_of("ai-1", None), moment, CALL, instead_of=instead_of)).decision.code

    assert ("budget", "policy") == (code(None), code(held))


def test_what_is_denied_before_reserves_nothing(bench: Bench) -> None:
    """And is in the log with the rest, as one chain."""
    assert "identity" == bench.ask(instance="nobody").decision.code
    bench.ask()
    assert ([], 60) == (
        list(log_faults(bench.folder / "decisions", "gateway-1", [bench.log.anchor()])),
        bench.owner.account(HARD, 0).used.tokens,
    )


def test_what_cannot_be_logged_is_denied(bench: Bench) -> None:
    """And what was reserved for it is free again."""
    bench.log.close()
    logged = bench.ask()
    assert (False, "error", None, 0) == (
        logged.decision.allowed,
        logged.decision.code,
        logged.reservation_id,
        bench.owner.account(HARD, 0).used.tokens,
    )


def test_what_cannot_be_reserved_for_good_is_denied(bench: Bench) -> None:
    """The books that cannot be written grant nothing."""
    bench.owner.close()
    assert (False, "error") == (bench.ask().decision.allowed, bench.ask().decision.code)
    assert bench.ask(estimate=None).decision.allowed


def test_a_denial_is_told_before_it_is_durable_and_answered_after(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one whose caller does not wait for the disk is told all the same."""
    asked, released = threading.Event(), threading.Event()
    told: list[Logged] = []

    def slow(handle: int) -> None:
        asked.set()
        released.wait(60)
        os.fsync(handle)

    monkeypatch.setattr("headgate_control.audit.log.os", SimpleNamespace(**{**vars(os), "fsync": slow}))

    async def steps() -> tuple[bool, list[Logged]]:
        call = asyncio.create_task(bench.service(request_of("ai-nobody"), Moment(at_unix_nano=0), heard=told.append))
        await asyncio.to_thread(asked.wait, 60)
        is_answered, heard = call.done(), list(told)
        call.cancel()
        released.set()
        await asyncio.gather(call, return_exceptions=True)
        return is_answered, heard

    is_answered, heard = asyncio.run(steps())
    assert (False, ["identity"]) == (is_answered, [one.decision.code for one in heard])
