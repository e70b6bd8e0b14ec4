"""The databases that control state is kept in."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate_control.store.opening import open_postgresql, open_sqlite
from headgate_control.store.port import ControlStore

Opener = Callable[[str], ControlStore]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens one database again and again, under the name of a writer; everything is closed at the end."""
    opened: list[ControlStore] = []
    if request.param == "sqlite":
        make: Opener = lambda writer: open_sqlite(tmp_path / "control.db", writer=writer)  # noqa: E731
    else:
        address = request.getfixturevalue("postgresql").create(f"test_{abs(hash(tmp_path)):x}")
        make = lambda writer: open_postgresql(address, writer=writer)  # noqa: E731

    def open_one(writer: str = "control-1") -> ControlStore:
        opened.append(make(writer))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()
