"""A real PostgreSQL for tests, which they may stop and start again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from headgate_processors.testing.ports import free_port

USER = "headgate"
_START_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgresql:
    """One cluster below `folder`, with the programs of `programs`."""

    programs: Path
    folder: Path
    port: int

    @property
    def address(self) -> str:
        """Its address, without a database name."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}"

    def initialise(self) -> None:
        """Make the cluster. Its own user must be able to reach the folder."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", self._cluster, "-A", "trust", "-U", USER)

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", *self._control, "-o", options, "start")

    def stop(self) -> None:
        """End it as a crash would."""
        self._run("pg_ctl", *self._control, "-m", "immediate", "stop")

    def create(self, name: str) -> str:
        """The address of a new database."""
        import psycopg  # noqa: PLC0415 - only where there is a PostgreSQL

        with psycopg.connect(f"{self.address}/postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"{self.address}/{name}"

    @property
    def _cluster(self) -> Path:
        return self.folder / "cluster"

    @property
    def _control(self) -> tuple[object, ...]:
        return "-D", self._cluster, "-w", "-t", str(_START_S), "-l", self.folder / "log"

    def _run(self, program: str, *words: object) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*user, str(self.programs / program), *map(str, words)]
        # Wherever the test stands, PostgreSQL's own user may not.
        subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL, cwd=self.folder)  # noqa: S603


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def running(found: Path) -> Iterator[Postgresql]:
    """A cluster on a free port, started; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="headgate-postgresql-") as place:
        made = Postgresql(programs=found, folder=Path(place), port=free_port())
        made.initialise()
        made.start()
        try:
            yield made
        finally:
            # A test may have stopped it.
            with suppress(subprocess.CalledProcessError):
                made.stop()
