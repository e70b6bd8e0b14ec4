"""What is made of which setting: small factories, one for each part."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headgate_analytics import views
from headgate_analytics.derive import DeriveConfig, Deriver
from headgate_analytics.schema import DERIVED
from headgate_console.collector.launch import FOLDER
from headgate_console.control.place import FOLDER as PLACE
from headgate_console.control.place import SIGNING, Place
from headgate_console.doctor.folder import DEAD_LETTERS
from headgate_console.queries.opening import nanoseconds
from headgate_console.serve.timed import TimedSink
from headgate_console.settings.values import NOWHERE, parse_free_room
from headgate_processors.credentials.authenticator import CredentialAuthenticator
from headgate_processors.credentials.issuer import JWKS_FILE
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.credentials.web_tokens import WebTokenConfig, WebTokens
from headgate_processors.enrich.identity import Registry
from headgate_processors.enrich.price import PriceBook
from headgate_processors.errors import ConfigError
from headgate_processors.otlp.port import Encoding, Rejected, Signal
from headgate_processors.pipeline import Pipeline
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.counters import Counters
from headgate_processors.receiver.dead_letters import DeadLetterConfig, DeadLetters
from headgate_processors.receiver.server import Receiver
from headgate_processors.receiver.tls import TlsConfig
from headgate_processors.store import Store, StoreConfig
from headgate_processors.store.lock import Lock
from headgate_processors.store.retention import Retention
from headgate_processors.store.views import sql as stored_views_sql
from headgate_processors.store.watermark import Reserve
from headgate_processors.telemetry import Meter
from headgate_processors.workers import (
    GroupConfig,
    PoolConfig,
    Preparer,
    PreparerConfig,
    WorkerPool,
    build_preparer,
)
from headgate_processors.workers.build import build_registry

if TYPE_CHECKING:
    from headgate_console.settings import Settings

ISSUER_KEYS = Path(FOLDER) / JWKS_FILE
CONTROL_KEYS = Path(PLACE) / SIGNING / JWKS_FILE
DERIVE_LOCK = Path("locks") / "derive.lock"
LOCK_WAIT_S = 1.0
MANIFEST = "manifest.json"


def views_sql(settings: "Settings", *, root: str | None = None) -> str:
    """Statements that define every view for any DuckDB that sees the store, in `root` if it is elsewhere there.

    They can be run again on the same connection, to see what came since.

    Raises:
        StoreError: the folder holds no store.
    """
    stored = stored_views_sql(settings.data, derived=DERIVED, root=root)
    told = views.told_views_sql(idle_gap_ns=nanoseconds(settings.sessions.idle_gap))
    again = told.replace("CREATE VIEW", "CREATE OR REPLACE TEMP VIEW")
    return f"{stored}DROP VIEW IF EXISTS stored_sessions;\n{again}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What takes export requests: the pipeline into one store, with its counters and dead letters."""

    ingest: Pipeline
    counters: Counters
    letters: DeadLetters


def open_store(settings: "Settings", *, compact_apart: bool = False) -> Store:
    """Take the store of the settings for writing; `compact_apart` gives its compactions a process of their own.

    Raises:
        StoreError: another process holds it, or it is newer or damaged.
    """
    config = StoreConfig(
        seal_interval_s=settings.store.seal_interval.total_seconds(),
        unsealed_bytes_max=settings.store.unsealed_size_max,
        compact_interval_s=settings.store.compact_interval.total_seconds(),
        compact_apart=compact_apart,
        disk_free_min=reserve(settings),
        retention=retention(settings),
    )
    return Store.open(settings.data, config=config)


def reserve(settings: "Settings") -> Reserve:
    """What of the disk stays free."""
    size, share = parse_free_room(settings.store.disk_free_min)
    return Reserve(bytes=size, share=share)


def retention(settings: "Settings") -> Retention:
    """For how long rows are kept."""
    kept = settings.retention
    return Retention(
        spans_days=kept.spans.days,
        content_days=kept.content.days,
        logs_days=kept.logs.days,
        metrics_days=kept.metrics.days,
        derived_days=kept.derived.days,
    )


def preparer_config(settings: "Settings") -> PreparerConfig:
    """Where the rules are that turn requests into rows."""
    return PreparerConfig(
        folder=settings.data,
        registry=settings.registry.file,
        served=Place(data=settings.data).registry,
        dialects=settings.dialects.folder,
        redaction=settings.redaction.file,
        actions=settings.actions.file,
    )


@contextmanager
def open_preparer(settings: "Settings", *, workers: int) -> Iterator[Preparer]:
    """What turns requests into rows: a pool of so many processes, or this process when it is 0.

    Raises:
        ConfigError: the registry, a rule table or a dialect is wrong.
        TransientError: the processes cannot be started.
    """
    if not workers:
        yield build_preparer(preparer_config(settings))
        return
    pool = WorkerPool(preparer_config(settings), PoolConfig(workers=workers))
    pool.start()
    try:
        yield pool
    finally:
        pool.close()


def workers_of(settings: "Settings") -> int:
    """How many decode workers there are: as configured, else one for each core that this process may use."""
    if settings.receiver.workers is not None:
        return settings.receiver.workers
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def build_intake(
    settings: "Settings", store: Store, preparer: Preparer | None = None, *, meter: Meter | None = None
) -> Intake:
    """The pipeline of the settings into a store; without a preparer, it prepares in this process.

    A meter is told what is counted and how long commits take.

    Raises:
        ConfigError: the registry, a rule table or a dialect is wrong.
    """
    counters = Counters(meter=meter)
    letters = DeadLetters(
        settings.data / DEAD_LETTERS,
        counters=counters,
        config=DeadLetterConfig(
            enabled=settings.dead_letters.enabled,
            keep_days=settings.dead_letters.keep.days,
            max_bytes=settings.dead_letters.size_max,
        ),
    )

    def refused(signal: Signal, rejected: Sequence[Rejected], encoding: Encoding) -> None:
        for record in rejected:
            letters.keep(record.raw, signal=signal, encoding=encoding, reason=record.reason, detail=record.detail)

    prepare = preparer or build_preparer(preparer_config(settings))
    lanes = prepare.state.workers if isinstance(prepare, WorkerPool) else 1
    groups = GroupConfig(lanes=lanes, queue_bytes=settings.receiver.buffered_size_max)
    sink = store if meter is None else TimedSink(store, meter)
    return Intake(ingest=Pipeline(prepare, sink, refused, groups=groups), counters=counters, letters=letters)


@contextmanager
def open_deriver(settings: "Settings", *, rows_max: int | None = None) -> Iterator[Deriver]:
    """The job that keeps derived tables current, with the lock that only one process holds.

    A run takes in so many new rows at most.

    Raises:
        ConfigError: the registry or the prices are wrong.
        StoreError: another process derives this store.
    """
    path = settings.data / DERIVE_LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock.take(path, wait_s=LOCK_WAIT_S)
    try:
        yield Deriver(
            settings.data,
            registry=registry(settings),
            prices=PriceBook.load(settings.prices.overrides),
            config=DeriveConfig(idle_gap_ns=nanoseconds(settings.sessions.idle_gap), rows_max=rows_max),
        )
    finally:
        lock.release()


def manifest_state(data: Path) -> str:
    """What changes whenever the manifest of a store is replaced; empty while there is none."""
    try:
        found = (data / MANIFEST).stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"


def registry(settings: "Settings") -> Registry:
    """The registry of the settings, with the instances that control has registered.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    return build_registry(settings.registry.file, Place(data=settings.data).registry)


def build_receiver(settings: "Settings", intake: Intake) -> Receiver:
    """The OTLP servers of the settings over an intake, and who may send to them.

    Raises:
        ConfigError: the files for TLS cannot be used.
    """
    platform = settings.receiver.platform
    config = ReceiverConfig(
        grpc=settings.receiver.grpc,
        http=settings.receiver.http,
        platform=None if platform == NOWHERE else platform,
        tls=tls_config(settings),
        insecure=settings.receiver.insecure,
        max_message_bytes=settings.receiver.request_size_max,
        max_buffered_bytes=settings.receiver.buffered_size_max,
    )
    return Receiver(
        intake.ingest,
        config=config,
        counters=intake.counters,
        dead_letters=intake.letters,
        authenticator=build_authenticator(settings),
    )


def tls_config(settings: "Settings") -> TlsConfig | None:
    """The files for TLS; None when the receiver does without.

    Raises:
        ConfigError: a certificate without a key, a key without a certificate, or authorities without both.
    """
    tls = settings.receiver.tls
    if tls.cert_file is not None and tls.key_file is not None:
        return TlsConfig(cert_file=tls.cert_file, key_file=tls.key_file, client_ca_file=tls.client_ca_file)
    if tls.cert_file is None and tls.key_file is None and tls.client_ca_file is None:
        return None
    message = "receiver.tls: cert_file and key_file belong together, and client_ca_file needs both: give those, or none"
    raise ConfigError(message)


def build_authenticator(settings: "Settings") -> CredentialAuthenticator:
    """Judges credentials by the key store of the data folder, by the keys of its control, and by an issuer's."""
    own = settings.data / ISSUER_KEYS
    config = WebTokenConfig(
        keys_file=settings.receiver.jwks_file or own,
        issuer=settings.receiver.jwt_issuer,
        may_be_absent=settings.receiver.jwks_file is None,
        own_keys_file=settings.data / CONTROL_KEYS,
    )
    return CredentialAuthenticator(KeyStore(settings.data), web_tokens=WebTokens(config))
