"""A gateway in another place: it knows what control knows, proves what it has cut, and doubts when it hears nothing."""

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from headgate_control.feed import messages
from headgate_gateways.link.address import ControlAddress
from headgate_processors.errors import ConfigError
from headgate_processors.testing.model_server import Scenario
from headgate_processors.testing.waiting import until

WORDS = 400


def slow() -> Scenario:
    """A long answer, a word every few milliseconds."""
    return Scenario.model_validate(
        {
            "task": "x",
            "turns": [{"say": "word " * WORDS}] * 9,
            "usage": {"input_tokens": 100, "output_tokens": WORDS},
            "between_events_s": 0.02,
        }
    )


async def fresh(link: Any) -> None:
    """Wait until it has heard everything."""
    await until(lambda: not link.is_stale())


def test_a_stop_reaches_a_remote_gateway_cuts_its_call_and_is_acknowledged(
    site: Any, gateway: Any, provider: Any
) -> None:
    """The command returns when the provider's socket is closed, with what was cut, by control's clock."""
    provider.play(slow())

    async def steps() -> tuple[Any, bytes, list[str], int]:
        async with site.served(), gateway.served(provider) as link:
            await fresh(link)
            async with gateway.chat(stream=True) as response:
                await response.content.readany()
                answer = await site.command("/v1/stops", "instance", site.instance)
                rest = await response.read()
            await until(lambda: len(provider.journal.exchanges()) == 1)
            async with gateway.chat() as denied:
                status = denied.status
            return answer, rest, [one.outcome for one in provider.journal.exchanges()], status

    (status, answer), rest, outcomes, denied = site.run(steps)
    assert (200, []) == (status, answer["silent"])
    assert [("remote", 1)] == [(one["enforcement_point"], one["cut"]) for one in answer["effects"]]
    assert answer["effects"][0]["effect_ms"] > 0
    assert b'"stopped"' in rest
    assert (["broken"], 403) == (outcomes, denied)
    used = site.owner.account(next(iter(site.state.now.budgets.values())), 0)
    assert 0 < used.settled.tokens < 100 + WORDS
    assert 0 == used.reserved.tokens


def test_neighbours_of_what_is_stopped_go_on_and_a_resumed_one_too(site: Any, gateway: Any, provider: Any) -> None:
    """A stop of another team cuts nothing; its end is acknowledged like its beginning."""

    async def steps() -> list[Any]:
        async with site.served(), gateway.served(provider) as link:
            await fresh(link)
            found = [await site.command("/v1/stops", "team", "another"), await site.command("/v1/stops", "platform")]
            async with gateway.chat() as response:
                found.append(response.status)
            found.append(await site.command("/v1/stops/resume", "platform"))
            async with gateway.chat() as response:
                return [*found, response.status]

    other, whole, stopped, resumed, passed = site.run(steps)
    for status, answer in (other, whole, resumed):
        assert (200, [], 0) == (status, answer["silent"], answer["effects"][0]["cut"])
    assert (403, 200) == (stopped, passed)


def test_a_gateway_whose_feed_is_cut_denies_what_has_effects_and_goes_on_when_it_is_back(
    site: Any, gateway: Any, provider: Any
) -> None:
    """Five seconds by its own clock after the last beat, whatever control's clock says."""

    async def steps() -> list[Any]:
        found: list[Any] = []
        async with gateway.served(provider) as link:
            async with site.served():
                await fresh(link)
                async with gateway.chat() as response:
                    found.append(response.status)
            found.append(link.is_stale())
            gateway.ahead_ns += 5_100_000_000
            found.append(link.is_stale())
            async with gateway.chat() as response:
                found += [response.status, (await response.json())["error"]["code"], link.problem]
            async with site.served():
                await fresh(link)
                async with gateway.chat() as response:
                    return [*found, response.status, link.problem]

    first, soon, late, status, code, problem, last, none = site.run(steps)
    assert (200, False, True, 403, "stale", 200, None) == (first, soon, late, status, code, last, none)
    assert "5 s" in problem


def test_a_gateway_of_a_control_that_cannot_see_its_store_is_stale_too(site: Any, gateway: Any, provider: Any) -> None:
    """It says why, and goes on with the first beat."""

    async def steps() -> list[Any]:
        async with site.served(), gateway.served(provider) as link:
            await fresh(link)
            site.is_blind = True
            gateway.ahead_ns += 5_100_000_000
            await until(lambda: link.problem is not None and "its own store" in link.problem)
            async with gateway.chat() as response:
                found = [response.status, (await response.json())["error"]["code"]]
            site.is_blind = False
            await fresh(link)
            async with gateway.chat() as response:
                return [*found, response.status, link.problem]

    assert [403, "stale", 200, None] == site.run(steps)


def test_a_gateway_that_starts_while_control_is_down_knows_its_agents_and_doubts(
    site: Any, another: Any, provider: Any
) -> None:
    """It starts from what it knew last: an agent is told `stale`, not that it is unknown. The file is its owner's."""

    async def steps() -> list[Any]:
        async with site.served(), another("remote").linked() as link:
            await fresh(link)
            _, answer = await site.command("/v1/stops", "team", "elsewhere")
        gateway = another("remote")
        async with gateway.served(provider) as link:
            async with gateway.chat() as response:
                denied = (await response.json())["error"]["code"]
            known = (link.state.snapshot.stops.epoch, link.is_stale())
            async with site.served():
                await fresh(link)
                async with gateway.chat() as response:
                    return [answer["epoch"], known, denied, response.status]

    epoch, known, denied, status = site.run(steps)
    assert ((1, True), "stale", 200) == (known, denied, status)
    assert 1 == epoch
    kept = site.folder / "remote" / "control.json"
    assert 0o600 == kept.stat().st_mode & 0o777
    assert site.key.rpartition("_")[2] not in kept.read_text()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 99}', b'{"format": 1, "policy": 3, "records": []}'])
def test_a_file_that_cannot_be_read_is_left_alone(site: Any, gateway: Any, content: bytes) -> None:
    """It knows nothing then, which denies all, until control speaks."""
    gateway.config.snapshot.write_bytes(content)

    async def steps() -> tuple[int, int]:
        async with gateway.linked() as link:
            before = len(link.state.keys)
            async with site.served():
                await fresh(link)
                return before, len(link.state.keys)

    assert (0, 1) == site.run(steps)


def test_what_happened_while_it_was_away_is_heard_when_it_comes_back(site: Any, gateway: Any) -> None:
    """Also when control is another run of itself by then."""

    async def steps() -> tuple[int, int, int]:
        async with gateway.linked() as link:
            async with site.served():
                await fresh(link)
            epochs = []
            for number in range(2):
                async with site.served():
                    await until(lambda: not link.is_stale() and link.state.position == site.state.now.position)
                    await site.command("/v1/stops", "team", f"t{number}")
                    epochs.append(link.state.snapshot.stops.epoch)
            return (*epochs, len(list(link.state.snapshot.stops)))

    assert (1, 2, 2) == site.run(steps)


def test_a_gateway_of_a_newer_version_speaks_the_older_one(
    site: Any, gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control says which one it speaks, and the gateway asks again in that."""
    monkeypatch.setattr("headgate_gateways.link.link.VERSION", 2)

    async def steps() -> bool:
        async with site.served(), gateway.linked() as link:
            assert link._version == 2
            await fresh(link)
            return link._version == 1

    assert site.run(steps)


def test_a_gateway_whose_version_control_does_not_speak_any_more_says_so(
    site: Any, gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays stale."""
    monkeypatch.setattr(messages, "VERSION_OLDEST", 2)
    monkeypatch.setattr(messages, "VERSION", 2)

    async def steps() -> str:
        async with site.served(), gateway.linked() as link:
            await until(lambda: link.problem is not None and "409" in link.problem)
            assert link.is_stale()
            return str(link.problem)

    assert "bring the gateway up to date" in site.run(steps)


def _spoken(*frames: tuple[str, dict[str, Any]]) -> web.RouteDef:
    """A control that says this to whoever reads, and no more."""

    async def said(http: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(http)
        for name, body in frames:
            position = body.pop("id", None)
            await answer.write(messages.frame(name, body, position=position))
        return answer

    return web.get("/v1/feed", said)


_HELLO = {"version": 9, "version_oldest": 1, "run": "r", "epoch": 0, "position": 5, "a_new_field": True}


def test_what_a_newer_control_adds_is_left_alone(site: Any, gateway: Any) -> None:
    """Events, kinds of records and fields that this version does not know change nothing."""
    records = [
        {"kind": "epoch", "id": "stops", "body": {"epoch": 3, "new": 1}},
        {"kind": "wish", "id": "w", "body": {"for": "more"}},
        {"kind": "instance", "id": "i", "body": {**_instance(site), "new": 1}},
        {"kind": "instance", "id": "j", "body": {"shape": "another"}},
        {"kind": "stop", "id": "s", "body": {**_stop("team", "t"), "new": 1}},
    ]
    beat = {"position": 5, "epoch": 3, "new": 1}
    site.routes = [
        _spoken(
            ("hello", dict(_HELLO)),
            ("wonder", {"what": "is this"}),
            ("snapshot", {"page": 0, "position": 5, "more": False, "records": records, "id": 5}),
            ("beat", beat),
        )
    ]

    async def steps() -> tuple[list[str], list[str], str | None]:
        async with site.served(), gateway.linked() as link:
            await fresh(link)
            snapshot = link.state.snapshot
            return list(snapshot.instances), [one.key[1] for one in snapshot.stops], link.problem

    assert (["i"], ["t"], None) == site.run(steps)


@pytest.mark.parametrize(
    "frames",
    [
        [("snapshot", {"kind": "stop", "id": "s"}), ("beat", {"position": 5, "epoch": 3})],
        [("snapshot", {"kind": "limit", "id": "l", "body": {"place": ["galaxy", "x"]}})],
        [("snapshot", {"kind": "limit", "id": "l", "body": {"limit_id": "l", "place": ["team", "x"], "new": 1}})],
        [("hello", {**_HELLO, "version_oldest": 9})],
    ],
)
def test_what_a_gateway_cannot_follow_makes_it_deny_and_say_why(site: Any, gateway: Any, frames: Any) -> None:
    """A stop or a limit that it does not know, and a language that it does not speak."""
    page = {"page": 0, "position": 5, "more": False, "id": 5}
    body = {"body": _stop("galaxy", "andromeda")}
    said = [(name, {**page, "records": [{**body, **one}]} if name == "snapshot" else one) for name, one in frames]
    site.routes = [_spoken(("hello", dict(_HELLO)), *said)]

    async def steps() -> str:
        async with site.served(), gateway.linked() as link:
            await until(lambda: link._refused is not None)
            assert link.is_stale()
            return str(link.problem)

    assert "version" in site.run(steps)


def test_policies_that_cannot_be_read_permit_nothing_and_are_named(site: Any, gateway: Any) -> None:
    """The gateway is not stale, and says why it denies."""
    page = {"page": 0, "position": 5, "more": False, "records": [], "id": 5}
    policy = {"digest": "sha256:x", "text": "@id('x') allow everything;", "arguments": {}}
    site.routes = [
        _spoken(("hello", dict(_HELLO)), ("snapshot", page), ("policy", policy), ("beat", {"position": 5, "epoch": 0}))
    ]

    async def steps() -> tuple[Any, str]:
        async with site.served(), gateway.linked() as link:
            await fresh(link)
            return link.state.snapshot.policy, str(link.problem)

    engine, problem = site.run(steps)
    assert engine is None
    assert "policies of control cannot be read" in problem


@pytest.mark.parametrize("is_known", [True, False])
def test_control_is_believed_by_the_authority_that_the_site_names(
    site: Any, gateway: Any, tmp_path: Path, is_known: bool
) -> None:
    """Whoever else stands at its address is told no token."""
    authority, other = trustme.CA(), trustme.CA()
    site.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(site.tls)
    site.ca_file = tmp_path / "ca.pem"
    (authority if is_known else other).cert_pem.write_to_path(str(site.ca_file))

    async def steps() -> bool:
        async with site.served(), gateway.linked() as link:
            return bool(await link.heard(wait_s=30 if is_known else 1))

    assert is_known is site.run(steps)


@pytest.mark.parametrize("url", ["control.example", "ftp://control", "http://control.example:7410", "http://10.0.0.1"])
def test_a_token_never_goes_over_a_network_in_the_clear(url: str) -> None:
    """Past this machine control is reached by TLS."""
    with pytest.raises(ConfigError):
        ControlAddress(url=url, token=lambda: "t")


def _instance(site: Any) -> dict[str, Any]:
    return json.loads(json.dumps(site.state.now.snapshot.instances[site.instance].written())) | {"instance_id": "i"}


def _stop(scope: str, target: str) -> dict[str, Any]:
    return {
        "stop_id": "s",
        "key": [scope, target],
        "mode": "stop",
        "reason": "r",
        "author": "a",
        "accepted_unix_nano": 1,
        "epoch": 3,
    }
