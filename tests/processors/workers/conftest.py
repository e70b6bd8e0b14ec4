"""Pools for the tests of decode workers."""

from collections.abc import Iterator

import pytest

from headgate_processors.workers import PoolConfig, PreparerConfig, WorkerPool


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> PreparerConfig:
    """The packaged rules, and a key of hashes that both implementations share."""
    return PreparerConfig(folder=tmp_path_factory.mktemp("preparer"))


@pytest.fixture(scope="session")
def pool(rules: PreparerConfig) -> Iterator[WorkerPool]:
    """A pool of one worker, for tests that do it no harm."""
    started = WorkerPool(rules, PoolConfig(workers=1))
    started.start()
    yield started
    started.close()
