"""The gateway's HTTP application, and the client that it calls providers with."""

import aiohttp
from aiohttp import web

from headgate_gateways.model.gateway import BODY_BYTES_MAX, ModelGateway

CONNECT_S = 10.0
IDLE_S = 600.0


def provider_client() -> aiohttp.ClientSession:
    """A client that keeps no cookies, follows nobody's proxy variables, and waits for a slow provider."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=IDLE_S),
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


def application(gateway: ModelGateway) -> web.Application:
    """Every door of the gateway. Run it with `handler_cancellation`, so that a client that leaves ends its call."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_route("GET", "/healthz", _healthy)
    app.router.add_route("*", "/{door}/{path:.+}", gateway.__call__)
    return app


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")
