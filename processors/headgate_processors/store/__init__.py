"""The store: rows durable when `Store.append` returns, in Parquet a moment later, readable by any process."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate_processors.store.commit import Appended
    from headgate_processors.store.compaction import CompactionHeldError, CompactReport, compact
    from headgate_processors.store.config import CompactConfig, ReaderConfig, StoreConfig
    from headgate_processors.store.derived import DerivedWriter
    from headgate_processors.store.reader import StoreReader
    from headgate_processors.store.recover import Recovered
    from headgate_processors.store.store import Store, StoreLoad

__all__ = [
    "Appended",
    "CompactConfig",
    "CompactReport",
    "CompactionHeldError",
    "DerivedWriter",
    "ReaderConfig",
    "Recovered",
    "Store",
    "StoreConfig",
    "StoreLoad",
    "StoreReader",
    "compact",
]

_MODULES = {
    "Appended": "commit",
    "CompactConfig": "config",
    "CompactReport": "compaction",
    "CompactionHeldError": "compaction",
    "DerivedWriter": "derived",
    "ReaderConfig": "config",
    "Recovered": "recover",
    "Store": "store",
    "StoreConfig": "config",
    "StoreLoad": "store",
    "StoreReader": "reader",
    "compact": "compaction",
}


def __getattr__(name: str) -> object:
    """Load what is asked for, so that a question does not wait for what writes."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
