"""Fixtures that several rooms share: recordings through the real span path into a real store."""

import fcntl
import gzip
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings

from headgate_analytics import Deriver, open_views
from headgate_control.testing.postgresql import Postgresql, programs, running
from headgate_processors.dialects import Normaliser
from headgate_processors.enrich.identity import FileRegistry
from headgate_processors.enrich.price import PriceBook
from headgate_processors.otlp.port import Signal
from headgate_processors.pipeline import Pipeline, build_pipeline
from headgate_processors.receiver.port import CLIENT, Sender
from headgate_processors.store import Store, StoreConfig
from headgate_processors.workers import build_normaliser

Request = tuple[Signal, dict[str, Any]]
Rows = list[dict[str, Any]]

ROOT = Path(__file__).parent.parent
RECORDINGS = ROOT / "tests" / "recordings"
DERIVED_VIEWS = ("sessions", "model_calls", "tool_calls", "timeline", "usage_records")

settings.register_profile(
    "headgate",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("headgate")


def signal_of(request: dict[str, Any]) -> Signal:
    """The signal that an export request in JSON carries."""
    if "resourceSpans" in request:
        return Signal.TRACES
    return Signal.LOGS if "resourceLogs" in request else Signal.METRICS


def recorded(path: Path) -> list[Request]:
    """The requests of one recording."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        bodies = [json.loads(line) for line in lines if line.strip()]
    requests = [body.get("request") or body.get("body") or body for body in bodies]
    return [(signal_of(request), request) for request in requests]


class Workbench:
    """One data folder with a pipeline, for tests that want to see what comes out."""

    def __init__(self, folder: Path, normaliser: Normaliser) -> None:
        self.folder, self.normaliser = folder, normaliser
        self.restart()

    def ingest(self, requests: Iterable[Request], *, writer: str = "test", sender: Sender = CLIENT) -> None:
        """Put requests of a sender through the span path and seal them."""
        with Store.open(self.folder, writer=writer, config=StoreConfig(seal_interval_s=60)) as store:
            pipeline: Pipeline = build_pipeline(self.normaliser, store, lambda *_: None)
            for signal, request in requests:
                pipeline(json.dumps(request).encode(), signal=signal, encoding="json", sender=sender)

    def restart(self) -> None:
        """Derive by a process of its own from now on: it knows what is on disk."""
        self.deriver = Deriver(self.folder, registry=self.normaliser.registry, prices=PriceBook.load())

    def derive(self) -> None:
        """Bring the derived tables up to date."""
        self.deriver.run()

    def query(self, sql: str) -> Rows:
        """The rows of a query over every view."""
        with open_views(self.folder) as connection:
            table: pa.Table = connection.sql(sql).to_arrow_table()
            return table.to_pylist()

    def tables(self, views: Sequence[str] = DERIVED_VIEWS) -> dict[str, Rows]:
        """Every derived row in a fixed order, without the revision."""
        return {
            view: self.query(f"SELECT * EXCLUDE (revision) FROM {view} AS v ORDER BY to_json(v)::VARCHAR")
            for view in views
        }


@pytest.fixture(scope="session")
def normaliser(tmp_path_factory: pytest.TempPathFactory) -> Normaliser:
    """A normaliser with the packaged tables and a registry that knows nobody; it is pure, so tests share it."""
    return build_normaliser(tmp_path_factory.mktemp("keys"), registry=FileRegistry.empty())


@pytest.fixture
def workbench(tmp_path: Path, normaliser: Normaliser) -> Workbench:
    """A workbench over a fresh folder."""
    return Workbench(tmp_path / "store", normaliser)


@pytest.fixture
def make_workbench(tmp_path: Path, normaliser: Normaliser) -> Callable[[], Workbench]:
    """Makes workbenches over fresh folders."""
    made = iter(range(1_000_000))
    return lambda: Workbench(tmp_path / f"store-{os.getpid()}-{next(made)}", normaliser)


@pytest.fixture
def recording() -> Callable[[str], list[Request]]:
    """Reads a recording by `set-up/scenario`."""
    return lambda name: recorded(RECORDINGS / f"{name}.jsonl.gz")


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    """The Collector that `make collector` builds; made here where it is missing and Go is there."""
    binary = ROOT / "build" / "collector" / "headgate-collector"
    binary.parent.mkdir(parents=True, exist_ok=True)
    with (binary.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            if shutil.which("go") is None:
                reason = "needs the Collector, and Go to build it: https://go.dev/dl, then make collector"
                (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
            subprocess.run(["make", "collector"], cwd=ROOT, check=True, timeout=3000)
    return binary


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL of this test run."""
    with running(_programs()) as made:
        yield made


def _programs() -> Path:
    """The folder of PostgreSQL's programs; CI installs it where it is missing, one test process for all."""
    with (Path(tempfile.gettempdir()) / "headgate-postgresql.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if programs() is None and os.environ.get("CI") and os.geteuid() == 0:
            subprocess.run(["apt-get", "update", "-qq"], check=True, timeout=600)
            subprocess.run(["apt-get", "install", "-qq", "-y", "postgresql"], check=True, timeout=600)
    if found := programs():
        return found
    reason = "needs PostgreSQL: apt-get install postgresql"
    return (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
