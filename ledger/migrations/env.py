"""Alembic's entry point. It always runs inside the transaction that ``ledger.engine.migrate`` opens."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
