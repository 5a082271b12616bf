"""Triggers that let a table grow and nothing else, in the words of either database."""

from alembic import op

__all__ = ["follow", "forbid", "forbid_replacing", "refuse_unless"]

REFUSAL = "is append-only: rows are never changed or removed"


def forbid(table: str, *operations: str) -> None:
    """Refuse operations on a table, for whoever holds a connection.

    Args:
        table: Its name.
        operations: ``INSERT``, ``UPDATE``, ``DELETE``; on PostgreSQL a forbidden DELETE forbids TRUNCATE too.
    """
    for operation in operations:
        refuse_unless("1 = 0", table=table, operation=operation, message=REFUSAL)
    if "DELETE" in operations and _is_postgresql():
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_no_delete()"
        )


def forbid_replacing(table: str, *clashes: str) -> None:
    """Refuse SQLite's ``INSERT OR REPLACE``, which deletes the rows in its way without a delete trigger.

    PostgreSQL has no such statement: its ``ON CONFLICT DO UPDATE`` fires the update trigger.

    Args:
        table: Its name.
        clashes: For each unique key, when a row that is there is in the way of the row ``NEW``.
    """
    if _is_postgresql():
        return
    # The hidden row number is a unique key too; where a statement names none it is -1.
    in_the_way = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} WHERE {clash})" for clash in ("rowid = NEW.rowid", *clashes)
    )
    refuse_unless(
        f"NOT ({in_the_way})",
        table=table,
        operation="INSERT",
        message=f"holds this key already, and {REFUSAL}",
        rule="no_replacing",
    )


def refuse_unless(condition: str, *, table: str, operation: str, message: str, rule: str | None = None) -> None:
    """Refuse an operation on rows that do not fulfil a condition.

    Args:
        condition: SQL over ``NEW`` and ``OLD`` that both databases understand; null refuses.
        table: Its name.
        operation: ``INSERT``, ``UPDATE`` or ``DELETE``.
        message: Said after the table's name.
        rule: Names the trigger, after the table; ``no_insert`` for ``INSERT`` when None.
    """
    name = f"{table}_{rule or f'no_{operation.lower()}'}"
    if not _is_postgresql():
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {operation} ON {table} WHEN ({condition}) IS NOT TRUE "
            f"BEGIN SELECT RAISE(ABORT, '{table} {message}'); END"
        )
        return
    # The same class of error as SQLite raises, so that both are answered alike.
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF ({condition}) IS NOT TRUE THEN "
        f"RAISE EXCEPTION '{table} {message}' USING ERRCODE = 'integrity_constraint_violation'; END IF; "
        f"RETURN {'OLD' if operation == 'DELETE' else 'NEW'}; END $$"
    )
    op.execute(f"CREATE TRIGGER {name} BEFORE {operation} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")


def follow(table: str, statement: str) -> None:
    """Let a statement follow each row that is inserted.

    Args:
        table: Its name.
        statement: SQL over ``NEW`` that both databases understand.
    """
    name = f"{table}_follow"
    if not _is_postgresql():
        op.execute(f"CREATE TRIGGER {name} AFTER INSERT ON {table} BEGIN {statement}; END")
        return
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NULL; END $$"
    )
    op.execute(f"CREATE TRIGGER {name} AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
