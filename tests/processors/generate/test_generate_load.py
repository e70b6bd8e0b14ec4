from collections import Counter
from collections.abc import Sequence

import pytest
import zstandard

from headgate_processors.errors import ConfigError
from headgate_processors.generate import Load, PlanConfig, Template, compiled, read_sessions
from headgate_processors.generate.load import REQUEST_BYTES_MAX, build_plan
from headgate_processors.otlp.port import Signal
from headgate_processors.replay.convert import REQUESTS, records_of
from headgate_processors.replay.messages import signal_of
from headgate_processors.replay.requests import ReplayRequest

START = 1_800_000_000_000_000_000
AGENTS = ("claude-code", "pydantic-ai", "langgraph-openinference", "openai-agents-genai")


@pytest.fixture(scope="module")
def templates() -> list[Template]:
    """The packaged sessions of a few agents, two of which send logs too."""
    return [compiled(session) for session in read_sessions() if session.agent in AGENTS]


def load_of(templates: Sequence[Template], config: PlanConfig, request_records: int | None = None) -> Load:
    """A load whose times follow from its plan alone."""
    return Load(build_plan(config, templates), lambda start_ns: START + start_ns, request_records)


def spans_of(requests: Sequence[ReplayRequest]) -> Counter[tuple[str, str]]:
    """How often each span, by trace and id, was sent."""
    found: Counter[tuple[str, str]] = Counter()
    for request in requests:
        if request.signal is Signal.TRACES:
            parsed = REQUESTS[request.signal].FromString(request.body)
            spans = records_of(parsed, request.signal, at_most=1 << 30)
            found.update((span.trace_id.hex(), span.span_id.hex()) for span in spans)
    return found


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(templates: list[Template]) -> None:
    """Two loads of one seed are equal to the byte; with another seed no request is."""
    config = PlanConfig(seed=7, sessions=30, late=0.1, doubled=0.1, missing=0.1)
    first, second = (list(load_of(templates, config)) for _ in range(2))
    other = list(load_of(templates, PlanConfig(seed=8, sessions=30, late=0.1, doubled=0.1, missing=0.1)))
    assert first == second
    assert not {request.body for request in first} & {request.body for request in other}


def test_every_request_is_otlp_of_its_signal_as_an_sdk_sends_it(templates: list[Template]) -> None:
    """Each parses, is told by its content, and holds fifty records at most."""
    for request in load_of(templates, PlanConfig(sessions=20)):
        parsed = REQUESTS[request.signal].FromString(request.body)
        assert request.signal is signal_of(request.body, hint=None)
        assert 1 <= len(records_of(parsed, request.signal, at_most=1000)) <= 50


def test_the_truth_counts_what_is_sent(templates: list[Template]) -> None:
    """Spans per session are those in the requests, whatever is late, doubled or missing."""
    load = load_of(templates, PlanConfig(sessions=60, late=0.1, doubled=0.1, missing=0.1))
    sent = spans_of(list(load))
    by_trace = Counter(trace_id for trace_id, _ in sent)
    truths = list(load.truths())
    assert 60 == len(truths) == load.made.sessions
    assert sum(truth.spans for truth in truths) == len(sent)
    assert [truth.spans for truth in truths] == [sum(by_trace[one] for one in truth.trace_ids) for truth in truths]
    assert {1, 2} == set(sent.values())
    assert any(truth.is_complete for truth in truths)
    assert not all(truth.is_complete for truth in truths)


def test_a_load_without_faults_has_every_span_once(templates: list[Template]) -> None:
    """Without faults nothing is doubled, and every session is complete."""
    load = load_of(templates, PlanConfig(spans=500))
    assert {1} == set(spans_of(list(load)).values())
    assert all(truth.is_complete for truth in load.truths())
    assert 500 <= load.made.spans == sum(truth.spans for truth in load.truths())


def test_a_load_as_a_collector_sends_it_holds_the_same_spans(templates: list[Template]) -> None:
    """Requests put together hold what single ones do, in requests of the size that was asked for."""
    config = PlanConfig(spans=2000)
    alone = list(load_of(templates, config))
    together = list(load_of(templates, config, 512))
    assert spans_of(alone) == spans_of(together)
    assert len(together) < len(alone) / 10
    assert all(len(request.body) <= REQUEST_BYTES_MAX for request in together)


def test_sessions_differ_in_their_content_and_keep_their_size(templates: list[Template]) -> None:
    """A second session of one shape has as many bytes, but its own ids, words and claims."""
    one = [template for template in templates if template.session.name == "pydantic-ai/loop"]
    plan = build_plan(PlanConfig(sessions=2), one)
    made = [[chunk.rendered(each.pool(1), START) for chunk in each.template.chunks] for each in plan]
    first, second = (b"".join(bodies) for bodies in made)
    assert len(first) == len(second)
    assert sum(a != b for a, b in zip(first, second, strict=True)) > len(first) / 25


def test_times_follow_the_clock_and_the_skew_of_a_sender(templates: list[Template]) -> None:
    """Every time lies in the duration of its session; with skew, some lie before the start of the load."""
    longest = max(template.duration_ns for template in templates)
    for skew_ns in (0, 3_600_000_000_000):
        requests = list(load_of(templates, PlanConfig(sessions=40, clock_skew_ns=skew_ns)))
        starts = [
            span.start_time_unix_nano
            for request in requests
            if request.signal is Signal.TRACES
            for span in records_of(REQUESTS[request.signal].FromString(request.body), request.signal, at_most=1000)
        ]
        assert START - skew_ns <= min(starts)
        assert max(starts) <= START + 60_000_000_000 + longest + skew_ns
        assert (min(starts) < START) == bool(skew_ns)


def test_the_mix_decides_what_is_taken(templates: list[Template]) -> None:
    """An agent with weight 0 is left out, and a scenario can be taken more often than all others."""
    load = load_of(templates, PlanConfig(sessions=200, mix={"claude-code": 0, "loop": 50}))
    names = Counter(truth.name.partition("/")[0] for truth in load.truths())
    loops = sum(truth.name.endswith("/loop") for truth in load.truths())
    assert "claude-code" not in names
    assert loops > 100


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (PlanConfig(sessions=1, mix={"clade-code": 2}), "clade-code"),
        (PlanConfig(spans=1, mix=dict.fromkeys(AGENTS, 0.0)), "no session that has spans"),
        (PlanConfig(), "nothing says how much"),
    ],
)
def test_a_plan_that_cannot_be_says_why(templates: list[Template], config: PlanConfig, told: str) -> None:
    """A wrong name, nothing left, and no end are errors of the configuration."""
    with pytest.raises(ConfigError, match=told):
        build_plan(config, templates)


def test_content_does_not_repeat_so_that_it_would_flatter_compression(templates: list[Template]) -> None:
    """A hundred sessions of one shape compress worse than a hundred times the same one."""
    one = [template for template in templates if template.session.name == "langgraph-openinference/multi_step"]
    made = b"".join(request.body for request in load_of(one, PlanConfig(sessions=100)))
    compress = zstandard.ZstdCompressor(level=1).compress
    same = b"".join(bytes(chunk.body) for chunk in one[0].chunks) * 100
    assert len(compress(made)) > 3 * len(compress(same))
