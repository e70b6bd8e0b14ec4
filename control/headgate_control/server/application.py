"""Control's HTTP application: routes, who may use which, and errors in one shape."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from headgate_control.decide.core import Moment, Snapshot
from headgate_control.decide.decision import Logged, authzen, warning_headers
from headgate_control.decide.service import DecisionService, Look, with_books
from headgate_control.identity.instance import Instance
from headgate_control.policy.engine import PolicyFacts
from headgate_control.request import Request, Subject
from headgate_control.server.answers import (
    BODY_S,
    BODY_S_DEFAULT,
    REFUSALS,
    answered,
    body_of,
    identified,
    json_of,
    note_refused,
    told_errors,
)
from headgate_control.server.claude_code import answer, parse_hook
from headgate_control.server.doors import Caller, Doors, NotYoursError, only
from headgate_control.server.forwarded import parse_forwarded
from headgate_control.server.refusals import Refusals
from headgate_control.server.search import Search, metadata
from headgate_control.server.wire import Evaluations, UnknownActionError, parse_evaluation, parse_evaluations
from headgate_processors.errors import ForbiddenError, HeadgateError, PermanentError

BODY_BYTES_MAX = 1 << 20
METADATA_CACHING = "max-age=60"
_LOG = logging.getLogger(__name__)
Facts = Callable[[Request, Instance, Moment], PolicyFacts]
"""What is known beside a request of whoever asks, in the session that the moment names."""


async def _unread(_: Request) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlServer:
    """What the routes stand on; `more` are those of commands and the feed.

    `told` hears of every decision, and may neither wait nor fail. `is_stale` says that stops may have been missed.
    `facts` are what policies may know of a request's session and budgets, `content` finds the classes of what its
    arguments hold, and `tool_called` hears of each tool call that a hook lets run. `look` asks the books. `public_url`
    is where callers reach control, where that is not the address at which it listens.
    """

    service: DecisionService
    snapshot: Callable[[], Snapshot]
    doors: Doors
    clock: Callable[[], int]
    told: Callable[[Logged], None] = lambda _: None
    more: Iterable[web.AbstractRouteDef] = field(default_factory=tuple)
    is_stale: Callable[[], bool] = lambda: False
    facts: Facts = lambda _request, _instance, _moment: PolicyFacts()
    content: Callable[[Request], Awaitable[Sequence[str]]] = _unread
    tool_called: Callable[[Request], None] = lambda _: None
    look: Look | None = None
    public_url: str | None = None
    body_s: float = BODY_S_DEFAULT
    refusals: Refusals = field(default_factory=Refusals)

    def application(self) -> web.Application:
        """The application, to be run by aiohttp."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[told_errors])
        app[BODY_S], app[REFUSALS] = self.body_s, self.refusals
        app.on_response_prepare.append(identified)
        app.add_routes(
            [
                web.post("/access/v1/evaluation", self._evaluation),
                web.post("/access/v1/evaluations", self._evaluations),
                web.post("/access/v1/search/subject", self._search_subject),
                web.post("/access/v1/search/resource", self._search_resource),
                web.post("/access/v1/search/action", self._search_action),
                web.post("/access/v1/check", self._check),
                web.get("/access/v1/check", self._check_forwarded),
                web.post("/hooks/claude-code", self._claude_code),
                web.get("/.well-known/authzen-configuration", self._metadata),
                web.get("/healthz", _healthy),
                *self.more,
            ]
        )
        return app

    async def _evaluation(self, http: web.Request) -> web.Response:
        caller = self._asker(http)
        try:
            request = _about(parse_evaluation(await json_of(http)), caller)
        except UnknownActionError as error:
            return answered(_error(400, error))
        return answered(authzen(await self._decided(request, caller)))

    async def _evaluations(self, http: web.Request) -> web.Response:
        caller = self._asker(http)
        try:
            asked = parse_evaluations(await json_of(http))
        except UnknownActionError as error:
            return answered(_error(400, error))
        if isinstance(asked, Request):
            return answered(authzen(await self._decided(_about(asked, caller), caller)))
        return answered({"evaluations": await self._in_turn(asked, caller)})

    async def _in_turn(self, asked: Evaluations, caller: Caller) -> Sequence[Mapping[str, Any]]:
        ends_with = {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(asked.semantic)
        answers: list[Mapping[str, Any]] = []
        for request in asked.requests:
            answers.append(await self._answered(request, caller))
            if answers[-1]["decision"] is ends_with:
                break
        return answers

    async def _answered(self, asked: Request | PermanentError, caller: Caller) -> Mapping[str, Any]:
        """The answer to one of several questions; what is none, or none of its caller's, is denied."""
        if isinstance(asked, PermanentError):
            return _error(400, asked)
        try:
            return authzen(await self._decided(_about(asked, caller), caller))
        except ForbiddenError as error:
            return _error(403, error)

    async def _search_subject(self, http: web.Request) -> web.Response:
        return answered(self._search(http).subjects(await json_of(http)))

    async def _search_resource(self, http: web.Request) -> web.Response:
        return answered(self._search(http).resources(await json_of(http)))

    async def _search_action(self, http: web.Request) -> web.Response:
        return answered(self._search(http).actions(await json_of(http)))

    def _search(self, http: web.Request) -> Search:
        return Search(snapshot=self.snapshot(), moment=self._moment, own=self._asker(http).instance_id)

    async def _check(self, http: web.Request) -> web.Response:
        """The same, with the verdict as the status, for proxies that look at nothing else."""
        caller = self._asker(http)
        return await self._checked(parse_evaluation(await body_of(http)), caller)

    async def _check_forwarded(self, http: web.Request) -> web.Response:
        """The same for proxies that ask with a GET and pass no body on."""
        caller = self._asker(http)
        return await self._checked(parse_forwarded(http.headers, http.query, caller), caller)

    async def _checked(self, request: Request, caller: Caller) -> web.Response:
        logged = await self._decided(_about(request, caller), caller)
        headers = {"x-headgate-decision-id": logged.decision_id, **warning_headers(logged.decision)}
        return answered(authzen(logged), status=200 if logged.decision.allowed else 403, headers=headers)

    async def _claude_code(self, http: web.Request) -> web.Response:
        """Always 200: on any other status Claude Code runs the tool."""
        try:
            caller = only(self.doors.caller(http.headers.get("authorization")), "agent")
            subject = Subject(type="agent_instance", id=caller.instance_id or "")
            requests = parse_hook(await body_of(http), subject)
            decisions = [(await self._decided(request, caller)).decision for request in requests]
            if all(one.allowed for one in decisions):
                self.tool_called(requests[0])
            return answered(answer(decisions))
        except HeadgateError as error:
            note_refused(http, error)
            return answered(_hook_denied(str(error)))
        except web.HTTPException as error:
            return answered(_hook_denied(f"the call could not be read, so the tool may not run: {error.reason}"))
        except Exception:  # noqa: BLE001 - whatever it is, the tool may not run
            _LOG.exception("a hook could not be answered")
            return answered(_hook_denied("control could not decide, so the tool may not run"))

    async def _metadata(self, http: web.Request) -> web.Response:
        base = self.public_url or _listener(http)
        return answered(metadata(base.rstrip("/")), headers={"cache-control": METADATA_CACHING})

    def _asker(self, http: web.Request) -> Caller:
        return self.doors.caller(http.headers.get("authorization"))

    async def _decided(self, request: Request, caller: Caller) -> Logged:
        classes, moment = await self.content(request), self._moment(request, caller)
        if classes:
            moment = replace(moment, policy=replace(moment.policy, content_classes=classes))
        return await self.service(request, moment, heard=self.told)

    def _moment(self, request: Request, caller: Caller | None = None) -> Moment:
        """The moment of a request; the key that an agent shows is one of its identities."""
        session, key_id = request.context.get("session"), caller.key_id if caller is not None else None
        moment = Moment(
            at_unix_nano=self.clock(),
            session=session if isinstance(session, str) else None,
            identities=() if key_id is None else (key_id,),
            is_stale=self.is_stale(),
        )
        instance = self.snapshot().registered(request.subject)
        if instance is None:
            return moment
        moment = replace(moment, policy=self.facts(request, instance, moment))
        return with_books(request, instance, moment, self.look)


def _listener(http: web.Request) -> str:
    """Where this request has come in: what its caller calls the place counts for nothing."""
    host, port = http.get_extra_info("sockname", ("127.0.0.1", 0))[:2]
    return f"{http.scheme}://[{host}]:{port}" if ":" in host else f"{http.scheme}://{host}:{port}"


def _about(request: Request, caller: Caller) -> Request:
    """The request, if its caller may ask about its subject: an agent about itself alone.

    Raises:
        ForbiddenError: it is about somebody else.
    """
    if caller.role == "agent" and request.subject.id != caller.instance_id:
        raise NotYoursError("an agent may ask about itself alone", caller)
    return request


def _error(status: int, error: Exception) -> Mapping[str, Any]:
    """What one of several questions is answered that cannot be decided."""
    return {"decision": False, "context": {"error": {"status": status, "message": str(error)}}}


def _hook_denied(reason: str) -> dict[str, Any]:
    denied = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason}
    return {"hookSpecificOutput": denied}


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")
