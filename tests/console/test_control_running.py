"""Instances run from the first decision about them; that is written once, beside the requests."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headgate_console.control.running import Running
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.decide.decision import Decision, Logged
from headgate_control.identity.launch import Launch, launch, revoke
from headgate_control.manifests.load import parse_manifest
from headgate_control.request import Request, Resource, Subject
from headgate_control.room import Room
from headgate_control.server.doors import Doors
from headgate_control.state import ControlState
from headgate_control.stops.points import EnforcementPoints
from headgate_control.store.opening import open_sqlite
from headgate_gateways.model.named import trace_of
from headgate_gateways.model.telling import Silent

MANIFEST = "{apiVersion: headgate.dev/v1, kind: AgentManifest, metadata: {name: fixer, team: payments}, spec: {}}"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Control without routes."""
    with (
        closing(open_sqlite(tmp_path / "control.db", writer="control")) as store,
        closing(BudgetOwner.open(tmp_path / "log", [])) as owner,
    ):
        yield Room(
            store=store,
            state=ControlState(store),
            owner=owner,
            points=EnforcementPoints(),
            doors=Doors(keys=dict, authenticate=lambda _: None, clock=time.time_ns),
            telemetry_token=lambda _: "",
        )


def made(room: Room, **more: Any) -> str:
    """A new instance."""
    asked = Launch(grant=parse_manifest(MANIFEST, {}, source="manifest"), launched_by="ada", **more)
    found = launch(room.store, room.state.refresh().snapshot, asked)
    room.state.refresh()
    return found.instance.instance_id


def decided(room: Room, running: Running, instance_id: str) -> None:
    """A request of it was denied."""
    logged = Logged(
        decision_id="dec-1",
        time_unix_nano=1,
        request=Request(
            subject=Subject(type="agent_instance", id=instance_id),
            action="model.call",
            resource=Resource(type="model", id="openai/gpt-5"),
        ),
        decision=Decision(effect="deny", reason="no manifest grants it"),
        enforcement_point="model-gateway",
        latency_ns=1,
    )
    running.decision(logged, room.now.snapshot.instances.get(instance_id), trace_of(None))


def written(room: Room, running: Running) -> list[str]:
    """Whom the journal says to run, after a round."""
    asyncio.run(running.round().work())
    return [event.id for event in room.store.events() if event.action == "instance.run"]


def test_an_instance_runs_when_something_is_decided_for_it(room: Room) -> None:
    """Once, and whatever was decided; those of which nothing was heard do not."""
    running, first = Running(teller=Silent(), room=room), made(room)
    made(room)
    decided(room, running, first)
    decided(room, running, first)
    assert [first] == written(room, running)
    decided(room, running, first)
    assert [first] == written(room, running)
    states = sorted(one.state for one in room.now.snapshot.instances.values())
    assert ["created", "running"] == states


def test_a_reservation_of_a_gateway_elsewhere_says_that_an_instance_runs(room: Room) -> None:
    """Control hears of nothing else there."""
    running, one = Running(teller=Silent(), room=room), made(room)
    running.reserved([("team", "payments"), ("instance", one), ("instance", "ai-unknown")])
    assert [one] == written(room, running)


def test_what_is_over_does_not_run(room: Room) -> None:
    """It was revoked meanwhile, or its time has come."""
    running = Running(teller=Silent(), room=room)
    revoked, expired = made(room), made(room, lifetime_ns=1)
    for one in (revoked, expired):
        decided(room, running, one)
    revoke(room.store, revoked, [], author="ada", reason="done")
    assert [] == written(room, running)
