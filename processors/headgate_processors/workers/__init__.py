"""From the bytes of export requests to rows, here or in processes of their own.

`port` says what is asked for, `local` does it in this process, `pool` has it done by processes that may die
without taking anything with them, and `groups` lets requests that wait share one turn.
"""

from headgate_processors.workers.build import PreparerConfig, build_normaliser, build_preparer
from headgate_processors.workers.groups import GroupConfig, Groups
from headgate_processors.workers.local import LocalPreparer
from headgate_processors.workers.pool import PoolConfig, PoolState, WorkerPool
from headgate_processors.workers.port import ExportRequest, Outcome, Prepared, Preparer

__all__ = [
    "ExportRequest",
    "GroupConfig",
    "Groups",
    "LocalPreparer",
    "Outcome",
    "PoolConfig",
    "PoolState",
    "Prepared",
    "Preparer",
    "PreparerConfig",
    "WorkerPool",
    "build_normaliser",
    "build_preparer",
]
