"""Opening control state: a new file, an old one, a newer one, and none."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from headgate_control.store.opening import open_postgresql, open_sqlite
from headgate_control.store.record import Change
from headgate_control.store.schema import METADATA
from headgate_processors.errors import ConfigError, StoreError


def test_a_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """It says who may do what."""
    open_sqlite(tmp_path / "control" / "control.db", writer="a").close()
    assert 0o600 == stat.S_IMODE((tmp_path / "control" / "control.db").stat().st_mode)


def test_the_migrations_make_the_tables_that_the_code_speaks_of(tmp_path: Path) -> None:
    """Column by column, and every index."""
    open_sqlite(tmp_path / "control.db", writer="a").close()
    made = inspect(create_engine(f"sqlite:///{tmp_path / 'control.db'}"))
    for table in METADATA.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in made.get_columns(table.name)}
        assert {column.name: column.nullable for column in table.columns} == columns
        assert {index.name for index in table.indexes} == {index["name"] for index in made.get_indexes(table.name)}


def test_a_newer_database_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Nothing in it is touched."""
    store = open_sqlite(tmp_path / "control.db", writer="a")
    store.change([Change(kind="team", id="a", body={})], author="ada", action="team.create")
    store.close()
    with create_engine(f"sqlite:///{tmp_path / 'control.db'}").begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="has version 9999 and this Headgate knows 0001 at most: use a newer Headgate"):
        open_sqlite(tmp_path / "control.db", writer="a")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """It is left as it is."""
    path = tmp_path / "control.db"
    path.write_text("no database" * 100)
    with pytest.raises(StoreError, match=r"control\.db cannot be opened: file is not a database"):
        open_sqlite(path, writer="a")
    assert "no database" * 100 == path.read_text()


@pytest.mark.parametrize(
    ("address", "error", "expected"),
    [
        ("nonsense", ConfigError, "expected postgresql://USER@HOST/DATABASE"),
        ("postgresql://u:secret@127.0.0.1:1/x", StoreError, r"postgresql\+psycopg://u:\*\*\*@127.0.0.1:1/x cannot be"),
    ],
)
def test_a_database_that_is_not_there_says_so(address: str, error: type[Exception], expected: str) -> None:
    """Without the password."""
    with pytest.raises(error, match=expected):
        open_postgresql(address, writer="a")
