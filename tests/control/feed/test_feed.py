"""The feed over HTTP: everything once and in order, to those who may, and an end for those who do not read."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from headgate_control.feed import messages
from headgate_control.feed.feed import FeedConfig
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.stops.points import EnforcementPoints
from headgate_control.store.record import Change
from headgate_processors.testing.waiting import until


def kinds(told: list[dict[str, Any]]) -> list[str]:
    """The events by name."""
    return [one["event"] for one in told]


def changes(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The records that changed."""
    return [(one["kind"], one["id"]) for one in told if one["event"] == "change"]


def test_a_new_reader_hears_who_speaks_everything_there_is_and_that_this_was_all(site: Any) -> None:
    """A snapshot, the policy, and a beat at the same position."""

    async def steps(readers: Any) -> list[dict[str, Any]]:
        async with readers.reading() as reading:
            return list(await reading.until_beat())

    told = site.run(steps)
    assert ["hello", "snapshot", "policy", "beat"] == kinds(told)
    hello, snapshot, policy, beat = told
    assert (1, site.state.now.position) == (hello["version"], beat["position"])
    found = {(one["kind"], one["id"]) for one in snapshot["records"]}
    assert ("instance", site.instance) in found
    assert {"epoch", "manifest", "instance", "gateway_key", "budget"} == {kind for kind, _ in found}
    assert site.state.now.snapshot.policy.bundle.digest == policy["digest"]


def test_nothing_of_the_feed_opens_a_door(site: Any) -> None:
    """A gateway key is told as its digest; kinds of records that gateways need not know are not told."""
    site.store.change([Change(kind="token", id="t1", body={"secret": "not-for-gateways"})], author="a", action="b")

    async def steps(readers: Any) -> list[dict[str, Any]]:
        async with readers.reading() as reading:
            told = await reading.until_beat()
            site.store.change(
                [Change(kind="token", id="t2", body={"secret": "not-for-gateways"})], author="a", action="b"
            )
            epoch = site.stop("team", "payments")
            return [*told, *await reading.until_beat(epoch)]

    text = json.dumps(site.run(steps))
    assert site.instance in text
    assert site.key.rpartition("_")[2] not in text
    assert "not-for-gateways" not in text


def test_a_stop_is_told_as_it_happens_and_the_beat_comes_after_all_of_it(site: Any) -> None:
    """First the epoch, then the stop, then that this was all: whoever acknowledges then has heard it whole."""

    async def steps(readers: Any) -> list[list[dict[str, Any]]]:
        async with readers.reading() as reading:
            await reading.until_beat()
            stopped = await reading.until_beat(site.stop("instance", site.instance))
            return [stopped, await reading.until_beat(site.resume("instance", site.instance))]

    stopped, resumed = ([one for one in told if one["event"] != "beat" or one["epoch"]] for told in site.run(steps))
    assert ["change", "change", "beat"] == kinds(stopped)
    assert [("epoch", "stops"), ("stop", f"stop:instance:{site.instance}")] == changes(stopped)
    assert ["change", "change", "beat"] == kinds([one for one in resumed if one.get("epoch") != 1])
    ended = [one for one in resumed if one.get("kind") == "stop"]
    assert [(None, site.instance)] == [(one["body"], one["before"]["key"][1]) for one in ended]


@pytest.mark.parametrize("run", ["same", "another"])
def test_a_reader_that_comes_back_gets_what_it_missed_or_everything(site: Any, run: str) -> None:
    """Its position counts in the run of control that it comes from."""

    async def steps(readers: Any) -> list[dict[str, Any]]:
        async with readers.reading() as reading:
            told = await reading.until_beat()
        site.launched()
        name = told[0]["run"] if run == "same" else "another"
        async with readers.reading(since=told[-1]["position"], run=name) as reading:
            return list(await reading.until_beat())

    told = site.run(steps)
    assert ("snapshot" in kinds(told)) is (run == "another")
    expected = ["manifest", "instance", "gateway_key", "budget"] if run == "same" else []
    assert expected == [kind for kind, _ in changes(told)]


def test_one_that_comes_from_too_far_back_gets_a_snapshot(site: Any) -> None:
    """Only so many changes are kept."""
    site.config = FeedConfig(changes_max=2)

    async def steps(readers: Any) -> list[dict[str, Any]]:
        since = site.state.now.position
        site.launched()
        await asyncio.sleep(0)
        async with readers.reading(since=since) as reading:
            return list(await reading.until_beat())

    assert ["hello", "snapshot", "policy", "beat"] == kinds(site.run(steps))


def test_a_snapshot_comes_in_pages(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is on one of them, and the last says so."""
    monkeypatch.setattr("headgate_control.feed.messages.RECORDS_A_PAGE", 2)

    async def steps(readers: Any) -> list[dict[str, Any]]:
        async with readers.reading() as reading:
            return list(await reading.until_beat())

    pages = [one for one in site.run(steps) if one["event"] == "snapshot"]
    assert [(0, True), (1, True), (2, False)] == [(one["page"], one["more"]) for one in pages]
    assert 5 == len({one["kind"] for page in pages for one in page["records"]})


def test_another_bundle_is_told_to_those_who_read(site: Any) -> None:
    """With its text and its digest."""

    async def steps(readers: Any) -> dict[str, Any]:
        async with readers.reading() as reading:
            await reading.until_beat()
            site.state.use_policy(PolicyEngine(bundle_of({"a.cedar": '@id("b") permit(principal, action, resource);'})))
            told = await reading.event()
            while told["event"] != "policy":
                told = await reading.event()
            return dict(told)

    told = site.run(steps)
    assert site.state.now.snapshot.policy.bundle.digest == told["digest"]
    assert '@id("b")' in told["text"]


@pytest.mark.parametrize(
    ("token", "query", "expected"),
    [
        ("nobody", {}, 401),
        ("AGENT", {}, 403),
        ("gateway", {"point": "../x"}, 400),
        ("gateway", {"since": "-1"}, 400),
        ("gateway", {"version": 2}, 409),
        ("gateway", {"version": 0}, 409),
    ],
)
def test_who_may_not_read_hears_why(site: Any, token: str, query: dict[str, Any], expected: int) -> None:
    """Strangers, agents, and whoever speaks another language."""

    async def steps(readers: Any) -> tuple[int, Any]:
        async with readers.reading(token=site.key if token == "AGENT" else token, **query) as reading:
            return reading.response.status, await reading.response.json()

    status, answer = site.run(steps)
    assert expected == status
    assert answer["error"]
    if status == 409:
        assert (1, 1) == (answer["version"], answer["version_oldest"])


def test_a_name_is_of_one_credential_and_one_process(site: Any) -> None:
    """Else one gateway would acknowledge for another; the same process takes its place again."""
    site.points.join("model-gateway")

    async def steps(readers: Any) -> list[int]:
        found = []
        async with readers.reading(process="p1") as reading:
            await reading.until_beat()
            for token, point, process in (
                ("gateway", "gw", "p2"),
                ("other", "gw", "p1"),
                ("gateway", "model-gateway", "p1"),
                ("gateway", "gw", "p1"),
            ):
                async with readers.reading(token=token, point=point, process=process) as another:
                    found.append(another.response.status)
        return found

    assert [409, 403, 409, 200] == site.run(steps)


def test_an_acknowledgement_tells_what_was_cut_and_when(site: Any) -> None:
    """The time is from control's accepting the stop to its hearing of the effect, by its own clock."""

    async def steps(readers: Any) -> Any:
        async with readers.reading() as reading:
            await reading.until_beat()
            epoch = site.stop("team", "payments")
            await reading.until_beat(epoch)
            said = {"point": "gw", "epoch": epoch, "cut": 3, "upstream_closed": True}
            assert 200 == (await readers.post("/v1/feed/ack", said))[0]
            return await site.points.effects(epoch, wait_s=5)

    found = site.run(steps)
    assert ((), ["gw"], [3]) == (
        found.silent,
        [one.enforcement_point for one in found.effects],
        [one.cut for one in found.effects],
    )
    assert found.effects[0].effect_ns > 0


@pytest.mark.parametrize(
    ("token", "said", "expected"),
    [
        ("other", {}, 403),
        ("gateway", {"point": "stranger"}, 403),
        ("gateway", {"epoch": 99}, 400),
        ("gateway", {"upstream_closed": False}, 400),
        ("gateway", {"cut": -1}, 400),
        ("gateway", {"earlier": [{"epoch": "x", "cut": 0}]}, 400),
        ("AGENT", {}, 403),
    ],
)
def test_what_proves_nothing_is_not_taken_for_an_acknowledgement(
    site: Any, token: str, said: dict[str, Any], expected: int
) -> None:
    """Of another's point, of a time to come, of an upstream that is open, and by an agent."""

    async def steps(readers: Any) -> tuple[int, Any]:
        async with readers.reading() as reading:
            await reading.until_beat()
            epoch = site.stop("team", "payments")
            body = {"point": "gw", "epoch": epoch, "cut": 0, "upstream_closed": True, **said}
            status, _ = await readers.post("/v1/feed/ack", body, token=site.key if token == "AGENT" else token)
            return status, await site.points.effects(epoch, wait_s=0.05)

    status, found = site.run(steps)
    assert (expected, ("gw",), ()) == (status, found.silent, found.effects)


def test_a_point_that_is_gone_is_silent_until_it_leaves(site: Any) -> None:
    """A connection that ended proves no stop; a gateway that took its leave has nothing to stop."""

    async def steps(readers: Any) -> list[tuple[str, ...]]:
        async with readers.reading() as reading:
            await reading.until_beat()
        gone = site.points.names
        status, _ = await readers.post("/v1/feed/leave", {"point": "gw"})
        assert 200 == status
        return [gone, site.points.names]

    assert [("gw",), ()] == site.run(steps)


def test_a_control_that_starts_again_knows_whose_acknowledgement_it_must_wait_for(site: Any) -> None:
    """A stop in the moments before gateways have come back says that they are silent. An operator may forget one."""

    async def before(readers: Any) -> None:
        async with readers.reading() as reading:
            await reading.until_beat()

    async def after(readers: Any) -> list[Any]:
        found = [site.points.names]
        for token in ("other", "operator"):
            status, _ = await readers.post("/v1/feed/leave", {"point": "gw"}, token=token)
            found += [status, site.points.names]
        return found

    site.run(before)
    site.points = EnforcementPoints()
    assert [("gw",), 403, ("gw",), 200, ()] == site.run(after)
    site.points = EnforcementPoints()

    async def last(readers: Any) -> tuple[str, ...]:
        return tuple(site.points.names)

    assert () == site.run(last)


def test_a_point_that_was_gone_for_long_is_forgotten(site: Any) -> None:
    """A stop does not wait for what nobody will start again."""
    site.config = FeedConfig(beat_every_s=0.05, forget_s=0)

    async def steps(readers: Any) -> tuple[str, ...]:
        async with readers.reading() as reading:
            await reading.until_beat()
        await until(lambda: site.feed._remote["gw"].gone_ns is not None)
        site.stop("team", "payments")
        await until(lambda: not site.points.names)
        return tuple(site.points.names)

    assert () == site.run(steps)


def test_a_reader_that_does_not_read_is_let_go_and_others_hear_on(site: Any) -> None:
    """What waits for one is bounded."""
    site.config = FeedConfig(beat_every_s=0.05, waiting_max=8)

    async def steps(readers: Any) -> tuple[bool, list[str]]:
        slow = site.feed.join("slow", "p", "gateway-1")
        async with readers.reading() as reading:
            await reading.until_beat()
            for number in range(5):
                epoch = site.stop("team", f"t{number}")
                told = await reading.until_beat(epoch)
            return slow.is_dropped, kinds(told)

    is_dropped, told = site.run(steps)
    assert is_dropped
    assert "change" in told


def test_a_connection_that_takes_nothing_is_ended(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that only stays open holds nothing up and proves nothing."""
    monkeypatch.setattr("headgate_control.feed.subscriber.WRITE_S", 0.2)

    async def steps(readers: Any) -> bool:
        async with readers.reading():
            for _ in range(4):
                site.feed._tell(messages.frame("padding", {"text": "x" * (8 << 20)}))
            await until(lambda: site.feed._remote["gw"].gone_ns is not None)
            return True

    assert site.run(steps)


def test_readers_are_let_go_when_control_ends(site: Any) -> None:
    """The connection ends, so that they come back when control does."""

    async def steps(readers: Any) -> bool:
        async with readers.reading() as reading:
            await reading.until_beat()
            site.feed.close()
            return await ends(reading)

    assert site.run(steps)


async def ends(reading: Any) -> bool:
    """Whether a connection comes to its end."""
    try:
        while True:
            await reading.until_beat()
    except (EOFError, aiohttp.ClientError):
        return True


def test_nobody_is_told_that_this_was_all_while_the_store_cannot_be_seen(site: Any) -> None:
    """Neither on arrival nor later; what changes is told all the same, and beats come back."""
    site.is_blind = True

    async def steps(readers: Any) -> tuple[list[str], list[str]]:
        async with readers.reading() as reading:
            opening = [(await reading.event())["event"] for _ in range(4)]
            site.stop("team", "payments")
            told = [(await reading.event())["event"] for _ in range(3)]
            while told[-1] != "blind":
                told.append((await reading.event())["event"])
            site.is_blind = False
            return opening, [*told, (await reading.until_beat(1))[-1]["event"]]

    opening, told = site.run(steps)
    assert ["hello", "snapshot", "policy", "blind"] == opening
    assert ["beat"] == [one for one in told if one not in {"change", "blind"}]
