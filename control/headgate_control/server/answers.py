"""What every route of control shares: JSON in and out, and errors in one shape."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from headgate_control.server.refusals import Refusals
from headgate_control.server.wire import WireError
from headgate_control.store.record import ConflictError
from headgate_processors.errors import (
    ConfigError,
    ForbiddenError,
    HeadgateError,
    PermanentError,
    UnauthenticatedError,
)

_LOG = logging.getLogger(__name__)
REQUEST_ID = "x-request-id"
BODY_S = web.AppKey("body_s", float)
BODY_S_DEFAULT = 30.0
REASON_CHARS_MAX = 2_000
REFUSALS = web.AppKey("refusals", Refusals)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def body_of(http: web.Request) -> object:
    """The JSON of a request.

    Raises:
        WireError: it is none.
        HTTPRequestTimeout: it does not come within the seconds of its application.
    """
    body_s = http.app.get(BODY_S, BODY_S_DEFAULT)
    try:
        async with asyncio.timeout(body_s):
            return orjson.loads(await http.read())
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(reason=f"the body did not come within {body_s:g} seconds") from error
    except orjson.JSONDecodeError as error:
        raise WireError(f"the body is no JSON: {error}") from error


async def json_of(http: web.Request) -> object:
    """The JSON of a request that says it is JSON, as AuthZEN wants it.

    Raises:
        WireError: it is none, or does not say so.
    """
    if http.content_type != "application/json":
        raise WireError(f"content-type: expected application/json, not {http.content_type[:100]}")
    return await body_of(http)


async def object_of(http: web.Request) -> Mapping[str, Any]:
    """The JSON object of a request.

    Raises:
        WireError: it is none.
    """
    found = await body_of(http)
    if not isinstance(found, Mapping):
        raise WireError("the body: expected an object")
    return found


def text_of(body: Mapping[str, Any], name: str) -> str | None:
    """A field that is text, or left out.

    Raises:
        WireError: it is something else.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise WireError(f"{name}: expected text")
    return value


def reason_of(body: Mapping[str, Any]) -> str:
    """Why, as the journal keeps it; empty where nobody says.

    Raises:
        WireError: it is no text, or too long.
    """
    reason = text_of(body, "reason") or ""
    if len(reason) > REASON_CHARS_MAX:
        raise WireError(f"reason: {REASON_CHARS_MAX} characters at most")
    return reason


def whole_of(body: Mapping[str, Any], name: str) -> int | None:
    """A field that is a whole number of at least 0, or left out.

    Raises:
        WireError: it is something else.
    """
    value = body.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise WireError(f"{name}: expected a whole number of at least 0")
    return value


def answered(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=orjson.dumps(content), status=status, headers=headers, content_type="application/json")


async def identified(http: web.Request, response: web.StreamResponse) -> None:
    """Repeat the id that a request gives itself, in whatever answers it."""
    named = http.headers.get(REQUEST_ID)
    if named is not None and named.isprintable():
        response.headers[REQUEST_ID] = named


def note_refused(request: web.Request, error: HeadgateError) -> None:
    """Have it told that a request was refused, where that is for whoever asks."""
    refusals, resource = request.config_dict.get(REFUSALS), request.match_info.route.resource
    if refusals is not None and isinstance(error, UnauthenticatedError | ForbiddenError):
        path = resource.canonical if resource is not None else "another path"
        refusals.note(error, f"{request.method} {path}", request.remote or "somewhere")


@web.middleware
async def told_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as JSON, with its status and a sentence; what is our own fault says nothing of itself."""
    try:
        return await handler(request)
    except UnauthenticatedError as error:
        note_refused(request, error)
        return answered({"error": str(error)}, status=401, headers={"www-authenticate": "Bearer"})
    except ForbiddenError as error:
        note_refused(request, error)
        return answered({"error": str(error)}, status=403)
    except ConflictError as error:
        return answered({"error": str(error)}, status=409)
    except (PermanentError, ConfigError) as error:
        return answered({"error": str(error)}, status=400)
    except HeadgateError as error:
        return answered({"error": str(error)}, status=503)
    except web.HTTPException as error:
        return answered({"error": error.reason}, status=error.status)
    except Exception:  # noqa: BLE001 - the edge: whoever asked hears nothing of our insides
        _LOG.exception("control could not answer %s", request.path)
        return answered({"error": "control could not answer; its log says why"}, status=500)
