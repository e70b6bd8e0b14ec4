"""Drills: a real call through the gateway is stopped, again and again, and everything that should happen is timed."""

import asyncio
import time
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from headgate_console.control.drill_upstream import RETRYING, STALLED, DrillUpstream
from headgate_control.identity.launch import Launch, launch, revoke
from headgate_control.manifests.load import parse_manifest
from headgate_control.room import Room
from headgate_control.server.answers import answered, object_of, whole_of
from headgate_control.server.doors import only
from headgate_control.server.wire import WireError
from headgate_control.stops.enact import enact, lift
from headgate_gateways.model.upstream import Upstream
from headgate_processors.errors import TransientError
from headgate_processors.receiver.tls import pinned

DOOR = "drill"
AGAIN = "drill-again"
"""The door at which a call is tried once more."""
AUTHOR = "drill"
PHASES = ("streaming", STALLED, RETRYING)
RUNS_MAX = 200
WAIT_S = 5.0
LIFETIME_NS = 3_600_000_000_000
_NS_PER_MS = 1_000_000
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: drill, workflow: drill}
spec: {models: [{provider: drill, model: "*"}, {provider: drill-again, model: "*"}]}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillRoutes:
    """`/v1/drill`. `upstreams` and `fallbacks` are the gateway's own; `gateway` is where it listens, once it does.

    `tries_again`: whether it tries a call more than once. `certificate` is the one that it shows, where it speaks TLS.
    """

    room: Room
    upstreams: MutableMapping[str, Upstream]
    fallbacks: MutableMapping[str, Sequence[str]]
    tries_again: bool
    gateway: MutableMapping[str, str]
    certificate: Path | None = None
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """The routes."""
        return [web.post("/v1/drill", self._drill)]

    async def _drill(self, http: web.Request) -> web.Response:
        only(self.room.doors.caller(http.headers.get("authorization")), "operator")
        runs = whole_of(await object_of(http), "runs")
        if runs is None or not 1 <= runs <= RUNS_MAX:
            raise WireError(f"runs: expected 1 to {RUNS_MAX}")
        async with self._one:
            return answered({"runs": await self._run(runs)})

    async def _run(self, runs: int) -> list[dict[str, Any]]:
        """Each run of each phase; what was made for the drill is taken away at its end."""
        upstream = DrillUpstream()
        async with upstream.listening() as url, self._client() as client:
            for door in (DOOR, AGAIN):
                self.upstreams[door] = Upstream(name=door, kind="openai", base_url=url, api_key=lambda: "drill")
            self.fallbacks[DOOR] = (AGAIN,)
            phases = [phase for phase in PHASES if phase != RETRYING or self.tries_again]
            grant = parse_manifest(MANIFEST, {}, source="drill")
            asked = Launch(grant=grant, launched_by=AUTHOR, lifetime_ns=LIFETIME_NS)
            made = await asyncio.to_thread(launch, self.room.store, self.room.now.snapshot, asked)
            await self.room.refresh()
            drill = _Drill(
                room=self.room,
                upstream=upstream,
                client=client,
                instance_id=made.instance.instance_id,
                url=f"{self._scheme}://{self.gateway['model']}/{DOOR}/v1/chat/completions",
                key=made.gateway_key,
            )
            try:
                return [await drill.run(phase, number + 1) for phase in phases for number in range(runs)]
            finally:
                del self.fallbacks[DOOR], self.upstreams[DOOR], self.upstreams[AGAIN]
                keys = list(self.room.now.keys.values())
                told = {"author": AUTHOR, "reason": "the drill is over"}
                await asyncio.to_thread(revoke, self.room.store, drill.instance_id, keys, **told)
                await self.room.refresh()

    @property
    def _scheme(self) -> str:
        return "http" if self.certificate is None else "https"

    def _client(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=True if self.certificate is None else pinned(self.certificate))
        return aiohttp.ClientSession(trust_env=False, connector=connector)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drill:
    room: Room
    upstream: DrillUpstream
    client: aiohttp.ClientSession
    instance_id: str
    url: str
    key: str

    async def run(self, phase: str, number: int) -> dict[str, Any]:
        """One call, stopped in the middle. Times are from giving the stop, in milliseconds; None did not happen."""
        self.upstream.again()
        call = asyncio.create_task(self._call(phase))
        key = ("instance", self.instance_id)
        try:
            await self._begun(call)
            began_ns = time.monotonic_ns()
            _, effects = await enact(self.room, key, mode="stop", author=AUTHOR, reason="a drill")  # type: ignore[arg-type]
            client_ns = await _within(call)
            await _within(asyncio.create_task(self.upstream.closed.wait()))
            denied = await self._denied()
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await lift(self.room, key, author=AUTHOR, reason="a drill")  # type: ignore[arg-type]
        slowest_ns = max((one.effect_ns for one in effects.effects), default=None)
        return {
            "phase": phase,
            "run": number,
            "effect_ms": None if slowest_ns is None or effects.silent else _ms(slowest_ns),
            "client_ended_ms": None if client_ns is None else _ms(client_ns - began_ns),
            "upstream_closed_ms": None if not self.upstream.closed_ns else _ms(self.upstream.closed_ns - began_ns),
            "cut": sum(one.cut for one in effects.effects),
            "next_call_denied": denied,
            "silent": list(effects.silent),
        }

    async def _begun(self, call: "asyncio.Task[int]") -> None:
        """Wait until the provider has the call.

        Raises:
            TransientError: it never got there, for instance because a policy denies it.
        """
        asked = asyncio.create_task(self.upstream.asked.wait())
        await asyncio.wait({asked, call}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            raise TransientError("the drill's call did not reach its provider: see headgate decisions --effect deny")

    async def _call(self, phase: str) -> int:
        """Call, and read to the end; when that was (monotonic)."""
        try:
            async with self.client.post(self.url, headers=self._headers(), json=_body(phase)) as response:
                async for _ in response.content.iter_any():
                    continue
        except aiohttp.ClientError:
            pass
        return time.monotonic_ns()

    async def _denied(self) -> bool:
        async with self.client.post(self.url, headers=self._headers(), json=_body("streaming")) as response:
            return response.status == web.HTTPForbidden.status_code

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


def _body(phase: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": "a drill"}]
    return {"model": phase, "stream": True, "max_tokens": 16, "messages": messages}


async def _within(task: "asyncio.Task[Any]") -> Any:
    """What a task gives within `WAIT_S`; None when it does not."""
    done, _ = await asyncio.wait({task}, timeout=WAIT_S)
    if not done:
        task.cancel()
        return None
    return task.result()


def _ms(duration_ns: int) -> float:
    return round(duration_ns / _NS_PER_MS, 3)
