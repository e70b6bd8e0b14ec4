"""Packs recordings of the tests into the sessions from which `headgate generate` makes a load.

    python tests/bench/pack.py

Each session is made anew a few times, sent through the span path and derived. It is packed only when every
figure and every kind of call comes out as it was recorded, whatever stands in its slots.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from headgate_analytics import Deriver, open_views
from headgate_processors.dialects import Normaliser
from headgate_processors.enrich.identity import FileRegistry
from headgate_processors.enrich.price import PriceBook
from headgate_processors.generate.load import Load, build_plan
from headgate_processors.generate.plan import PlanConfig
from headgate_processors.generate.recorded import TAIL, RecordedRequest, RecordedSession, write_sessions
from headgate_processors.generate.slots import is_free_word
from headgate_processors.generate.template import compiled
from headgate_processors.otlp.port import Signal
from headgate_processors.pipeline import build_pipeline
from headgate_processors.receiver.port import CLIENT
from headgate_processors.replay.convert import LEVELS, REQUESTS, json_tree, records_of, to_protobuf
from headgate_processors.replay.requests import ReplayRequest
from headgate_processors.replay.suffix import read_suffixed
from headgate_processors.store import Store, StoreConfig
from headgate_processors.workers import build_normaliser

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDINGS = ROOT / "tests" / "recordings"
PACKED = ROOT / "processors" / "headgate_processors" / "generate" / "sessions.tar.xz"
RULES = ROOT / "processors" / "headgate_processors"
RECORDS_MAX = 50
COPIES = 3
# The CLI that sends hundreds of spans of its own runtime is as frequent as the others by spans, not by sessions.
LOUD = 100
CLAIMS = {"headgate.team": "team-~~", "headgate.workflow": "workflow-~~"}
CLAIMS |= {"headgate.user.id": "user-~~~~", "headgate.repo": "acme/repo-~~"}
UNCLAIMED_ONE_IN = 6
FIGURES = {
    "sessions": "SELECT count(*) FROM sessions",
    "model_calls": "SELECT count(*) FROM model_calls WHERE operation <> 'embeddings' AND error_type IS NULL",
    "tool_calls": "SELECT count(*) FROM tool_calls",
    "input_tokens": "SELECT sum(input_tokens) FROM model_calls WHERE operation <> 'embeddings'",
    "output_tokens": "SELECT sum(output_tokens) FROM model_calls WHERE operation <> 'embeddings'",
    "cache_read_tokens": "SELECT sum(cache_read_tokens) FROM model_calls WHERE operation <> 'embeddings'",
}
KINDS = (
    "SELECT 'model', operation, status, error_type, model, dialect, count(*)::BIGINT FROM model_calls GROUP BY ALL",
    "SELECT 'tool', tool, state, result_class, action, side_effects, count(*)::BIGINT FROM tool_calls GROUP BY ALL",
    "SELECT 'step', kind, status, actor, NULL, NULL, count(*)::BIGINT FROM timeline GROUP BY ALL",
    "SELECT 'repeat', NULL, NULL, NULL, NULL, NULL, count(DISTINCT session_id || arguments_hash) FROM tool_calls",
)
TOKEN = re.compile(r"\\[a-z]|[0-9A-Za-z]+")
# What the scripted agents work on: their files are named after it, and nothing else is.
NOUNS = {"calc", "missing"}


def main() -> None:
    """Pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="set-ups whose name begins so")
    wanted = parser.parse_args().only
    with TemporaryDirectory(prefix="headgate-pack-") as keys:
        normaliser = build_normaliser(Path(keys), registry=FileRegistry.empty())
        sessions = list(_checked(_with_words(list(_recorded(wanted))), normaliser))
    with PACKED.open("wb") as file:
        write_sessions(file, sessions)
    spans = sum(compiled(session).spans for session in sessions)
    print(f"{len(sessions)} sessions, {spans} spans, {PACKED.stat().st_size:,} bytes")


def _recorded(wanted: str) -> Iterator[RecordedSession]:
    for path in sorted(RECORDINGS.glob("**/expected.json")):
        agent = path.parent.relative_to(RECORDINGS).as_posix().removeprefix("extra/")
        if agent == "captures" or not agent.startswith(wanted):
            continue
        expected = json.loads(path.read_text(encoding="utf-8"))
        scenarios = {name: figures for name, figures in expected.items() if _is_wanted(agent, name, figures)}
        for scenario, figures in scenarios.items():
            requests, start = _requests(path.parent / f"{scenario}.jsonl.gz", f"{agent}/{scenario}")
            spans = sum(_count(request) for request in requests if request.signal is Signal.TRACES)
            yield RecordedSession(
                name=f"{agent}/{scenario}",
                weight=round(min(1.0, LOUD / (spans + 1)) / len(scenarios) ** 0.5, 3),
                start_unix_nano=start,
                figures={name: figures.get(name, [None])[0] for name in FIGURES},
                words=(),
                requests=requests,
            )


def _is_wanted(agent: str, scenario: str, figures: Mapping[str, list[int | None]]) -> bool:
    """Figures that may be this or that are no truth; of the loud ones three are enough."""
    certain = all(len(figures.get(name, [None])) == 1 for name in FIGURES)
    return certain and (agent != "codex" or scenario in {"multi_step+killed", "denied", "provider_errors"})


def _requests(path: Path, name: str) -> tuple[list[RecordedRequest], int]:
    items = [item for item in read_suffixed([path], TAIL) if isinstance(item, ReplayRequest)]
    items = [item for item in items if item.signal is not Signal.METRICS]
    bodies = [(item.signal, to_protobuf(item.body, signal=item.signal, encoding=item.encoding)) for item in items]
    parts = [(signal, part) for signal, body in bodies for part in _parts(body, signal, name)]
    times = [_times(signal, body) for signal, body in parts]
    start = min((time for ends in times for time in ends), default=0)
    requests: list[RecordedRequest] = []
    for (signal, body), ends in zip(parts, times, strict=True):
        due_ns = max(ends, default=start) - start
        requests.append(
            RecordedRequest(signal=signal, body=body, due_ns=max(due_ns, requests[-1].due_ns if requests else 0))
        )
    return requests, start


def _parts(body: bytes, signal: Signal, name: str) -> Iterator[bytes]:
    """The request with claims, in parts of a size that an SDK sends."""
    whole = REQUESTS[signal].FromString(body)
    of_request, of_resource, of_scope = LEVELS[signal]
    part, filled = REQUESTS[signal](), 0
    for resource in getattr(whole, of_request):
        _claim(resource, name)
        for scope in getattr(resource, of_resource):
            records = list(getattr(scope, of_scope))
            while records:
                taken, records = records[: RECORDS_MAX - filled], records[RECORDS_MAX - filled :]
                into = getattr(part, of_request).add()
                into.CopyFrom(resource)
                del getattr(into, of_resource)[:]
                inner = getattr(into, of_resource).add()
                inner.CopyFrom(scope)
                del getattr(inner, of_scope)[:]
                getattr(inner, of_scope).extend(taken)
                filled += len(taken)
                if filled >= RECORDS_MAX:
                    yield part.SerializeToString(deterministic=True)
                    part, filled = REQUESTS[signal](), 0
    if filled:
        yield part.SerializeToString(deterministic=True)


def _claim(resource: Any, name: str) -> None:
    if sum(name.encode()) % UNCLAIMED_ONE_IN:
        for key, value in CLAIMS.items():
            attribute = resource.resource.attributes.add()
            attribute.key, attribute.value.string_value = key, value


def _times(signal: Signal, body: bytes) -> list[int]:
    records = records_of(REQUESTS[signal].FromString(body), signal, at_most=RECORDS_MAX)
    fields = ("start_time_unix_nano", "end_time_unix_nano") if signal is Signal.TRACES else ("time_unix_nano",)
    return [time for record in records for field in fields if (time := getattr(record, field))]


def _count(request: RecordedRequest) -> int:
    return len(records_of(REQUESTS[request.signal].FromString(request.body), request.signal, at_most=1 << 20))


def _with_words(sessions: Sequence[RecordedSession]) -> Iterator[RecordedSession]:
    """The sessions with the words of their content that nothing depends on."""
    kept = set(_words_of_rules())
    prose: list[set[str]] = []
    for session in sessions:
        mine: set[str] = set()
        for request in session.requests:
            _split(json_tree(request.body, signal=request.signal, encoding="protobuf"), mine, kept)
        prose.append(mine)
    for session, mine in zip(sessions, prose, strict=True):
        words = sorted(word for word in (mine - kept) | NOUNS if is_free_word(word))
        yield _changed(session, words=words)


def _words_of_rules() -> Iterator[str]:
    for path in [*RULES.rglob("*.yaml"), *(RULES / "dialects").glob("*.py"), *(RULES / "enrich").glob("*.py")]:
        yield from TOKEN.findall(path.read_text(encoding="utf-8"))


def _split(node: Any, prose: set[str], kept: set[str]) -> None:
    """Sort the words of a tree: those of sentences may change; keys, names and words that stand alone may not."""
    if isinstance(node, dict):
        for key, value in node.items():
            kept.update(TOKEN.findall(str(key)))
            _split(value, prose, kept)
    elif isinstance(node, list):
        for item in node:
            _split(item, prose, kept)
    elif isinstance(node, str):
        inner = _parsed(node)
        if inner is not None:
            _split(inner, prose, kept)
        elif " " in node.strip():
            prose.update(TOKEN.findall(node))
        else:
            kept.update(TOKEN.findall(node))


def _parsed(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def _changed(session: RecordedSession, *, words: Iterable[str]) -> RecordedSession:
    return RecordedSession(
        name=session.name,
        weight=session.weight,
        start_unix_nano=session.start_unix_nano,
        figures=session.figures,
        words=tuple(words),
        requests=session.requests,
    )


def _checked(sessions: Iterable[RecordedSession], normaliser: Normaliser) -> Iterator[RecordedSession]:
    for session in sessions:
        if not session.requests:
            continue
        wrong = _difference(session, normaliser)
        if wrong and session.words:
            print(f"{session.name}: with other words: {wrong}", flush=True)
            plain = _changed(session, words=())
            wrong = _difference(plain, normaliser)
        else:
            plain = session
        if wrong:
            print(f"{session.name} is left out: {wrong}", flush=True)
        else:
            yield plain


def _difference(session: RecordedSession, normaliser: Normaliser) -> str:
    """What comes out otherwise when the session is made anew; empty when nothing does."""
    plan = build_plan(PlanConfig(sessions=COPIES), [compiled(session)])
    made = Load(plan, lambda start_ns: session.start_unix_nano + start_ns)
    figures, kinds = _outcome([(item.signal, item.body) for item in made], normaliser)
    _, recorded = _outcome([(item.signal, item.body) for item in session.requests], normaliser)
    expected = {name: None if one is None else one * COPIES for name, one in session.figures.items()}
    if figures != expected:
        return f"figures {figures}, expected {expected}"
    times = Counter({kind: count * COPIES for kind, count in recorded.items()})
    return "" if kinds == times else f"kinds {(kinds - times, times - kinds)}"


def _outcome(
    requests: Iterable[tuple[Signal, bytes]], normaliser: Normaliser
) -> tuple[dict[str, int | None], Counter[tuple[Any, ...]]]:
    with TemporaryDirectory(prefix="headgate-pack-") as place:
        folder = Path(place) / "store"
        with Store.open(folder, writer="pack", config=StoreConfig(seal_interval_s=60)) as store:
            pipeline = build_pipeline(normaliser, store, lambda *_: None)
            for signal, body in requests:
                pipeline(body, signal=signal, encoding="protobuf", sender=CLIENT)
        Deriver(folder, registry=normaliser.registry, prices=PriceBook.load()).run()
        with open_views(folder) as views:
            columns = ", ".join(f"({query})::BIGINT AS {name}" for name, query in FIGURES.items())
            row = views.execute(f"SELECT {columns}").fetchone()
            assert row is not None
            kinds = Counter({one[:-1]: one[-1] for query in KINDS for one in views.execute(query).fetchall()})
    return dict(zip(FIGURES, row, strict=True)), kinds


if __name__ == "__main__":
    main()
