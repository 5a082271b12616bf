from collections.abc import Callable
from itertools import count

import pytest
from sqlalchemy import Connection, Engine, Executable, text

from clinical_coding.artefact import new_id
from clinical_coding.records import Encounter, Note, Setting
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from ledger.audit_log import append
from ledger.engine import writing
from ledger.group_commit import write
from ledger.principals import Principal, authenticate, create_key
from ledger.suggestions import store

Append = Callable[[int], None]
Store = Callable[[str], str]
Tamper = Callable[..., None]


@pytest.fixture
def tamper(engine: Engine) -> Tamper:
    """Run statements with the guards of a table taken away, as whoever owns the database can."""

    def run(table: str, *statements: Executable) -> None:
        with writing(engine) as connection:
            _drop_triggers(connection, table)
            for statement in statements:
                connection.execute(statement)

    return run


def _drop_triggers(connection: Connection, table: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        return
    of_table = text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table")
    for name in connection.scalars(of_table, {"table": table}).all():
        connection.execute(text(f"DROP TRIGGER {name}"))


@pytest.fixture
def admin(engine: Engine) -> Principal:
    principal = authenticate(engine, create_key(engine, role="admin", name="Zoë"))
    assert principal is not None
    return principal


@pytest.fixture
def append_entries(engine: Engine, admin: Principal) -> Append:
    """Append some entries of their own subjects."""
    numbers = count(1)

    def add(num_entries: int) -> None:
        def work(connection: Connection) -> None:
            for _ in range(num_entries):
                subject = f"thing:{next(numbers)}"
                append(connection, principal=admin, action="tried", subject=subject, details={"naïve": 0.1})

        write(engine, work)

    return add


@pytest.fixture
def store_suggestion(engine: Engine, admin: Principal) -> Store:
    """Store a suggestion about a note; gives its id."""

    def add(note: str) -> str:
        request = SuggestionRequest(
            record_id="r1",
            encounter=Encounter(setting=Setting.OUTPATIENT, specialty="family-medicine"),
            notes=(Note(note_id="n1", text=note),),
        )
        code = {"system": "icd10cm", "code": "I10", "description": None, "confidence": 0.9, "rank": 1}
        suggestion = Suggestion.model_validate(
            {
                "suggestion_id": new_id(),
                "version": {"name": "tiny", "number": 1, "alias": None, "bundle_sha256": "0" * 64},
                "route": {"decision": "manual", "rules": ["no-thresholds"], "record_confidence": 0.5},
                "degraded": False,
                "codes": [code | {"evidence": [], "alternatives": []}],
                "trace_id": "0" * 32,
            }
        )
        write(engine, lambda connection: store(connection, request, suggestion, principal=admin))
        return suggestion.suggestion_id

    return add
