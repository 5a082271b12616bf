import json
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from ledger.audit_log import audit_log
from ledger.engine import migrate, open_engine
from ledger.keys import keys as stored_keys
from ledger.local_key import ensure_local_key, write_key_file
from ledger.principals import (
    Role,
    authenticate,
    create_key,
    list_principals,
    principals,
    replace_key,
    revoke,
)


@pytest.mark.parametrize("role", list(Role))
def test_a_key_names_its_principal(engine: Engine, role: Role) -> None:
    key = create_key(engine, role=role, name="ada")
    principal = authenticate(engine, key)
    assert principal is not None
    assert (principal.name, principal.role, principal.revoked_at) == ("ada", role, None)
    assert abs((datetime.now(UTC) - principal.created_at).total_seconds()) < 60
    assert list_principals(engine) == (principal,)


def test_keys_are_256_random_bits_and_stored_only_as_a_hash(engine: Engine) -> None:
    keys = {create_key(engine, role="coder", name=f"c{number}") for number in range(5)}
    assert len(keys) == 5
    assert all(key.startswith("cl_") and len(key) == 3 + 43 for key in keys)
    with engine.connect() as connection:
        stored = str(connection.execute(select(stored_keys)).all()) + str(connection.execute(select(principals)).all())
    assert not any(key in stored or key[3:] in stored for key in keys)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(guess=st.text(max_size=80))
def test_no_other_text_is_a_key(engine: Engine, guess: str) -> None:
    if not list_principals(engine):
        create_key(engine, role="admin", name="root")
    assert authenticate(engine, guess) is None


def test_a_key_cut_or_changed_is_none(engine: Engine) -> None:
    key = create_key(engine, role="coder", name="ada")
    assert authenticate(engine, key[:-1]) is None
    assert authenticate(engine, key.swapcase()) is None
    assert authenticate(engine, f" {key}") is None


def test_revoking_ends_a_key_for_good(engine: Engine) -> None:
    key = create_key(engine, role="coder", name="ada")
    other = create_key(engine, role="coder", name="bob")
    revoke(engine, name="ada")
    first = list_principals(engine)[0].revoked_at
    revoke(engine, name="ada")
    assert authenticate(engine, key) is None
    assert authenticate(engine, other) is not None
    assert first is not None and list_principals(engine)[0].revoked_at == first
    with pytest.raises(ValueError, match="is taken, perhaps by a revoked principal"):
        create_key(engine, role="coder", name="ada")
    with pytest.raises(ValueError, match="not revoked"):
        replace_key(engine, name="ada")


def test_a_replaced_key_keeps_the_principal(engine: Engine) -> None:
    old = create_key(engine, role="coder", name="ada")
    before = authenticate(engine, old)
    new = replace_key(engine, name="ada")
    assert authenticate(engine, old) is None
    assert authenticate(engine, new) == before


@pytest.mark.parametrize(
    ("role", "name", "message"),
    [
        ("doctor", "ada", "role 'doctor' is not a role; choose one of service, coder"),
        ("coder", "  ", "name must hold 1 to 128"),
        ("coder", "x" * 129, "name must hold 1 to 128"),
        ("coder", "a\nb", "name must hold 1 to 128"),
    ],
)
def test_bad_principals_are_refused(engine: Engine, role: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_key(engine, role=role, name=name)
    assert list_principals(engine) == ()


def test_revoking_nobody_says_so(engine: Engine) -> None:
    with pytest.raises(ValueError, match="no principal 'ada'"):
        revoke(engine, name="ada")


def test_key_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "a.key"
    write_key_file(path, "cl_one")
    write_key_file(path, "cl_two")
    assert path.read_text() == "cl_two\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_the_local_key_is_made_once_and_healed_when_lost(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "local.key"
    assert ensure_local_key(engine, path)
    first = path.read_text()
    assert ensure_local_key(engine, path)
    assert path.read_text() == first
    path.unlink()
    assert ensure_local_key(engine, path)
    assert authenticate(engine, first.strip()) is None
    principal = authenticate(engine, path.read_text().strip())
    assert principal is not None and principal.role is Role.CODER
    assert re.fullmatch("local" if engine.dialect.name == "sqlite" else "local-[0-9a-f]{8}", principal.name)
    assert list_principals(engine) == (principal,)


def test_a_revoked_local_key_stays_revoked(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "local.key"
    ensure_local_key(engine, path)
    revoke(engine, name=list_principals(engine)[0].name)
    assert not ensure_local_key(engine, path)
    assert authenticate(engine, path.read_text().strip()) is None


def test_threads_that_find_no_local_key_end_with_one_that_works(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "local.key"
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: ensure_local_key(engine, path), range(8)))
    principal = authenticate(engine, path.read_text().strip())
    assert list_principals(engine) == (principal,)
    assert [entry["action"] for entry in entries(engine)] == ["key-created"]


def test_two_data_directories_on_one_postgresql_leave_each_other_their_keys(postgres_url: str, tmp_path: Path) -> None:
    engine = open_engine(postgres_url)
    paths = [tmp_path / name / "keys" / "local.key" for name in ("a", "b")]
    try:
        migrate(engine)
        for path in (*paths, *paths):
            assert ensure_local_key(engine, path)
        holders = {authenticate(engine, path.read_text().strip()) for path in paths}
    finally:
        engine.dispose()
    assert len(holders) == 2 and None not in holders


def test_what_is_done_to_keys_is_logged_with_who_did_it(engine: Engine) -> None:
    root = authenticate(engine, create_key(engine, role="admin", name="root"))
    assert root is not None
    ada = authenticate(engine, create_key(engine, role="coder", name="ada", acting=root))
    assert ada is not None
    replace_key(engine, name="ada", acting=root)
    for _ in range(2):
        revoke(engine, name="ada", acting=root)
    with pytest.raises(ValueError, match="is taken"):
        create_key(engine, role="coder", name="ada", acting=root)
    told = [(entry["principal"], entry["action"], entry["subject"]) for entry in entries(engine)]
    assert told == [
        ("root", "key-created", f"principal:{root.id}"),
        ("root", "key-created", f"principal:{ada.id}"),
        ("root", "key-replaced", f"principal:{ada.id}"),
        ("root", "key-revoked", f"principal:{ada.id}"),
    ]
    details = entries(engine)[1]["details"]
    assert details.pop("key_id") and details == {"name": "ada", "role": "coder"}


def test_the_audit_log_holds_no_key_and_no_hash_of_one(engine: Engine) -> None:
    key = create_key(engine, role="coder", name="ada")
    with engine.connect() as connection:
        digest = connection.execute(select(stored_keys.c.key_hash)).scalar_one()
    assert key not in str(entries(engine)) and digest not in str(entries(engine))


def entries(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [json.loads(entry) for entry in connection.scalars(select(audit_log.c.entry).order_by(audit_log.c.seq))]
