"""Triggers that let a table grow and nothing else, in the words of either database."""

from alembic import op

__all__ = ["forbid"]

REFUSAL = "is append-only: rows are never changed or removed"


def forbid(table: str, *operations: str) -> None:
    """Refuse operations on a table, for whoever holds a connection.

    Args:
        table: Its name.
        operations: ``UPDATE``, ``DELETE``; on PostgreSQL a forbidden DELETE forbids TRUNCATE too.
    """
    if op.get_bind().dialect.name == "sqlite":
        for operation in operations:
            op.execute(
                f"CREATE TRIGGER {table}_no_{operation.lower()} BEFORE {operation} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} {REFUSAL}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} {REFUSAL}'; END $$"
    )
    for operation in operations:
        op.execute(
            f"CREATE TRIGGER {table}_no_{operation.lower()} BEFORE {operation} ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {table}_append_only()"
        )
    if "DELETE" in operations:
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
        )
