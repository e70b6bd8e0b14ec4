"""Stores that do nothing by themselves, so that a test says when they seal and compact."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate_processors.store import Store, StoreConfig, StoreReader

Open = Callable[..., Store]
Ids = Callable[..., list[str]]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """Opens writers of one folder, closed at the end: `open_store(writer="w", disk=…, seal_bytes=…)`."""
    opened: list[Store] = []

    def open_one(folder: Path = tmp_path, *, writer: str = "w", disk: Any = None, **settings: Any) -> Store:
        quiet = {
            "seal_interval_s": 3600.0,
            "compact_interval_s": 0.0,
            "lock_wait_s": 0.0,
            "peers_interval_s": 0.0,
            **settings,
        }
        store = Store.open(folder, writer=writer, config=StoreConfig(**quiet), disk=disk)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def ids(tmp_path: Path) -> Ids:
    """The record ids that a view shows, sorted: `ids("spans")`."""

    def read(view: str = "spans", folder: Path = tmp_path) -> list[str]:
        found = StoreReader(folder).query(f"SELECT record_id FROM {view} ORDER BY ALL")
        return list(found.column("record_id").to_pylist())

    return read
