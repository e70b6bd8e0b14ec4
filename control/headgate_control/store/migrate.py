"""Bring the tables of a database to the version of this Headgate."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from headgate_processors.errors import StoreError


def versions() -> frozenset[str]:
    """Every version of the tables that this Headgate knows."""
    return frozenset(one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions())


def migrate(connection: Connection, where: str) -> None:
    """Make the tables, or change them; nothing where they are right.

    Raises:
        StoreError: the database is of a newer Headgate.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {one.revision for one in script.walk_revisions()}:
        newest = script.get_current_head()
        message = f"{where} has version {current} and this Headgate knows {newest} at most: use a newer Headgate"
        raise StoreError(message)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "headgate_control.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
