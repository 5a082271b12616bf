from datetime import date
from typing import Any

import pytest

from clinical_coding.code_library import load_icd10cm
from clinical_coding.code_systems import CodeSystems, ReleasedSystem, Standing
from clinical_coding.codes import CodeSystem
from clinical_coding.procedure_words import WORDS

Official = Any

CM = CodeSystem.ICD10CM
BEFORE, DURING, AFTER = date(2026, 3, 31), date(2026, 4, 1), date(2026, 11, 1)
NEW = [("I21", 0, "Heart attack"), ("I214", 0, "NSTEMI"), ("I2141", 1, "Finer NSTEMI"), ("I2199", 1, "A new code")]


def test_the_embedded_release_judges_alone() -> None:
    systems = CodeSystems.embedded()
    assert systems is CodeSystems.embedded()
    assert [(one.name, str(one.effective_to)) for one in systems.releases()] == [("2026-04", "2026-09-30")]
    assert systems.icd10cm(AFTER) is load_icd10cm()
    stands = [systems.standing(CM, code, DURING) for code in ("I21.4", "I21", "I21.45")]
    assert stands == [Standing.VALID, Standing.NOT_A_LEAF, Standing.UNKNOWN]
    assert systems.standing(CodeSystem.CPT, "99214", DURING) is Standing.NOT_HELD
    assert systems.changed_since(CM, date(2020, 1, 1)) == frozenset()
    assert systems.pair_edits(DURING) is systems.unit_limits(DURING) is systems.drg_weights(DURING) is None


def test_a_day_that_no_release_covers_is_judged_by_the_nearest() -> None:
    systems = CodeSystems.embedded()
    for day, in_force in ((BEFORE, None), (DURING, "2026-04"), (date(2026, 9, 30), "2026-04"), (AFTER, None)):
        release = systems.in_force(CM, day)
        assert (release and release.name) == in_force, day
        judging = systems.judging(CM, day)
        assert judging is not None and judging.name == "2026-04"
        assert systems.standing(CM, "I21.4", day) is Standing.VALID
    newest = systems.in_force(CM, None)
    assert newest is not None and newest.name == "2026-04"
    assert systems.in_force(CodeSystem.CPT, None) is systems.judging(CodeSystem.CPT) is None


@pytest.fixture
def systems(official: Official) -> CodeSystems:
    official.import_("icd10cm", official.order("icd10cm_order_2027.txt", NEW), start="2026-10-01")
    held: CodeSystems = official.systems()
    return held


@pytest.mark.parametrize(
    ("code", "on", "standing"),
    [
        ("I21.4", DURING, Standing.VALID),
        ("I21.4", AFTER, Standing.NOT_A_LEAF),
        ("I21.41", DURING, Standing.NOT_YET),
        ("I21.41", AFTER, Standing.VALID),
        ("I21.41", None, Standing.VALID),
        ("J45.909", AFTER, Standing.DELETED),
        ("J45.909", None, Standing.DELETED),
        ("J45", AFTER, Standing.DELETED),
        ("I21.77", DURING, Standing.UNKNOWN),
    ],
)
def test_codes_are_judged_by_the_release_of_the_day(
    systems: CodeSystems, code: str, on: date | None, standing: Standing
) -> None:
    assert systems.standing(CM, code, on) is standing


def test_words_are_those_of_the_day_else_of_the_newest_release_that_has_any(systems: CodeSystems) -> None:
    assert systems.describe(CM, "I21", DURING) == "Acute myocardial infarction"
    assert systems.describe(CM, "I21", AFTER) == systems.describe(CM, "I21") == "Heart attack"
    assert systems.describe(CM, "J45.909", AFTER) == "Unspecified asthma, uncomplicated"
    assert systems.describe(CM, "I21.41", DURING) == "Finer NSTEMI"
    assert systems.describe(CM, "I21.77") is None
    (system, code), words = next(iter(WORDS.items()))
    assert systems.describe(system, code) == words


def test_one_release_can_be_asked_alone(systems: CodeSystems) -> None:
    old = systems.named(CM, "2026-04")
    assert old is not None and systems.named(CM, "2025-10") is None
    assert systems.standing_in(old, "I21.41") is Standing.UNKNOWN
    assert systems.library(old).is_valid("J45.909")


def test_an_imported_release_of_the_embedded_name_takes_its_place(official: Official) -> None:
    official.import_("icd10cm", official.order("order.txt", NEW), start="2026-04-01", end="2026-09-30")
    systems = official.systems()
    assert [release.counts["codes"] for release in systems.releases(CM)] == [2]
    assert systems.standing(CM, "J45.909", DURING) is Standing.UNKNOWN


def test_changes_count_from_the_day_of_the_release_that_made_them(systems: CodeSystems) -> None:
    changed = systems.changed_since(CM, date(2026, 10, 1))
    assert {"I21.41", "J45.909", "I21"} <= changed
    assert systems.changed_since(CM, date(2026, 10, 2)) == frozenset()


def test_values_of_code_systems_are_those_of_released_systems() -> None:
    assert {system.value for system in CodeSystem} < {system.value for system in ReleasedSystem}
