"""Servers to compare with, each in a process of its own.

`provider` answers calls of a model at once, and streams where it is asked to. `proxy URL` is the least that a proxy
of aiohttp can do. `fixed TEXT` is a handler of aiohttp that always answers the same.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

CHUNKS = 20
CHUNK_EVERY_S = 0.001
ANSWER_BYTES = 1_024
ENDLESS = "gpt-5-endless"
END_S = 10.0
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_USAGE = {"prompt_tokens": 180, "completion_tokens": 20, "total_tokens": 200}


@contextmanager
def endpoint(*words: str) -> Iterator[str]:
    """One of these servers; its address."""
    command = [sys.executable, str(Path(__file__)), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(END_S)


class _Provider(asyncio.Protocol):
    """Of HTTP as much as a keep-alive client needs."""

    def __init__(self) -> None:
        self._asked = bytearray()
        self._streaming: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._streaming is not None:
            self._streaming.cancel()

    def data_received(self, data: bytes) -> None:
        self._asked += data
        end = self._asked.find(b"\r\n\r\n")
        if end < 0:
            return
        named = bytes(self._asked[:end]).lower().partition(b"content-length:")[2]
        length = int(named.split(b"\r\n", 1)[0] or 0)
        if len(self._asked) < end + 4 + length:
            return
        body = bytes(self._asked[end + 4 : end + 4 + length])
        self._asked.clear()
        if b'"stream":true' in body:
            chunks = None if ENDLESS.encode() in body else CHUNKS
            self._streaming = asyncio.ensure_future(self._stream(chunks))
        else:
            self._transport.write(_WHOLE)

    async def _stream(self, chunks: int | None) -> None:
        self._transport.write(_STREAM)
        sent = 0
        while chunks is None or sent < chunks:
            self._transport.write(_piece(_event({"delta": {"content": "some words "}, "index": 0})))
            sent += 1
            await asyncio.sleep(CHUNK_EVERY_S)
        self._transport.write(_piece(_event(None)) + _piece(b"data: [DONE]\n\n") + b"0\r\n\r\n")


def _event(choice: dict[str, object] | None) -> bytes:
    told: dict[str, object] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-5-mini"}
    told |= {"choices": [choice]} if choice is not None else {"choices": [], "usage": _USAGE}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


def _piece(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def _whole() -> bytes:
    message = {"role": "assistant", "content": ""}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    told = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-5-mini", "choices": [choice]}
    told["usage"] = _USAGE
    message["content"] = "a" * (ANSWER_BYTES - len(json.dumps(told)))
    body = json.dumps(told).encode()
    return _HEAD + str(len(body)).encode() + b"\r\n\r\n" + body


_WHOLE = _whole()


async def _provider() -> None:
    server = await asyncio.get_running_loop().create_server(_Provider, "127.0.0.1", 0, backlog=256)
    print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


async def _proxy(url: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)) as client:

        async def passed_on(http: web.Request) -> web.StreamResponse:
            headers = {name: value for name, value in http.headers.items() if name.lower() != "host"}
            async with client.request(http.method, url + http.path, data=await http.read(), headers=headers) as found:
                kept = {n: v for n, v in found.headers.items() if n.lower() != "transfer-encoding"}
                answer = web.StreamResponse(status=found.status, headers=kept)
                await answer.prepare(http)
                async for piece in found.content.iter_any():
                    await answer.write(piece)
                await answer.write_eof()
                return answer

        await _serve(passed_on)


async def _fixed(text: str) -> None:
    async def handler(http: web.Request) -> web.Response:
        await http.read()
        return web.Response(text=text, content_type="application/json")

    await _serve(handler)


async def _serve(handler: "object") -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=256).start()
    print("{}:{}".format(*runner.addresses[0][:2]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    asyncio.run({"provider": _provider, "proxy": _proxy, "fixed": _fixed}[kind](*rest))
