"""Promotions on SQLite and PostgreSQL, against a real MLflow registry."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import DBAPIError

from clinical_coding.data_directory import DataDirectory
from clinical_coding.registered_version import MODEL_NAME
from feedback.errors import ConflictError, FeedbackError, ForbiddenError, InvalidError
from governance.history import PromotionKind
from governance.promotion import current_champion, list_promotions, promote, reconcile, rollback
from governance.registry import aliases_of, open_registry
from governance.tables import promotions
from governance.versions import resolve_default, resolve_version
from ledger.audit_log import audit_log

Register = Callable[..., int]


def alias(data_dir: Path) -> int | None:
    return aliases_of(open_registry(DataDirectory.locate(data_dir))).get("champion")


def move_alias(data_dir: Path, number: int | None) -> None:
    """Leave the alias as a crash, or a hand in MLflow, may leave it."""
    client = open_registry(DataDirectory.locate(data_dir))
    if number is not None:
        client.set_registered_model_alias(MODEL_NAME, "champion", str(number))
    elif alias(data_dir) is not None:
        client.delete_registered_model_alias(MODEL_NAME, "champion")


@pytest.fixture
def act(engine: Engine, data_dir: Path, make_principal: Any) -> Callable[..., Any]:
    """Promote or roll back as a reviewer."""
    reviewer = make_principal(name="rea")

    def go(call: Callable[..., Any], *reference: str, reason: str = "better on dev") -> Any:
        return call(engine, *reference, reason=reason, principal=reviewer, data_dir=data_dir)

    return go


def test_a_promotion_is_in_the_ledger_in_the_audit_log_and_in_mlflow(
    engine: Engine, data_dir: Path, register: Register, act: Any
) -> None:
    register("one")
    promotion = act(promote, "candidate", reason="  first version\n")
    bundle = resolve_version("1", data_dir=data_dir).version.bundle_sha256
    assert (promotion.seq, promotion.kind, promotion.version_number) == (1, "promote", 1)
    assert (promotion.bundle_sha256, promotion.previous_number) == (bundle, None)
    assert (promotion.reason, promotion.principal) == ("first version", "rea")
    assert abs((datetime.now(UTC) - promotion.at).total_seconds()) < 60
    assert current_champion(engine) == promotion
    assert list_promotions(engine) == [promotion]
    assert resolve_default(data_dir=data_dir).version.alias == "champion"
    with engine.connect() as connection:
        row = connection.execute(select(audit_log).order_by(audit_log.c.seq.desc()).limit(1)).one()
    assert (row.action, row.subject) == ("version-promoted", "version:1")
    entry = json.loads(row.entry)
    assert entry["principal_id"] == promotion.principal_id
    assert entry["details"] == {
        "seq": 1, "version_number": 1, "bundle_sha256": bundle, "previous_number": None, "reason": "first version",
    }  # fmt: skip


def test_a_rollback_undoes_the_last_promotion_once(
    data_dir: Path, register: Register, act: Any, engine: Engine
) -> None:
    for seed in ("one", "two", "three"):
        act(promote, str(register(seed)))
    back = act(rollback, reason="codes sepsis too often")
    assert (back.kind, back.version_number, back.previous_number) == (PromotionKind.ROLLBACK, 2, 3)
    assert alias(data_dir) == 2
    with pytest.raises(ConflictError, match="rolled back already, to version 2 by rea; to go further back, promote"):
        act(rollback)
    act(promote, "1")
    assert act(rollback).version_number == 2
    assert [row.version_number for row in list_promotions(engine)] == [2, 1, 2, 3, 2, 1]


def test_there_must_be_something_to_roll_back(register: Register, act: Any) -> None:
    with pytest.raises(ConflictError, match="no version was promoted yet"):
        act(rollback)
    register("one")
    act(promote, "1")
    with pytest.raises(ConflictError, match="version 1 is the first champion"):
        act(rollback)


def test_what_cannot_be_promoted_leaves_no_trace(
    engine: Engine, data_dir: Path, register: Register, act: Any, make_bundle: Callable[[str], Path]
) -> None:
    register("one")
    act(promote, "1")
    register("two")
    before = list_promotions(engine)
    with pytest.raises(ConflictError, match="version 1 is champion already, since"):
        act(promote, "champion")
    with pytest.raises(ValueError, match=r"'7' is not registered .* the numbers 1, 2"):
        act(promote, "7")
    with pytest.raises(InvalidError, match="is a bundle's folder; promote a registered version"):
        act(promote, str(make_bundle("aside")))
    for reason in ("", " \n", "x" * 2_001):
        with pytest.raises(InvalidError, match=r"reason has [\d,]+ characters; expected 1 to 2,000"):
            act(promote, "2", reason=reason)
        with pytest.raises(InvalidError, match="reason has"):
            act(rollback, reason=reason)
    folder = resolve_version("2", data_dir=data_dir).folder
    shutil.rmtree(folder)
    shutil.copytree(make_bundle("other"), folder)
    with pytest.raises(ValueError, match=r"registered was .*restore the artefacts"):
        act(promote, "2")
    assert list_promotions(engine) == before
    assert alias(data_dir) == 1


def test_a_rollback_to_a_bundle_that_changed_is_refused(
    engine: Engine, data_dir: Path, register: Register, act: Any, make_bundle: Callable[[str], Path]
) -> None:
    for seed in ("one", "two"):
        act(promote, str(register(seed)))
    first = resolve_version("1", data_dir=data_dir)
    shutil.rmtree(first.folder)
    shutil.copytree(make_bundle("other"), first.folder)
    with pytest.raises(ValueError, match="restore the artefacts"):
        act(rollback)
    # Whoever rewrites the registry's tag as well still meets the ledger.
    other = resolve_version(str(first.folder), data_dir=data_dir).version.bundle_sha256
    client = open_registry(DataDirectory.locate(data_dir))
    client.set_model_version_tag(MODEL_NAME, "1", "bundle_sha256", other)
    with pytest.raises(InvalidError, match=f"version 1 has bundle {other}, but was champion with"):
        act(rollback)
    champion = current_champion(engine)
    assert champion is not None
    assert champion.version_number == 2


@pytest.mark.parametrize("role", ["service", "coder", "supervisor"])
def test_only_reviewers_and_administrators_move_the_champion(
    engine: Engine, data_dir: Path, register: Register, make_principal: Any, role: str
) -> None:
    register("one")
    principal = make_principal(role)
    with pytest.raises(ForbiddenError, match=f"is a {role}; promoting and rolling back need a reviewer or admin"):
        promote(engine, "1", reason="mine", principal=principal, data_dir=data_dir)
    with pytest.raises(ForbiddenError, match=f"is a {role}"):
        rollback(engine, reason="mine", principal=principal, data_dir=data_dir)
    assert current_champion(engine) is None
    promote(engine, "1", reason="good", principal=make_principal("admin"), data_dir=data_dir)
    assert alias(data_dir) == 1


def test_a_crash_before_the_alias_moved_is_mended(engine: Engine, data_dir: Path, register: Register, act: Any) -> None:
    assert reconcile(engine, data_dir=data_dir) is None
    for seed in ("one", "two"):
        act(promote, str(register(seed)))
    move_alias(data_dir, 1)
    champion = reconcile(engine, data_dir=data_dir)
    assert champion is not None
    assert (champion.version_number, alias(data_dir)) == (2, 2)


def test_an_empty_ledger_leaves_the_alias_alone(engine: Engine, data_dir: Path, register: Register) -> None:
    move_alias(data_dir, register("one"))
    assert reconcile(engine, data_dir=data_dir) is None
    assert alias(data_dir) == 1


def test_a_promotion_stands_when_mlflow_does_not_follow(
    engine: Engine, data_dir: Path, register: Register, act: Any
) -> None:
    for seed in ("one", "two"):
        register(seed)
    act(promote, "2")
    open_registry(DataDirectory.locate(data_dir)).delete_model_version(MODEL_NAME, "2")
    with pytest.raises(ValueError, match=r"champion by promotion 1, cannot bear the alias .*; restore the version"):
        reconcile(engine, data_dir=data_dir)
    # A lost champion must not keep the next from taking its place.
    act(promote, "1")
    assert alias(data_dir) == 1


def test_concurrent_promotions_end_with_the_alias_on_the_last(
    engine: Engine, data_dir: Path, register: Register, act: Any
) -> None:
    numbers = [register(seed) for seed in ("one", "two", "three", "four")]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: act(promote, str(number)), numbers))
    history = list_promotions(engine)
    assert sorted(promotion.seq for promotion in done) == [1, 2, 3, 4]
    assert [row.previous_number for row in history] == [*(row.version_number for row in history[1:]), None]
    assert alias(data_dir) == history[0].version_number


def test_the_history_only_grows(engine: Engine, register: Register, act: Any) -> None:
    register("one")
    act(promote, "1")
    for statement in (delete(promotions), update(promotions).values(reason="another")):
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(statement)
    assert len(list_promotions(engine)) == 1


step = st.one_of(
    st.tuples(st.just("promote"), st.integers(1, 3)),
    st.tuples(st.just("rollback"), st.none()),
    st.tuples(st.just("stray alias"), st.one_of(st.none(), st.integers(1, 3))),
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, min_size=1, max_size=6))
def test_after_any_sequence_the_alias_is_the_last_row(
    engine: Engine, data_dir: Path, register: Register, act: Any, steps: list[tuple[str, int | None]]
) -> None:
    while not resolvable(data_dir):
        register(f"seed {datetime.now(UTC)}")
    # Rows are never removed, so each example goes on from the last one.
    for name, number in steps:
        before = list_promotions(engine)
        if name == "stray alias":
            move_alias(data_dir, number)
            reconcile(engine, data_dir=data_dir)
            expected = before[0].version_number if before else number
        else:
            expected = expect(name, number, champions=[(row.kind, row.version_number) for row in before[::-1]])
            try:
                act(*((promote, str(number)) if name == "promote" else (rollback,)))
                assert list_promotions(engine)[1:] == before
            except FeedbackError:
                assert list_promotions(engine) == before
                reconcile(engine, data_dir=data_dir)
                expected = before[0].version_number if before else alias(data_dir)
        history = list_promotions(engine)
        assert alias(data_dir) == expected
        if history:
            assert expected == history[0].version_number


def expect(name: str, number: int | None, *, champions: list[tuple[str, int]]) -> int | None:
    """The champion that a successful step must leave."""
    return number if name == "promote" else champions[-2][1] if len(champions) > 1 else None


def resolvable(data_dir: Path) -> bool:
    try:
        resolve_version("3", data_dir=data_dir)
    except ValueError:
        return False
    return True
