"""Listeners of control and its gateway: whose a port is, who may reach it, and with which certificate."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from headgate_console.control.client import ControlClient
from headgate_console.control.listening import (
    SUPERVISOR,
    Door,
    control_door,
    is_first_start,
    listening,
    model_door,
)
from headgate_console.control.place import Place, certificate_name
from headgate_console.errors import CommandError
from headgate_console.settings import Settings
from headgate_console.settings.definition import ControlSettings, GatewaySettings, ModelGatewaySettings
from headgate_processors.errors import ConfigError
from headgate_processors.testing.issuers import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs certificates."""
    return Authority(tmp_path)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        yield int(held.getsockname()[1])


def door(port: int, *, is_default: bool) -> Door:
    """A door of this machine, in clear."""
    return Door(host="127.0.0.1", port=port, is_default=is_default, certificate=None, context=None)


def listened(at: Door, *, is_first: bool) -> str:
    """Where it listens."""

    async def steps() -> str:
        async with listening(at, web.Application(), is_first=is_first) as address:
            return address

    return asyncio.run(steps())


def test_a_default_port_that_is_taken_gives_way_at_the_first_start(taken: int) -> None:
    """Nobody knows yet where control is."""
    address = listened(door(taken, is_default=True), is_first=True)
    assert "127.0.0.1" == address.rpartition(":")[0]
    assert str(taken) != address.rpartition(":")[2]


@pytest.mark.parametrize(("is_default", "is_first"), [(True, False), (False, True)])
def test_a_port_that_agents_know_or_somebody_chose_is_not_given_away(
    taken: int, is_default: bool, is_first: bool
) -> None:
    """Their keys would go to whoever has taken it."""
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{taken}: .*address already in use"):
        listened(door(taken, is_default=is_default), is_first=is_first)


def test_only_another_headgate_up_is_a_first_start(tmp_path: Path) -> None:
    """The file of addresses says under which one control listened last."""
    place = Place(data=tmp_path)
    place.folder.mkdir()
    never = is_first_start(place, "17")
    place.tell({"control": "127.0.0.1:7410", SUPERVISOR: "17"})
    assert (True, False, True) == (never, is_first_start(place, "17"), is_first_start(place, "18"))


def settings(**more: object) -> Settings:
    """Both listeners with the same settings."""
    control, model = ControlSettings.model_validate(more), ModelGatewaySettings.model_validate(more)
    return Settings(control=control, gateways=GatewaySettings(model=model))


@pytest.mark.parametrize(("door_of", "section"), [(control_door, "control"), (model_door, "gateways.model")])
@pytest.mark.parametrize("address", ["0.0.0.0:7419", "[::]:7419", "192.0.2.1:7419"])
def test_other_machines_are_let_in_with_a_certificate_or_by_a_word(door_of: object, section: str, address: str) -> None:
    """The error names both."""
    assert callable(door_of)
    expected = rf"{section}.listen: .*{section}.tls.cert_file, .*a proxy with a certificate .*{section}.insecure: true"
    with pytest.raises(ConfigError, match=expected):
        door_of(settings(listen=address))
    assert address == door_of(settings(listen=address, insecure=True)).address


@pytest.mark.parametrize("name", ["cert_file", "key_file"])
def test_a_certificate_and_its_key_belong_together(tmp_path: Path, name: str) -> None:
    """One alone is a mistake."""
    with pytest.raises(ConfigError, match=r"control\.tls: cert_file and key_file belong together"):
        control_door(settings(tls={name: tmp_path / "a.pem"}))


def test_commands_trust_the_certificate_of_control_and_no_other_and_it_rotates(
    authority: Authority, tmp_path: Path
) -> None:
    """Whatever name it is for, and also one that was put in place while control runs."""
    files, other = authority.issue("control"), authority.issue("another")
    tls = {"cert_file": files.certificate, "key_file": files.key}
    at = control_door(settings(listen="127.0.0.1:0", tls=tls))
    app = web.Application()
    app.add_routes([web.get("/v1/stops", _answer)])

    async def steps() -> list[object]:
        async with listening(at, app, is_first=True) as address:
            own = ControlClient(address=address, token="t", certificate=at.certificate)
            theirs = ControlClient(address=address, token="t", certificate=other.certificate)
            found: list[object] = [await asyncio.to_thread(own.get, "/v1/stops")]
            with pytest.raises(CommandError, match="CERTIFICATE_VERIFY_FAILED"):
                await asyncio.to_thread(theirs.get, "/v1/stops")
            for name in ("certificate", "key"):
                getattr(files, name).write_bytes(getattr(other, name).read_bytes())
            return [*found, await asyncio.to_thread(theirs.get, "/v1/stops")]

    assert [{"stops": []}] * 2 == asyncio.run(steps())


async def _answer(_: web.Request) -> web.Response:
    return web.json_response({"stops": []})


def test_an_address_says_how_it_is_spoken_to(tmp_path: Path) -> None:
    """HTTPS where there is a certificate; nothing where it was never started."""
    place = Place(data=tmp_path)
    place.folder.mkdir()
    place.tell({"control": "127.0.0.1:1", "model": "127.0.0.1:2", certificate_name("model"): "/x.pem"})
    assert ("http://127.0.0.1:1", "https://127.0.0.1:2", None) == tuple(map(place.url, ("control", "model", "other")))
