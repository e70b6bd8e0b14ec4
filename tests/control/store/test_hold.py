"""One control at a time holds a PostgreSQL database, whatever becomes of its connection."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import create_engine, text

from headgate_control.store.hold import DatabaseHold
from headgate_control.store.opening import open_postgresql
from headgate_control.testing.postgresql import Postgresql
from headgate_processors.errors import ConfigError, StoreError, TransientError

pytestmark = pytest.mark.slow
Held = Callable[[str], DatabaseHold]
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'control of%'"


@pytest.fixture
def address(postgresql: Postgresql, request: pytest.FixtureRequest) -> str:
    """A database of the test's own, with the tables of control."""
    made = postgresql.create(f"hold_{abs(hash(request.node.name)):x}")
    open_postgresql(made, writer="a").close()
    return made


@pytest.fixture
def take(address: str) -> Iterator[Held]:
    """Takes the database under a name; all is let go of at the end."""
    made: list[DatabaseHold] = []

    def one(name: str) -> DatabaseHold:
        made.append(DatabaseHold.take(address, name=f"control of {name}", wait_s=0.2))
        return made[-1]

    yield one
    for hold in made:
        hold.close()


def cut(address: str) -> None:
    """End the connections of those that hold the database, as the database does with clients that are gone."""
    engine = create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        connection.execute(text(END))
    engine.dispose()


def nobody() -> None:
    """Nobody had it meanwhile."""


def somebody() -> None:
    """Somebody had."""
    raise StoreError("another had it")


def test_a_second_one_is_refused_with_the_name_of_the_first(take: Held) -> None:
    """And what it calls itself by now; when that one has ended, the second has it."""
    first = take("anna")
    first.say("control of anna at 127.0.0.1:7410")
    with pytest.raises(StoreError) as refused:
        take("ben")
    first.close()
    take("ben").check(nobody)
    said = str(refused.value)
    assert "is held by the control of anna at 127.0.0.1:7410 from 127.0.0.1 since 2" in said
    assert "Run `headgate gateway model --control URL` here against that one" in said


def test_a_connection_that_is_lost_is_made_anew(take: Held, address: str) -> None:
    """And it is held again: at once, or once it is known that nobody had it meanwhile."""
    hold = take("anna")
    cut(address)
    with pytest.raises(TransientError, match="another control may take it"):
        hold.check(nobody)
    hold.check(nobody)
    with pytest.raises(StoreError, match="is held by the control of anna"):
        take("ben")
    assert hold.age_ns() < 5e9


@pytest.mark.parametrize("is_held", [True, False], ids=["has-it", "had-it"])
def test_whoever_loses_it_to_another_knows(take: Held, address: str, is_held: bool) -> None:
    """It never counts as held again, however old its last look is."""
    hold = take("anna")
    cut(address)
    other = take("ben")
    if not is_held:
        other.close()
    with pytest.raises(TransientError):
        hold.check(nobody)
    with pytest.raises(StoreError, match="the control of ben" if is_held else "another had it"):
        hold.check(somebody)
    assert hold.age_ns() > 1e15


def test_what_cannot_be_seen_gets_older(take: Held, postgresql: Postgresql) -> None:
    """From the last look on, until the database is back."""
    hold = take("anna")
    hold.check(nobody)
    postgresql.stop()
    try:
        for _ in range(2):
            with pytest.raises(TransientError):
                hold.check(nobody)
        old_ns = hold.age_ns()
    finally:
        postgresql.start()
    hold.check(nobody)
    assert 0 < hold.age_ns() < old_ns


def test_other_databases_of_a_server_have_other_holders(take: Held, postgresql: Postgresql) -> None:
    """Each its own."""
    take("anna")
    other = postgresql.create("hold_of_another")
    with closing(DatabaseHold.take(other, name="control of ben", wait_s=0.0)) as hold:
        hold.check(nobody)
        assert hold.age_ns() < 5e9


@pytest.mark.parametrize(
    ("wrong", "error"), [("nonsense", ConfigError), ("postgresql://u@127.0.0.1:1/x", StoreError)], ids=["no", "away"]
)
def test_a_database_that_is_not_there_is_told(wrong: str, error: type[Exception]) -> None:
    """As where the store is opened."""
    with pytest.raises(error):
        DatabaseHold.take(wrong, name="control of anna")
