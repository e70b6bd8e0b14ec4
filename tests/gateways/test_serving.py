"""Connections before any request is there: slow ones end, and only so many are open."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
from aiohttp import web

from headgate_gateways.serving import ConnectionBounds, listening
from headgate_processors.errors import ConfigError

SHORT = ConnectionBounds(headers_s=0.5, idle_s=30)
FOREVER_S = 30
HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(bounds: ConnectionBounds, **more: Any) -> AsyncIterator[Callable[..., Awaitable[Stream]]]:
    """A server that answers `ok`; what opens a connection to it."""

    async def ok(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_route("*", "/", ok)
    trusted: ssl.SSLContext | None = more.pop("client", None)
    opened: list[asyncio.StreamWriter] = []
    async with listening(app, "127.0.0.1", 0, bounds=bounds, **more) as address:
        host, _, port = address.rpartition(":")

        async def connect(client: ssl.SSLContext | None = trusted) -> Stream:
            named = "localhost" if client is not None else None
            reader, writer = await asyncio.open_connection(host, int(port), ssl=client, server_hostname=named)
            opened.append(writer)
            return reader, writer

        try:
            yield connect
        finally:
            for writer in opened:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in opened), return_exceptions=True)


async def ends(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server closes the connection."""
    try:
        async with asyncio.timeout(FOREVER_S):
            return await reader.read()
    except ConnectionResetError:
        return b""


async def answers(stream: Stream, request: bytes = HEAD + b"\r\n") -> int:
    """The status of an answer on a connection that stays open."""
    reader, writer = stream
    writer.write(request)
    async with asyncio.timeout(FOREVER_S):
        said = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
    return int(said.split(maxsplit=2)[1])


@pytest.mark.parametrize("sent", [HEAD + b"authorization: Bearer " + b"s3cret" * 2_000, HEAD + b"bad header s3cret"])
def test_what_is_no_request_is_refused_and_nothing_of_it_logged(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Once a second, with its kind alone."""

    async def steps() -> list[bytes]:
        async with served(SHORT) as connect:
            said = []
            for _ in range(5):
                reader, writer = await connect()
                writer.write(sent + b"\r\n\r\n")
                said.append((await ends(reader))[:12])
            return said

    said = asyncio.run(steps())
    assert ([b"HTTP/1.0 400"] * 5, 1, False, False) == (
        said,
        len(caplog.messages),
        "s3cret" in caplog.text,
        "Traceback" in caplog.text,
    )


@pytest.mark.parametrize("begins", [b"", b"GET ", HEAD, HEAD + b"x: y\r\n"])
def test_a_connection_whose_headers_do_not_come_is_closed(begins: bytes) -> None:
    """Though more of them comes again and again; whoever was in time stays."""

    async def steps() -> tuple[bytes, int]:
        async with served(SHORT) as connect:
            good = await connect()
            await answers(good)
            reader, writer = await connect()
            writer.write(begins)
            dripping = asyncio.create_task(_drip(writer if begins else None))
            said = await ends(reader)
            dripping.cancel()
            return said, await answers(good)

    assert (b"", 200) == asyncio.run(steps())


async def _drip(writer: asyncio.StreamWriter | None) -> None:
    while writer is not None:
        writer.write(b"x")
        await asyncio.sleep(0.005)


def test_later_headers_of_a_connection_have_their_bound_too() -> None:
    """From the answer before them; nobody can be slow there for ever."""

    async def steps() -> tuple[int, bytes]:
        async with served(ConnectionBounds(headers_s=30, idle_s=0.5)) as connect:
            stream = await connect()
            first = await answers(stream)
            stream[1].write(HEAD)
            return first, await ends(stream[0])

    assert (200, b"") == asyncio.run(steps())


@pytest.mark.parametrize("path", [b"/", b"/nowhere"])
def test_an_answer_does_not_say_what_serves_it(path: bytes) -> None:
    """Neither a good one nor an error."""

    async def steps() -> bytes:
        async with served(SHORT) as connect:
            reader, writer = await connect()
            writer.write(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n")
            return await reader.readuntil(b"\r\n\r\n")

    assert b"server:" not in asyncio.run(steps()).lower()


def test_headers_may_come_in_pieces() -> None:
    """Wherever they are cut, the end of them is seen, and what follows is another request."""

    async def steps() -> list[int]:
        async with served(ConnectionBounds(headers_s=FOREVER_S)) as connect:
            stream = await connect()
            writer = stream[1]
            for piece in (HEAD, b"\r", b"\n"):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            return [await answers(stream, b""), await answers(stream)]

    assert [200, 200] == asyncio.run(steps())


def test_connections_beyond_those_that_may_be_open_are_refused() -> None:
    """With a word that says so; one that ends makes room."""

    async def steps() -> tuple[int, bytes, int]:
        async with served(ConnectionBounds(connections_max=1)) as connect:
            first = await connect()
            before = await answers(first)
            reader, _ = await connect()
            said = await ends(reader)
            first[1].close()
            async with asyncio.timeout(FOREVER_S):
                while True:
                    stream = await connect()
                    stream[1].write(HEAD + b"connection: close\r\n\r\n")
                    if (again := await ends(stream[0])).startswith(b"HTTP/1.1 200"):
                        return before, said.split(b"\r\n")[0], int(again.split(maxsplit=2)[1])

    assert (200, b"HTTP/1.1 503 Service Unavailable", 200) == asyncio.run(steps())


def test_the_same_holds_with_a_certificate() -> None:
    """Whoever says no hello is as slow as whoever sends no headers."""
    authority = trustme.CA()
    context, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(client)

    async def steps() -> tuple[int, bytes, bytes]:
        bounds = ConnectionBounds(headers_s=1)
        async with served(bounds, tls=context, client=client) as connect:
            good, slow = await connect(), await connect()
            status = await answers(good)
            slow[1].write(HEAD)
            silent, _ = await connect(None)
            return status, await ends(slow[0]), await ends(silent)

    assert (200, b"", b"") == asyncio.run(steps())


def test_a_port_that_is_taken_is_an_error_or_gives_way() -> None:
    """As whoever listens says."""

    async def steps() -> bool:
        async with listening(web.Application(), "127.0.0.1", 0) as first:
            host, port = first.split(":")
            with pytest.raises(ConfigError, match=f"cannot listen on {first}: .*in use.*Choose another"):
                async with listening(web.Application(), host, int(port)):
                    pass
            async with listening(web.Application(), host, int(port), gives_way=True) as second:
                return second != first

    assert asyncio.run(steps())
