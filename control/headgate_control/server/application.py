"""Control's HTTP application: routes, who may use which, and errors in one shape."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from headgate_control.decide.core import Moment, Snapshot, decide
from headgate_control.decide.decision import Logged, authzen
from headgate_control.decide.service import DecisionService
from headgate_control.request import Request, Subject
from headgate_control.server.claude_code import answer, parse_hook
from headgate_control.server.doors import Caller, Doors, only
from headgate_control.server.wire import ACTIONS, Evaluations, WireError, parse_evaluation, parse_evaluations
from headgate_processors.errors import ForbiddenError, HeadgateError, PermanentError, UnauthenticatedError

BODY_BYTES_MAX = 1 << 20
_LOG = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlServer:
    """What the routes stand on."""

    service: DecisionService
    snapshot: Callable[[], Snapshot]
    doors: Doors
    clock: Callable[[], int]

    def application(self) -> web.Application:
        """The application, to be run by aiohttp."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_errors])
        app.add_routes(
            [
                web.post("/access/v1/evaluation", self._evaluation),
                web.post("/access/v1/evaluations", self._evaluations),
                web.post("/access/v1/search/action", self._search_action),
                web.post("/access/v1/check", self._check),
                web.post("/hooks/claude-code", self._claude_code),
                web.get("/.well-known/authzen-configuration", self._metadata),
                web.get("/healthz", _healthy),
            ]
        )
        return app

    async def _evaluation(self, http: web.Request) -> web.Response:
        caller = self._asker(http)
        request = _about(parse_evaluation(await _body(http)), caller)
        return _json(authzen(await self._decided(request)))

    async def _evaluations(self, http: web.Request) -> web.Response:
        caller = self._asker(http)
        asked = parse_evaluations(await _body(http))
        found = [_about(request, caller) for request in asked.requests]
        logged = await self._in_turn(Evaluations(requests=found, semantic=asked.semantic))
        return _json({"evaluations": [authzen(one) for one in logged]})

    async def _in_turn(self, asked: Evaluations) -> Sequence[Logged]:
        ends_with = {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(asked.semantic)
        logged: list[Logged] = []
        for request in asked.requests:
            logged.append(await self._decided(request))
            if logged[-1].decision.allowed is ends_with:
                break
        return logged

    async def _search_action(self, http: web.Request) -> web.Response:
        """The actions that would be allowed now. That is no decision, and none is logged."""
        caller = self._asker(http)
        body = await _body(http)
        found = []
        for name in ACTIONS:
            request = _about(parse_evaluation({**_object(body), "action": {"name": name}}), caller)
            if decide(request, self.snapshot(), self._moment(request)).allowed:
                found.append({"name": name})
        return _json({"results": found})

    async def _check(self, http: web.Request) -> web.Response:
        """The same, with the verdict as the status, for proxies that look at nothing else."""
        caller = self._asker(http)
        logged = await self._decided(_about(parse_evaluation(await _body(http)), caller))
        headers = {"x-headgate-decision-id": logged.decision_id}
        return _json(authzen(logged), status=200 if logged.decision.allowed else 403, headers=headers)

    async def _claude_code(self, http: web.Request) -> web.Response:
        """Always 200: on any other status Claude Code runs the tool."""
        try:
            caller = only(self.doors.caller(http.headers.get("authorization")), "agent")
            subject = Subject(type="agent_instance", id=caller.instance_id or "")
            requests = parse_hook(await _body(http), subject)
            return _json(answer([(await self._decided(request)).decision for request in requests]))
        except HeadgateError as error:
            return _json(_hook_denied(str(error)))
        except Exception:  # noqa: BLE001 - whatever it is, the tool may not run
            _LOG.exception("a hook could not be answered")
            return _json(_hook_denied("control could not decide, so the tool may not run"))

    async def _metadata(self, http: web.Request) -> web.Response:
        base = f"{http.scheme}://{http.host}"
        return _json(
            {
                "policy_decision_point": base,
                "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
                "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
                "search_action_endpoint": f"{base}/access/v1/search/action",
            }
        )

    def _asker(self, http: web.Request) -> Caller:
        return self.doors.caller(http.headers.get("authorization"))

    async def _decided(self, request: Request) -> Logged:
        return await self.service(request, self._moment(request))

    def _moment(self, request: Request) -> Moment:
        session = request.context.get("session")
        return Moment(at_unix_nano=self.clock(), session=session if isinstance(session, str) else None)


def _about(request: Request, caller: Caller) -> Request:
    """The request, if its caller may ask about its subject: an agent about itself alone.

    Raises:
        ForbiddenError: it is about somebody else.
    """
    if caller.role == "agent" and request.subject.id != caller.instance_id:
        raise ForbiddenError("an agent may ask about itself alone")
    return request


async def _body(http: web.Request) -> object:
    try:
        return orjson.loads(await http.read())
    except orjson.JSONDecodeError as error:
        raise WireError(f"the body is no JSON: {error}") from error


def _object(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise WireError("the body: expected an object")
    return body


def _json(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, headers=headers, content_type="application/json")


def _hook_denied(reason: str) -> dict[str, Any]:
    denied = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason}
    return {"hookSpecificOutput": denied}


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as JSON, with its status and a sentence; what is our own fault says nothing of itself."""
    try:
        return await handler(request)
    except UnauthenticatedError as error:
        return _json({"error": str(error)}, status=401, headers={"www-authenticate": "Bearer"})
    except ForbiddenError as error:
        return _json({"error": str(error)}, status=403)
    except PermanentError as error:
        return _json({"error": str(error)}, status=400)
    except HeadgateError as error:
        return _json({"error": str(error)}, status=503)
    except web.HTTPException as error:
        return _json({"error": error.reason}, status=error.status)
    except Exception:  # noqa: BLE001 - the edge: whoever asked hears nothing of our insides
        _LOG.exception("control could not answer %s", request.path)
        return _json({"error": "control could not answer; its log says why"}, status=500)
