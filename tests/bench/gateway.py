"""What the model gateway adds to a call, beside the least proxy and the provider alone, all in the same run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from callers import Caller, rate, request
from endpoints import CHUNKS, endpoint
from figures import Figure, Section
from governed import MODEL, Governed, governed_up
from processes import Watch, used
from times import at, spread

from headgate_processors.testing.processes import descendants

ALONE, PROXY, GATEWAY = "upstream alone", "bare aiohttp proxy", "model gateway"
ROUNDS = 20
CALLS_A_ROUND = 50
STREAMS_A_ROUND = 5
COMPARED_MAX = 5_000
CALLERS = (16, 64)
CALLS_A_SESSION = 30
SESSION = b"x-session-id: bench"
BODY = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "b" * 900}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to the provider, and the process that it goes through."""

    address: str
    pid: int | None
    call: bytes
    stream: bytes

    def asked(self, caller: int, left: int, *, run: str = "") -> bytes:
        """The call in a session of the caller's own, and in another one after some time, as agents do."""
        return self.call.replace(SESSION, f"x-session-id: bench{run}-{caller}-{left // CALLS_A_SESSION}".encode())


def measure_gateway(requests: int, folder: Path) -> Iterator[Section]:
    """Times, then rates, CPU and memory; `requests` is how many go through the gateway at the rates."""
    with _ways(folder) as (site, ways):
        for way in ways.values():
            rate(way.address, way.asked, callers=8, requests=200)
        yield _times(ways)
        yield _rates(site, ways, requests)


@contextmanager
def _ways(folder: Path) -> Iterator[tuple[Governed, dict[str, Way]]]:
    with (
        endpoint("provider") as provider,
        endpoint("proxy", f"http://{provider}") as proxy,
        governed_up(folder / "gateway", provider=provider) as site,
    ):
        proxy_pid = descendants(_own_pid(), command="endpoints.py proxy")[0]
        yield (
            site,
            {
                ALONE: _way(provider, "/v1/chat/completions", "none", None),
                PROXY: _way(proxy, "/v1/chat/completions", "none", proxy_pid),
                GATEWAY: _way(site.gateway, "/openai/v1/chat/completions", site.key, site.pid),
            },
        )


def _own_pid() -> int:
    return int(Path("/proc/self").resolve().name)


def _way(address: str, path: str, key: str, pid: int | None) -> Way:
    name, _, value = SESSION.decode().partition(": ")
    session = {name: value}
    return Way(
        address=address,
        pid=pid,
        call=request(address, path, key, BODY, **session),
        stream=request(address, path, key, {**BODY, "stream": True}, **session),
    )


def _times(ways: dict[str, Way]) -> Section:
    """One call at a time, the ways in turn, so that what else the machine does falls on all."""
    whole: dict[str, list[int]] = {name: [] for name in ways}
    streams: dict[str, list[int]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            with Caller(way.address) as caller:
                caller.call(way.call)
                whole[name] += [caller.call(way.call)[0] for _ in range(CALLS_A_ROUND)]
                streams[name] += [caller.call(way.stream)[0] for _ in range(STREAMS_A_ROUND)]
    figures = [one for name in ways for one in spread(name, whole[name], "ms", baseline=whole[ALONE])]
    for name in (PROXY, GATEWAY):
        figures += [_added(f"added by {name}", whole[name], whole[ALONE], share) for share in (0.5, 0.99)]
    what = f"stream of {CHUNKS} chunks"
    for name in ways:
        figures += spread(f"{what}, {name}", streams[name], "ms", baseline=streams[ALONE])
    figures.append(_added(f"{what}, added by {GATEWAY}", streams[GATEWAY], streams[ALONE], 0.5))
    return Section(
        title="A call through the model gateway",
        text=(
            "The gateway as `headgate up` runs it: a call is known by its key, decided, reserved, metered, logged and "
            "told. One client on one connection, one call after the other, a body and an answer of 1 KB. The "
            "provider answers at once; the baseline is the provider without anything between."
        ),
        figures=figures,
    )


def _added(what: str, times_ns: list[int], bare_ns: list[int], share: float) -> Figure:
    added_ns = at(times_ns, share) - at(bare_ns, share)
    return Figure(what=f"{what}, p{share * 100:g}", value=added_ns / 1e6, unit="ms")


def _rates(site: Governed, ways: dict[str, Way], requests: int) -> Section:
    figures: list[Figure] = []
    cpu: dict[str, float] = {}
    resident = [_resident(site)]
    with Watch([site.main_pid]) as watch:
        for callers in CALLERS:
            rates = {}
            for name, way in ways.items():
                count = requests // len(CALLERS) if name == GATEWAY else min(requests, COMPARED_MAX)
                before_s = _cpu_s(way)
                asked = partial(way.asked, run=str(callers))
                rates[name] = rate(way.address, asked, callers=callers, requests=count)
                cpu.setdefault(name, (_cpu_s(way) - before_s) / count)
            resident.append(_resident(site))
            figures += [
                Figure(what=f"{name}, {callers} callers", value=one, unit="requests/s", baseline=rates[PROXY])
                for name, one in rates.items()
            ]
    figures += [
        Figure(what=f"CPU of a request, {name}", value=cpu[name] * 1e3, unit="ms", baseline=cpu[PROXY] * 1e3)
        for name in (PROXY, GATEWAY)
    ]
    figures += [
        Figure(what=f"  {part}", value=cpu_s / requests * 1e3, unit="ms", note="of each request")
        for part, cpu_s in sorted(watch.cpu_s.items(), key=lambda one: -one[1])
        if cpu_s / requests > 1e-6
    ]
    figures += [
        Figure(what=f"memory of control and gateway, {when}", value=one, unit="MiB")
        for when, one in zip(("before", "half way", f"after {requests:,} requests"), resident, strict=True)
    ]
    return Section(
        title="Many callers of the model gateway",
        text=(
            "As fast as they are answered; callers, provider, proxy and all of `headgate up` share the machine. "
            f"{requests:,} requests through the gateway, {CALLS_A_SESSION} in a session. CPU is that of the process "
            f"between, at {CALLERS[0]} callers; below it that of the parts of `headgate up`: receiver, workers and "
            "deriver take in what the gateway tells. The baseline is the bare proxy."
        ),
        figures=figures,
    )


def _cpu_s(way: Way) -> float:
    found = used(way.pid) if way.pid is not None else None
    return found.cpu_s if found is not None else 0.0


def _resident(site: Governed) -> float:
    found = used(site.pid)
    assert found is not None
    return found.rss_bytes / 2**20
