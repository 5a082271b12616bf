from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from ledger import engine as engine_module
from ledger.audit_log import entries
from ledger.audit_verify import verify
from ledger.engine import migrate, open_engine, writing
from ledger.federation import federate, note_token_use
from ledger.keys import KeyTerms, Scope, hash_key
from ledger.principals import (
    Role,
    authenticate,
    create_key,
    find_key,
    list_principals,
    replace_key,
    revoke,
    rotate_key,
)


def test_a_key_says_what_it_is_for(engine: Engine) -> None:
    terms = KeyTerms.checked(scopes=["suggest", "read"], lifetime=timedelta(days=90), requests_per_minute=30)
    held = find_key(engine, create_key(engine, role="service", name="ehr", terms=terms))
    assert held is not None and held.expires_at is not None
    assert (held.scopes, held.requests_per_minute) == ({Scope.SUGGEST, Scope.READ}, 30)
    assert abs((held.expires_at - datetime.now(UTC)) - timedelta(days=90)) < timedelta(minutes=1)
    details = entries(engine, action="key-created", limit=1)[0]["details"]
    assert details["scopes"] == ["read", "suggest"] and details["key_id"] == held.id
    plain = find_key(engine, create_key(engine, role="service", name="all"))
    assert plain is not None and (plain.scopes, plain.expires_at, plain.requests_per_minute) == (None, None, None)


def test_a_key_that_has_expired_is_none(engine: Engine) -> None:
    key = create_key(engine, role="coder", name="ada", terms=KeyTerms(lifetime=timedelta(microseconds=1)))
    assert authenticate(engine, key) is None


def test_after_a_rotation_both_keys_work_until_the_overlap_ends(engine: Engine) -> None:
    terms = KeyTerms(frozenset({Scope.READ}), timedelta(days=90), 7)
    old = create_key(engine, role="coder", name="ada", terms=terms)
    new = rotate_key(engine, name="ada", overlap=timedelta(hours=24))
    before, after = find_key(engine, old), find_key(engine, new)
    assert before is not None and after is not None and before.principal == after.principal
    assert before.expires_at is not None and after.expires_at is not None
    assert before.expires_at - datetime.now(UTC) <= timedelta(hours=24)
    assert after.expires_at - datetime.now(UTC) > timedelta(days=89)
    assert (after.scopes, after.requests_per_minute) == (terms.scopes, 7)
    third = rotate_key(engine, name="ada", overlap=timedelta(microseconds=1))
    assert [authenticate(engine, key) is None for key in (old, new, third)] == [True, True, False]
    told = [entry["action"] for entry in entries(engine, action="key-rotated", limit=9)]
    assert told == ["key-rotated"] * 2 and verify(engine).is_whole


def test_an_overlap_prolongs_no_key(engine: Engine) -> None:
    old = create_key(engine, role="coder", name="ada", terms=KeyTerms(lifetime=timedelta(hours=1)))
    rotate_key(engine, name="ada", overlap=timedelta(days=30), lifetime=timedelta(days=90))
    held = find_key(engine, old)
    assert held is not None and held.expires_at is not None
    assert held.expires_at - datetime.now(UTC) <= timedelta(hours=1)


def test_replacing_and_revoking_end_every_key(engine: Engine) -> None:
    given = [create_key(engine, role="coder", name="ada"), rotate_key(engine, name="ada", overlap=timedelta(days=1))]
    last = replace_key(engine, name="ada")
    assert all(authenticate(engine, key) is None for key in given) and authenticate(engine, last) is not None
    rotate_key(engine, name="ada", overlap=timedelta(days=1))
    revoke(engine, name="ada")
    assert authenticate(engine, last) is None


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"scopes": ["everything"]}, "scope 'everything' is not a scope; choose of suggest"),
        ({"lifetime": timedelta(0)}, "in the future"),
        ({"requests_per_minute": 0}, "choose from 1"),
    ],
)
def test_terms_that_make_no_sense_are_refused(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        KeyTerms.checked(**({"scopes": [], "lifetime": None, "requests_per_minute": None} | asked))


def test_an_overlap_has_an_end(engine: Engine) -> None:
    create_key(engine, role="coder", name="ada")
    with pytest.raises(ValueError, match="overlap must be between 0 and 90 days"):
        rotate_key(engine, name="ada", overlap=timedelta(days=91))


def test_an_issuer_makes_a_principal_once_and_may_change_its_role(engine: Engine) -> None:
    first = federate(engine, issuer="https://idp.example/x", subject="ada", role=Role.CODER)
    again = federate(engine, issuer="https://idp.example/x", subject="ada", role=Role.CODER)
    assert first is not None and first == again and first.name == "idp.example/ada"
    raised = federate(engine, issuer="https://idp.example/x", subject="ada", role=Role.SUPERVISOR)
    assert raised is not None and (raised.id, raised.role) == (first.id, Role.SUPERVISOR)
    assert list_principals(engine) == (raised,)
    told = entries(engine, subject=f"principal:{first.id}", limit=9)
    assert [entry["action"] for entry in told] == ["principal-role-changed", "principal-federated"]
    assert told[0]["details"]["previous_role"] == "coder"


def test_an_issuer_has_no_say_over_the_principals_of_others(engine: Engine) -> None:
    create_key(engine, role="coder", name="idp.example/ada")
    assert federate(engine, issuer="https://idp.example", subject="ada", role=Role.ADMIN) is None
    assert federate(engine, issuer="https://idp.example/a", subject="bob", role=Role.ADMIN) is not None
    assert federate(engine, issuer="https://idp.example/b", subject="bob", role=Role.ADMIN) is None
    revoke(engine, name="idp.example/bob")
    assert federate(engine, issuer="https://idp.example/a", subject="bob", role=Role.CODER) is None
    with pytest.raises(ValueError, match="that holds keys"):
        rotate_key(engine, name="idp.example/bob", overlap=timedelta(0))


def test_a_long_subject_gets_a_name_of_its_own(engine: Engine) -> None:
    people = [federate(engine, issuer="https://idp", subject="x" * 200 + end, role=Role.CODER) for end in "ab"]
    assert len({person.name for person in people if person is not None}) == 2


def test_a_token_is_used_once_until_it_expires(engine: Engine) -> None:
    now = datetime.now(UTC)

    def note(token_id: str, *, seconds: float) -> bool:
        expires_at = now + timedelta(seconds=seconds)
        return note_token_use(engine, issuer="i", token_id=token_id, expires_at=expires_at)

    assert note("old", seconds=-5)
    assert note("new", seconds=60) and not note("new", seconds=60)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM token_uses")).scalar_one() == 1


def test_a_database_of_before_keeps_its_principals_and_their_keys(empty_database_url: str) -> None:
    key, at = "cl_of_before", "2026-01-01 00:00:00+00:00"
    engine = open_engine(empty_database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(engine_module.__file__).parent / "migrations"))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.execute(
            text(
                f"INSERT INTO principals (id, name, role, key_hash, created_at) VALUES ('p', 'a', 'coder', :h, '{at}')"
            ),
            {"h": hash_key(key)},
        )
        connection.execute(
            text(
                "INSERT INTO suggestions (id, principal_id, stored_at, record_id, specialty, setting, route, "
                f"bundle_sha256, content_sha256) VALUES ('s', 'p', '{at}', 'r', 'x', 'inpatient', 'manual', 'b', 'c')"
            )
        )
    migrate(engine)
    principal = authenticate(engine, key)
    assert principal is not None and (principal.id, principal.name) == ("p", "a")
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(text("DELETE FROM principals"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT principal_id FROM suggestions")).scalar_one() == "p"
        if engine.dialect.name == "sqlite":
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    revoke(engine, name="a")
    assert authenticate(engine, key) is None
    engine.dispose()
