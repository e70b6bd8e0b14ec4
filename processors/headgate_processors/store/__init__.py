"""The store: rows durable when `Store.append` returns, in Parquet a moment later, readable by any process."""

from headgate_processors.store.commit import Appended
from headgate_processors.store.compact import CompactionHeldError, CompactReport, compact
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
