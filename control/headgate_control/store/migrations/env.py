"""Alembic's entry point: the connection comes from whoever migrates."""

from alembic import context

from headgate_control.store.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
