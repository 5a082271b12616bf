from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Constraint, Engine, Table, UniqueConstraint, insert, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from feedback.query_tables import physician_queries, query_events
from feedback.tables import adjudications, audit_draws, cases, decisions, overrides
from governance.tables import promotions
from ledger.audit_log import audit_head, audit_log
from ledger.audit_verify import verify
from ledger.engine import metadata, writing
from ledger.federation import federate, token_uses
from ledger.keys import KeyTerms, Scope, keys
from ledger.principals import Principal, Role, create_key, revoke
from ledger.requests import job_items, jobs, suggestion_keys
from serving.ehr.cds_tables import cds_cards, cds_comments, cds_outcomes

# What may be done to the tables that are more than lists that grow.
ALLOWED = {
    "principals": {"update"},
    "keys": {"update"},
    "token_uses": {"truncate"},
    "suggestion_contents": {"delete", "truncate"},
    "cds_comments": {"delete", "truncate"},
    "cases": {"update"},
    "jobs": {"update"},
    "job_items": {"update"},
}
TABLES = sorted(metadata.tables)
NOW = datetime(2026, 5, 1, tzinfo=UTC)

Rows = Mapping[str, Mapping[str, Any]]


@pytest.fixture
def rows(engine: Engine, admin: Principal, store_suggestion: Any) -> Rows:
    """A row in every table, and which it is."""
    suggestion_id = store_suggestion("Cough.")
    by = {"suggestion_id": suggestion_id, "principal_id": admin.id}
    added: list[tuple[Table, dict[str, Any]]] = [
        (
            decisions,
            by | {"id": "d", "decided_at": NOW, "outcome": "decided", "seconds_spent": 1.0}
            | {"idempotency_key": "k", "body_sha256": "0" * 64, "body": "{}"},
        ),
        (
            overrides,
            by | {"id": "o", "decision_id": "d", "created_at": NOW, "action": "reject", "system": "icd10cm"}
            | {"code": "I10", "reason": "r"},
        ),
        (
            audit_draws,
            {"id": "a", "suggestion_id": suggestion_id, "stratum": "accepted", "probability": 0.5, "drawn_at": NOW},
        ),
        (
            cases,
            {"id": "o", "kind": "override", "suggestion_id": suggestion_id, "priority": 1, "opened_at": NOW}
            | {"state": "open"},
        ),
        (
            adjudications,
            by | {"id": "j", "case_id": "o", "adjudicated_at": NOW, "verdict": "ai-right", "codes": "[]"}
            | {"citation": "c", "round": 1, "blinded": False},
        ),
        (physician_queries, by | {"id": "q", "topic": "t", "content_sha256": "0" * 64, "drafted_at": NOW}),
        (
            query_events,
            {"query_id": "q", "state": "sent", "at": NOW, "principal_id": admin.id, "idempotency_key": "k"},
        ),
        (token_uses, {"digest": "0" * 64, "expires_at": datetime(2999, 1, 1, tzinfo=UTC)}),
        (suggestion_keys, by | {"idempotency_key": "k", "body_sha256": "0" * 64}),
        (
            jobs,
            {"id": "b", "principal_id": admin.id, "idempotency_key": "k", "body_sha256": "0" * 64, "trace_id": "t"}
            | {"state": "running", "num_items": 1, "created_at": NOW},
        ),
        (
            job_items,
            {"job_id": "b", "line": 1, "record_id": "r", "request": "{}", "state": "waiting", "num_attempts": 0},
        ),
        (cds_cards, by | {"id": "cc", "service": "s", "code_key": "icd10cm:I10", "shown_at": NOW}),
        (
            cds_outcomes,
            {"id": "co", "card_id": "cc", "outcome": "accepted", "outcome_at": NOW, "received_at": NOW},
        ),
        (cds_comments, {"outcome_id": "co", "suggestion_id": by["suggestion_id"], "comment": "c"}),
        (
            promotions,
            {"seq": 1, "kind": "promote", "version_number": 1, "bundle_sha256": "0" * 64, "reason": "r"}
            | {"principal_id": admin.id, "at": NOW},
        ),
    ]  # fmt: skip
    with writing(engine) as connection:
        for table, row in added:
            connection.execute(insert(table).values(row))
    with engine.connect() as connection:
        found = {name: connection.execute(select(metadata.tables[name])).mappings().first() for name in TABLES}
    assert all(row is not None for row in found.values()), found
    return {name: dict(row) for name, row in found.items() if row is not None}


def content(engine: Engine) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        return {name: sorted(map(str, connection.execute(select(metadata.tables[name])))) for name in TABLES}


def is_unique(constraint: Constraint) -> bool:
    return isinstance(constraint, UniqueConstraint)


def refused(engine: Engine, statement: Any, *values: Any) -> None:
    before = content(engine)
    # By the guards' own words: a foreign key that is in the way does not count.
    with (
        pytest.raises(IntegrityError, match=r"append-only|takes only|moves only"),
        writing(engine) as connection,
    ):
        connection.execute(statement, *values)
    assert content(engine) == before


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_not_changed(engine: Engine, rows: Rows, name: str) -> None:
    if "update" not in ALLOWED.get(name, ()):
        for column in metadata.tables[name].columns:
            refused(engine, text(f'UPDATE {name} SET "{column.name}" = "{column.name}"'))


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_not_removed(engine: Engine, rows: Rows, name: str) -> None:
    if "delete" not in ALLOWED.get(name, ()):
        refused(engine, text(f"DELETE FROM {name}"))


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_not_emptied(engine: Engine, rows: Rows, name: str) -> None:
    if engine.dialect.name == "postgresql" and "truncate" not in ALLOWED.get(name, ()):
        refused(engine, text(f"TRUNCATE {name} CASCADE"))


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_not_replaced(engine: Engine, rows: Rows, name: str) -> None:
    table = metadata.tables[name]
    if engine.dialect.name == "sqlite":
        # The primary key is in the way, then the hidden row number alone, with all else new.
        refused(engine, insert(table).prefix_with("OR REPLACE").values(rows[name]))
        with engine.connect() as connection:
            rowid = connection.execute(text(f"SELECT min(rowid) FROM {name}")).scalar_one()
        new = rows[name] | {column.name: "new" for column in table.primary_key if column.type.python_type is str}
        names = ", ".join(f'"{key}"' for key in new)
        statement = f"INSERT OR REPLACE INTO {name} (rowid, {names}) VALUES (:rowid, {', '.join(f':{k}' for k in new)})"
        refused(engine, text(statement), {key: str(value) for key, value in new.items()} | {"rowid": rowid})
    elif "update" not in ALLOWED.get(name, ()):
        key = list(table.primary_key)
        upsert = postgresql.insert(table).values(rows[name])
        refused(engine, upsert.on_conflict_do_update(index_elements=key, set_=dict(upsert.excluded)))


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_not_replaced_by_way_of_another_key(engine: Engine, rows: Rows, name: str) -> None:
    if engine.dialect.name == "sqlite":
        table = metadata.tables[name]
        new = {column.name: "new" for column in table.primary_key if column.type.python_type is str}
        if any(index.unique for index in table.indexes) or any(map(is_unique, table.constraints)):
            refused(engine, insert(table).prefix_with("OR REPLACE").values(rows[name] | new))


def test_the_head_moves_only_to_the_entry_that_follows(engine: Engine, append_entries: Any) -> None:
    append_entries(2)
    refused(engine, text("UPDATE audit_head SET seq = seq + 1"))
    refused(engine, text("UPDATE audit_head SET seq = seq - 1"))
    refused(engine, text("UPDATE audit_head SET seq = seq + 2"))
    refused(engine, text("UPDATE audit_head SET hash = '0'"))
    refused(engine, insert(audit_head).values(id=2, seq=0, hash="0"))


def test_the_log_takes_only_the_entry_that_follows_its_head(engine: Engine, append_entries: Any) -> None:
    append_entries(2)
    with engine.connect() as connection:
        row = dict(connection.execute(select(audit_log).order_by(audit_log.c.seq.desc())).mappings().first() or {})
    for change in ({"seq": 9}, {"seq": 4, "previous_hash": "0" * 64}, {"seq": 0}):
        refused(engine, insert(audit_log).values(row | change))
    assert verify(engine).is_whole


@pytest.mark.parametrize(
    "change", ["role = 'admin'", "name = 'bob'", "id = 'x'", "created_at = '2001-01-01 00:00:00'", "revoked_at = NULL"]
)
@pytest.mark.parametrize("is_federated", [False, True])
def test_a_revoked_principal_stays_what_it_was(engine: Engine, change: str, is_federated: bool) -> None:
    if is_federated:
        assert federate(engine, issuer="https://idp", subject="ada", role=Role.CODER)
    else:
        create_key(engine, role="coder", name="idp/ada")
    revoke(engine, name="idp/ada")
    refused(engine, text(f"UPDATE principals SET {change}"))


def test_the_role_of_a_principal_that_holds_keys_stays(engine: Engine) -> None:
    create_key(engine, role="coder", name="ada")
    refused(engine, text("UPDATE principals SET role = 'admin'"))
    refused(engine, text("UPDATE principals SET issuer = 'https://idp'"))


@pytest.mark.parametrize(
    "change",
    [
        *("id = 'x'", "key_hash = 'x'", "scopes = NULL", "requests_per_minute = 9"),
        *("created_at = '2001-01-01 00:00:00'", "expires_at = NULL", "expires_at = '2999-01-01 00:00:00'"),
    ],
)
def test_a_key_is_never_good_for_more_than_it_was(engine: Engine, change: str) -> None:
    terms = KeyTerms(frozenset({Scope.READ}), timedelta(days=1), 5)
    create_key(engine, role="coder", name="ada", terms=terms)
    refused(engine, text(f"UPDATE keys SET {change}"))


def test_a_key_does_not_become_that_of_another(engine: Engine) -> None:
    for name in ("ada", "bob"):
        create_key(engine, role="coder", name=name)
    with engine.connect() as connection:
        digest, other = connection.execute(select(keys.c.key_hash)).scalars().all()
    verb = "UPDATE OR REPLACE" if engine.dialect.name == "sqlite" else "UPDATE"
    refused(engine, text(f"{verb} keys SET key_hash = '{digest}' WHERE key_hash = '{other}'"))
