"""The audit commands as a person gives them."""

from pathlib import Path
from typing import Any

from sqlalchemy import text

from ledger.engine import ledger, writing


def tamper(data_dir: Path) -> None:
    with ledger(data_dir) as engine, writing(engine) as connection:
        connection.execute(text("DROP TRIGGER audit_log_no_update"))
        connection.execute(
            text("UPDATE audit_log SET entry = replace(entry, 'ann', 'eve') WHERE action = 'key-created'")
        )


def test_a_whole_log_is_told_with_its_head(chartloop: Any, tmp_path: Path) -> None:
    here = ("--data-dir", tmp_path)
    assert chartloop("keys", "create", "--role", "admin", "--name", "ann", *here).code == 0
    head = chartloop("audit", "head", *here).out.strip()
    told = chartloop("audit", "verify", "--anchor", head, *here)
    assert (told.code, told.out.splitlines()) == (0, ["whole: 2 entries, head", head])
    told = chartloop("audit", "verify", "--json", *here)
    expected = {"is_whole": True, "num_rows": 2, "head": head, "num_faults": 0, "faults": []}
    assert (told.code, told.json) == (0, expected)


def test_faults_are_told_with_their_place(chartloop: Any, tmp_path: Path) -> None:
    here = ("--data-dir", tmp_path)
    chartloop("keys", "create", "--role", "admin", "--name", "ann", *here)
    tamper(tmp_path)
    told = chartloop("audit", "verify", *here)
    assert told.code == 1
    assert "entry and hashes do not belong together" in told.out
    assert "1 faults in 2 entries" in told.out
    told = chartloop("audit", "verify", "--json", "--anchor", f"2:{'0' * 64}", *here)
    assert told.code == 1
    assert [(fault["seq"], fault["kind"]) for fault in told.json["faults"]] == [(2, "changed"), (2, "anchor")]


def test_an_anchor_that_is_none_is_refused(chartloop: Any, tmp_path: Path) -> None:
    told = chartloop("audit", "verify", "--anchor", "7", "--data-dir", tmp_path)
    assert told.code == 2
    assert "anchor '7' is not SEQ:HASH; give what chartloop audit head printed" in told.err


def test_entries_are_listed_with_who_did_what(chartloop: Any, tmp_path: Path) -> None:
    here = ("--data-dir", tmp_path)
    key = chartloop("keys", "create", "--role", "admin", "--name", "ann", *here).out.splitlines()[-1]
    assert chartloop("keys", "create", "--role", "coder", "--name", "bob", "--key", key, *here).code == 0
    told = chartloop("audit", "list", "--json", "--limit", 1, *here)
    assert (told.json["principal"], told.json["role"], told.json["action"]) == ("ann", "admin", "key-created")
    assert told.json["details"].items() >= {"name": "bob", "role": "coder"}.items()
    subject = told.json["subject"]
    told = chartloop("audit", "list", "--subject", subject, "--action", "key-created", *here)
    assert told.code == 0
    assert subject in told.out and told.out.count("key-created") == 1


def test_a_replaced_key_is_printed_and_the_old_one_refused(chartloop: Any, tmp_path: Path) -> None:
    here = ("--data-dir", tmp_path)
    old = chartloop("keys", "create", "--role", "admin", "--name", "ann", *here).out.splitlines()[-1]
    new = chartloop("keys", "replace", "--name", "ann", "--key", old, *here).out.splitlines()[-1]
    assert chartloop("audit", "purge", "--before", "2026-01-01", "--key", new, *here).code == 0
    told = chartloop("audit", "purge", "--before", "2026-01-01", "--key", old, *here)
    assert told.code == 2
    assert "the key is unknown or revoked" in told.err


def test_purging_is_for_admins(chartloop: Any, tmp_path: Path) -> None:
    here = ("--data-dir", tmp_path)
    key = chartloop("keys", "create", "--role", "admin", "--name", "ann", *here).out.splitlines()[-1]
    told = chartloop("audit", "purge", "--before", "2026-01-01", "--key", key, *here)
    assert (told.code, told.out.strip()) == (0, "the content of 0 suggestions was deleted")
    told = chartloop("audit", "purge", "--before", "2026-01-01", *here)
    assert told.code == 2
    assert "role 'coder' may not purge; use the key of an admin" in told.err
