"""How commands reach control, and what they say when they do not."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from headgate_console.control.client import ControlClient, control_client
from headgate_console.control.place import Place
from headgate_console.errors import CommandError
from headgate_console.settings import Settings
from headgate_processors.errors import ConfigError


class Answering(BaseHTTPRequestHandler):
    """Answers everything with `answer`, and keeps what it was asked."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"{}")
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        """Answer."""
        status, content = Answering.answer
        Answering.asked.append((self.path, self.headers["authorization"]))
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        """Read the body, and answer."""
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    """Where something answers."""
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        Answering.asked.clear()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "content", "error", "expected"),
    [
        (400, {"error": "scope: expected one of a, b"}, ConfigError, "scope: expected one of a, b"),
        (401, {"error": "show a token"}, CommandError, "show a token"),
        (403, {"error": "this is for operators"}, CommandError, "this is for operators"),
        (404, {"error": "no instance"}, CommandError, "no instance"),
        (503, {"error": "the store cannot be written"}, CommandError, "the store cannot be written"),
        (500, {}, CommandError, "control answered 500"),
        (200, None, CommandError, "is not control"),
        (500, [], CommandError, "control answered 500"),
    ],
)
def test_each_refusal_is_a_sentence(
    address: str, status: int, content: object, error: type[Exception], expected: str
) -> None:
    """Wrong words are bad usage; everything else has failed."""
    Answering.answer = (status, b"<html>" if content is None else json.dumps(content).encode())
    with pytest.raises(error, match=expected):
        ControlClient(address=address, token="t").get("/v1/stops")


def test_names_are_escaped_into_the_path(address: str) -> None:
    """An id can lead to no other route."""
    Answering.answer = (200, b"{}")
    ControlClient(address=address, token="t").get("/v1/instances/{}", "../stops?x=/")
    assert [("/v1/instances/..%2Fstops%3Fx%3D%2F", "Bearer t")] == Answering.asked


def test_silence_of_a_point_is_an_answer(address: str) -> None:
    """It comes with what the others did."""
    Answering.answer = (504, b'{"silent": ["eu-1"]}')
    assert (False, {"silent": ["eu-1"]}) == ControlClient(address=address, token="t").command("/v1/stops", {})
    Answering.answer = (200, b"{}")
    assert (True, {}) == ControlClient(address=address, token="t").command("/v1/stops", {})


def test_where_nobody_listens_it_says_how_to_start(tmp_path: Path) -> None:
    """With the address that was tried; its token is in no message."""
    client = ControlClient(address="127.0.0.1:9", token="hgt_secret")
    with pytest.raises(CommandError, match=r"control does not answer at 127\.0\.0\.1:9 .*Start it: headgate up"):
        client.get("/v1/stops")
    assert "hgt_secret" not in repr(client)


def test_without_a_token_it_says_who_makes_one(tmp_path: Path) -> None:
    """And with one that is none, that it is none."""
    settings = Settings(data=tmp_path)
    with pytest.raises(CommandError, match="is not there: headgate up"):
        control_client(settings)
    (tmp_path / "admin.token").write_bytes("schlüssel".encode())
    with pytest.raises(CommandError, match="holds no token"):
        control_client(settings)
    (tmp_path / "admin.token").write_text("one\ntwo\n")
    with pytest.raises(CommandError, match="holds no token"):
        control_client(settings)


def test_the_address_is_where_control_said_that_it_listens(tmp_path: Path) -> None:
    """Else the setting; what cannot be read of the file counts as not said."""
    place = Place(data=tmp_path)
    place.folder.mkdir()
    place.admin_token.write_text("hgt_x\n")
    assert "127.0.0.1:7410" == control_client(Settings(data=tmp_path)).address
    place.tell({"control": "127.0.0.1:1"})
    found = control_client(Settings(data=tmp_path))
    assert ("127.0.0.1:1", "hgt_x") == (found.address, found.token)
    for content in ("{", "[]"):
        (place.folder / "addresses.json").write_text(content)
        assert {} == place.addresses()
