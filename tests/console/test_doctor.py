"""What the doctor finds, in a store that has everything wrong with it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from headgate_analytics import Deriver, open_views
from headgate_console.doctor.examine import examine
from headgate_console.doctor.finding import Finding, Level
from headgate_console.doctor.folder import DEAD_LETTERS, examine_disk, examine_folder
from headgate_console.render.findings import finding_lines
from headgate_processors.enrich.identity import FileRegistry
from headgate_processors.enrich.price import PriceBook
from headgate_processors.errors import StoreError
from headgate_processors.otlp.port import Signal
from headgate_processors.pipeline import build_pipeline
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.dead_letters import DeadLetters
from headgate_processors.receiver.port import CLIENT
from headgate_processors.store import Store
from headgate_processors.store.watermark import Reserve
from headgate_processors.testing.disks import FaultyDisk
from headgate_processors.testing.otlp import to_json, traces_request
from headgate_processors.workers import build_normaliser

NOW = datetime.now(UTC)
GENAI = "opentelemetry.instrumentation.genai.openai"
SPANS: list[tuple[str, str, dict[str, object]]] = [
    ("quill", "quill.tracing", {"name": "quill.ask", "attributes": {"quill.model": "q1", "quill.words": 7}}),
    (
        "fixer",
        GENAI,
        {
            "name": "chat home-made",
            "attributes": {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "home-made",
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 100,
            },
        },
    ),
    (
        "silent",
        GENAI,
        {
            "name": "chat gpt-5-mini",
            "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini"},
        },
    ),
    ("late", "quill.tracing", {"name": "quill.ask", "start_time_unix_nano": 10**9, "end_time_unix_nano": 2 * 10**9}),
]


def _times(number: int) -> dict[str, object]:
    start = int(NOW.timestamp() * 1e9) + number
    return {"trace_id": f"{number + 1:032x}", "start_time_unix_nano": start, "end_time_unix_nano": start + 10**9}


def _fill(folder: Path) -> None:
    normaliser = build_normaliser(folder, registry=FileRegistry.empty())
    with Store.open(folder) as store:
        pipeline = build_pipeline(normaliser, store, lambda *_: None)
        for number, (service, scope, span) in enumerate(SPANS):
            request = traces_request([{**_times(number), **span}], resource={"service.name": service}, scope=scope)
            pipeline(to_json(request), signal=Signal.TRACES, encoding="json", sender=CLIENT)
    Deriver(folder, registry=normaliser.registry, prices=PriceBook.load()).run()
    letters = DeadLetters(folder / DEAD_LETTERS, counters=Counters())
    for _ in range(2):
        letters.keep(b"x", signal=Signal.TRACES, encoding="protobuf", reason="zero_id", detail="ids of zeros")


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    """What is found in that store, by topic."""
    folder = tmp_path_factory.mktemp("sick") / "store"
    _fill(folder)
    with open_views(folder) as views:
        found = [*examine_folder(folder, now=NOW), *examine(views, now=NOW)]
    return {finding.topic: finding for finding in found}


def test_an_agent_that_nobody_knows_is_described(findings: dict[str, Finding]) -> None:
    """Its service, scope, names and attribute keys, and the guide to a dialect."""
    finding = findings["unknown agents"]
    assert Level.WARNING is finding.level
    assert (
        "quill, scope quill.tracing: 1 record named quill.ask; attributes quill.model, quill.words" in finding.details
    )
    assert "docs/guides/add-a-dialect.md" in finding.next_step


def test_calls_with_tokens_but_without_price_are_named(findings: dict[str, Finding]) -> None:
    """The model, how many tokens, and why."""
    finding = findings["prices"]
    assert Level.WARNING is finding.level
    assert "home-made" in finding.details[0]
    assert "1.30k tokens" in finding.details[0]


def test_sessions_without_usage_are_counted(findings: dict[str, Finding]) -> None:
    """They are unknown, and a note rather than a fault of the store."""
    finding = findings["usage"]
    assert (Level.NOTE, "silent") == (finding.level, finding.rows[0]["service_name"])


def test_clocks_that_cannot_be_right_are_found(findings: dict[str, Finding]) -> None:
    """The service whose records have such times."""
    assert ({"service_name": "late", "records": 1},) == findings["clocks"].rows


def test_dead_letters_are_counted_by_reason(findings: dict[str, Finding]) -> None:
    """How often each signal was refused for which reason."""
    assert ({"signal": "traces", "reason": "zero_id", "refusals": 2},) == findings["dead letters"].rows


def test_identity_coverage_is_told(findings: dict[str, Finding]) -> None:
    """How many sessions are known by which means."""
    assert "unknown" == findings["identity"].rows[0]["identity_source"]


def test_every_finding_that_is_not_well_has_a_next_step(findings: dict[str, Finding]) -> None:
    """Nobody is left with a complaint and no way on."""
    assert [] == [f.topic for f in findings.values() if f.level is not Level.OK and not f.next_step]


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    """The first finding of a new store is a warning with the two ways to get data in."""
    Store.open(tmp_path / "store").close()
    with open_views(tmp_path / "store") as views:
        (finding,) = examine(views, now=NOW)
    assert Level.WARNING is finding.level
    assert "headgate replay" in finding.next_step


def test_a_quiet_store_is_noted(findings: dict[str, Finding], tmp_path: Path) -> None:
    """When the last record is days old somebody should look whether agents still send here."""
    _fill(tmp_path / "store")
    with open_views(tmp_path / "store") as views:
        found = {finding.topic: finding for finding in examine(views, now=NOW + timedelta(days=3))}
    assert Level.NOTE is found["received"].level
    assert Level.OK is findings["received"].level


def test_a_folder_without_a_store_is_an_error(tmp_path: Path) -> None:
    """There is nothing to examine."""
    with pytest.raises(StoreError, match="holds no store"):
        examine_folder(tmp_path, now=NOW)


def test_a_disk_that_is_too_full_is_told(tmp_path: Path) -> None:
    """Requests are refused at this moment: how much is free, what is kept, and that room is all it needs."""
    Store.open(tmp_path / "store").close()
    disk = FaultyDisk()
    disk.free_bytes = 1 << 20
    kept = Reserve(bytes=2 << 20, share=None)
    (finding,) = examine_disk(tmp_path / "store", kept, disk=disk)
    assert Level.WARNING is finding.level
    assert "nearly full: 1.0 MiB free" in finding.text
    disk.free_bytes = 2 << 20
    assert [] == examine_disk(tmp_path / "store", kept, disk=disk)


def test_a_finding_is_drawn_under_its_topic() -> None:
    """A mark, the topic, the text wrapped beside it, details and the next step below."""
    finding = Finding(
        topic="clocks",
        level=Level.WARNING,
        text="2 records with a time that cannot be right, kept as they are.",
        details=("late: 2 records",),
        next_step="Set the clock.",
    )
    drawn = ["\n".join(line.plain for line in finding_lines(finding, width=60, unicode=u)) for u in (True, False)]
    assert drawn[0] == snapshot("""\
! clocks         2 records with a time that cannot be right,
                   kept as they are.
                 late: 2 records
                 → Set the clock.\
""")
    assert drawn[1].isascii()
