"""The databases that control state is kept in, and a real PostgreSQL for those who want one."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate_control.store.opening import open_postgresql, open_sqlite
from headgate_control.store.port import ControlStore
from headgate_processors.testing.ports import free_port

Opener = Callable[[str], ControlStore]


def _programs() -> Path:
    """The folder of PostgreSQL's programs; CI installs it where it is missing, one test process for all."""
    with (Path(tempfile.gettempdir()) / "headgate-postgresql.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _found() and os.environ.get("CI") and os.geteuid() == 0:
            subprocess.run(["apt-get", "update", "-qq"], check=True, timeout=600)
            subprocess.run(["apt-get", "install", "-qq", "-y", "postgresql"], check=True, timeout=600)
    if found := _found():
        return found[-1].parent
    reason = "needs PostgreSQL: apt-get install postgresql"
    return (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def _found() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL of this test run, without a database name."""
    programs, port = _programs(), free_port()
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Its own user must be able to reach the folder, which those of pytest do not allow.
    with tempfile.TemporaryDirectory(prefix="headgate-postgresql-") as place:
        folder = Path(place)
        if user:
            shutil.chown(folder, "postgres")
        cluster = folder / "cluster"
        made = [*user, programs / "initdb", "-D", cluster, "-A", "trust", "-U", "headgate"]
        subprocess.run(made, check=True, timeout=300, stdout=subprocess.DEVNULL)
        control = [*user, programs / "pg_ctl", "-D", cluster, "-w", "-t", "120", "-l", folder / "log"]
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        subprocess.run([*control, "-o", options, "start"], check=True, timeout=300, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql://headgate@127.0.0.1:{port}"
        finally:
            ended = [*control, "-m", "immediate", "stop"]
            subprocess.run(ended, check=False, timeout=300, stdout=subprocess.DEVNULL)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens one database again and again, under the name of a writer; everything is closed at the end."""
    opened: list[ControlStore] = []
    if request.param == "sqlite":
        make: Opener = lambda writer: open_sqlite(tmp_path / "control.db", writer=writer)  # noqa: E731
    else:
        address = request.getfixturevalue("postgresql")
        name = f"test_{abs(hash(tmp_path)):x}"
        _create(address, name)
        make = lambda writer: open_postgresql(f"{address}/{name}", writer=writer)  # noqa: E731

    def open_one(writer: str = "control-1") -> ControlStore:
        opened.append(make(writer))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def _create(address: str, name: str) -> None:
    import psycopg  # noqa: PLC0415 - only where there is a PostgreSQL

    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
