"""What control and the gateways record is in views, with whom it was about, and in the sessions that it touched."""

import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from headgate_analytics import open_views
from headgate_analytics.control_schema import CONTROL
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import CLIENT, Sender
from headgate_processors.testing.otlp import logs_request, to_json

NOW = time.time_ns() // 10**9 * 10**9 - 3_600 * 10**9
SECOND = 10**9
CONTROL_SENDER = Sender(role="control", subject="spiffe://headgate.internal/control/one")
GATEWAY = Sender(role="gateway", subject="spiffe://headgate.internal/gateway/model")
UUID = "0199c1a2-7b4e-7c11-9a57-0c2e6ad1b001"
STOP = {
    "stop_id": "stop-1",
    "scope": "session",
    "target": UUID,
    "mode": "stop",
    "reason": "it loops",
    "author": "maya",
    "epoch": 7,
    "accepted_unix_nano": NOW + 3 * SECOND,
    "state": "active",
}
DENIAL = {
    "decision_id": "dec-1",
    "action": "model.call",
    "resource_type": "model",
    "resource_id": "openai/gpt-5",
    "decision": False,
    "effect": "deny",
    "code": "stopped",
    "reason": "it loops",
    "policy_ids": ["p1", "p2"],
    "stop_id": "stop-1",
    "stop_epoch": 7,
    "enforcement_point": "model",
    "latency_ns": 90_000,
    "instance_id": "ai-1",
    "session_key": UUID,
}


def _event(name: str, columns: Mapping[str, Any], *, at_s: int = 0, trace: int | None = None, **more: Any) -> Any:
    """One record as control tells it."""
    told = {f"headgate.{column}": value for column, value in columns.items()} | more
    record = {
        "time_unix_nano": NOW + at_s * SECOND,
        "event_name": f"headgate.{name}",
        "attributes": told,
        **({"trace_id": f"{trace:032x}", "span_id": f"{9:016x}"} if trace else {}),
    }
    request = logs_request([record], resource={"service.name": "headgate-control"}, scope="headgate.control")
    return Signal.LOGS, json.loads(to_json(request))


def test_an_empty_store_has_every_view_with_its_columns(workbench: Any) -> None:
    """And no row."""
    workbench.ingest([])
    for name, view in CONTROL.items():
        with open_views(workbench.folder, only=(name,)) as connection:
            found = connection.sql(f"SELECT * FROM {name}").to_arrow_table()
        assert 0 == found.num_rows
        assert {column.name for column in view.dataset.columns} <= set(found.column_names)


def test_the_last_event_of_a_stop_counts(workbench: Any) -> None:
    """In whatever order they came."""
    ended = STOP | {"state": "ended", "ended_unix_nano": NOW + 60 * SECOND}
    workbench.ingest([_event("stop", ended, at_s=60), _event("stop", STOP, at_s=3)], sender=CONTROL_SENDER)
    [row] = workbench.query("SELECT * FROM stops")
    assert ("ended", UUID, "maya", 7) == (row["state"], row["target"], row["author"], row["epoch"])
    assert 57 == (row["ended_time"] - row["accepted_time"]).total_seconds()


def test_a_stop_that_ends_by_itself_is_expired(workbench: Any) -> None:
    """From the moment on that it says."""
    workbench.ingest([_event("stop", STOP | {"expires_unix_nano": NOW + 10 * SECOND})], sender=CONTROL_SENDER)
    assert [{"state": "expired"}] == workbench.query("SELECT state FROM stops")
    with open_views(workbench.folder, now_unix_nano=NOW + 9 * SECOND) as connection:
        assert [("active",)] == connection.execute("SELECT state FROM stops").fetchall()


def test_effects_budgets_instances_and_changes_have_their_types(workbench: Any) -> None:
    """Money exact, times as times, other names in the contract's words."""
    budget = {"budget_id": "b-1", "scope": "team", "target": "payments", "turn": "", "settled_usd": "0.100000001"}
    workbench.ingest(
        [
            _event(
                "stop_effect", {"stop_id": "stop-1", "epoch": 7, "enforcement_point": "model", "effect_ns": 5, "cut": 2}
            ),
            _event("budget", budget, at_s=1),
            _event("budget", budget | {"settled_usd": "0.2", "limit_usd": "1", "limit_seconds": 2.5}, at_s=2),
            _event("instance", {"instance_id": "ai-1", "state": "created", "user": "maya", "root": "ai-0"}),
            _event("instance", {"instance_id": "ai-1", "state": "stopped", "user": "maya", "root": "ai-0"}, at_s=1),
            _event("audit", {"position": 1, "author": "maya", "action": "stop", "kind": "stop", "id": "stop-1"}),
        ],
        sender=CONTROL_SENDER,
    )
    assert [(5, 2)] == [tuple(row.values()) for row in workbench.query("SELECT effect_ns, cut FROM stop_effects")]
    assert [(Decimal("0.2"), Decimal(1), 2.5, None)] == [
        tuple(row.values())
        for row in workbench.query("SELECT settled_usd, limit_usd, limit_seconds, limit_tokens FROM budgets")
    ]
    assert [("stopped", "maya", "ai-0")] == [
        tuple(row.values()) for row in workbench.query("SELECT state, user_id, root_instance_id FROM instances")
    ]
    assert [(1, "stop-1")] == [tuple(row.values()) for row in workbench.query("SELECT position, id FROM audit")]


def test_what_a_client_says_is_in_none_of_them(workbench: Any) -> None:
    """Its event loses the name, and its attributes."""
    workbench.ingest([_event("stop", STOP), _event("decision", DENIAL)], sender=CLIENT)
    for name in CONTROL:
        assert [] == workbench.query(f"SELECT * FROM {name}")


@pytest.fixture
def denied(workbench: Any, turn: Callable[..., Any]) -> Any:
    """A session whose second call was denied, of which the agent says nothing, and a stop that names it."""
    workbench.ingest([turn(1, key=UUID, at_unix_nano=NOW)])
    workbench.ingest([_event("decision", DENIAL, at_s=20, trace=77, **{"session.id": UUID})], sender=GATEWAY)
    workbench.ingest([_event("stop", STOP, at_s=19)], sender=CONTROL_SENDER)
    workbench.derive()
    return workbench


def test_a_decision_says_whom_it_was_about(denied: Any) -> None:
    """The instance of the credential, and the session of the key."""
    [row] = denied.query(
        "SELECT d.decision, effect, code, policy_ids, d.instance_id, d.identity_source, source_key, stop_epoch "
        "FROM decisions AS d JOIN sessions USING (session_id)"
    )
    assert (False, "deny", "stopped", ["p1", "p2"], "ai-1", "verified", UUID, 7) == tuple(row.values())


def test_denials_and_stops_are_in_the_timeline_and_the_state(denied: Any) -> None:
    """Once each, after what happened before."""
    rows = denied.query("SELECT kind, status, title, ref_id, witness FROM timeline ORDER BY seq DESC LIMIT 2")
    assert [
        ("decision", "deny", "denied model.call openai/gpt-5: it loops", "dec-1", "gateway"),
        ("stop", "active", "stopped: it loops", "stop-1", "control"),
    ] == [tuple(row.values()) for row in rows]
    [session] = denied.query("SELECT state, state_reason, denied_count FROM sessions")
    assert ("stopped", "stopped: it loops", 1) == tuple(session.values())


def test_a_session_that_went_on_after_a_stop_is_not_stopped(denied: Any, turn: Callable[..., Any]) -> None:
    """It was resumed, and its next call went well."""
    denied.ingest([turn(2, key=UUID, at_unix_nano=NOW + 60 * SECOND)])
    denied.derive()
    assert [{"state": "done"}] == denied.query("SELECT state FROM sessions")


def test_an_allowed_decision_is_in_the_timeline_only_where_no_call_carries_it(
    workbench: Any, turn: Callable[..., Any]
) -> None:
    """Of a tool whose call the agent never tells of."""
    allow = DENIAL | {"decision": True, "effect": "allow", "action": "tools/call", "resource_id": "read_file"}
    named: dict[str, Any] = {"session.id": UUID}
    workbench.ingest([turn(1, key=UUID, at_unix_nano=NOW)])
    workbench.ingest([_event("decision", allow, at_s=5, **named)], sender=GATEWAY)
    workbench.derive()
    rows = workbench.query("SELECT kind, title FROM timeline WHERE kind = 'decision'")
    assert ["allowed tools/call read_file: it loops"] == [row["title"] for row in rows]


def test_a_stop_alone_makes_no_session(workbench: Any) -> None:
    """Nothing happened in it."""
    workbench.ingest([_event("stop", STOP), _event("decision", DENIAL, trace=5)], sender=CONTROL_SENDER)
    workbench.derive()
    assert [] == workbench.query("SELECT * FROM sessions")
    assert 1 == len(workbench.query("SELECT * FROM decisions"))
