"""Which code moves the DRG, and what is said of it."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from drgpy.msdrg import DRGEngine

from clinical_coding.grouping import CodeEffect, CodeRole, ComplicationLevel, Grouping, NotCounted
from clinical_coding.grouping.grouper import Stay, load_grouper

GroupStay = Callable[..., Grouping]


def effect(grouping: Grouping, code: str) -> CodeEffect:
    return next(effect for effect in grouping.effects if effect.key.endswith(f":{code}"))


def test_the_code_that_moves_the_drg_is_named(group_stay: GroupStay) -> None:
    grouping = group_stay("J18.9 J96.01 I10")
    failure = effect(grouping, "J96.01")
    assert (failure.role, failure.level, failure.not_counted) == (CodeRole.SECONDARY, ComplicationLevel.MCC, None)
    assert failure.drg_without == "195"
    assert failure.explanation == "MCC; without it the DRG would be 195 instead of 193"
    assert effect(grouping, "I10").explanation == "neither CC nor MCC; the DRG is 193 without it too"
    principal = grouping.effects[0]
    assert (principal.role, principal.drg_without) == (CodeRole.PRINCIPAL, None)
    assert principal.explanation == "principal diagnosis; medical DRG 193 of major diagnostic category 04"


@pytest.mark.parametrize(
    ("diagnoses", "code", "explanation"),
    [
        ("J18.9 J96.01 N17.9", "N17.9", "CC; the DRG is 193 without it too, since J96.01 carries at least as much"),
        (
            "J18.9 J96.01 I50.23 N17.9",
            "J96.01",
            "MCC; the DRG is 193 without it too, since I50.23 carries at least as much",
        ),
        (
            "J18.9 J96.01 I50.23 G93.41 E43 N17.9",
            "N17.9",
            "CC; the DRG is 193 without it too, since J96.01 and I50.23 and 2 more carry at least as much",
        ),
        ("R07.9 J96.01 I50.23", "J96.01", "MCC; the DRG is 313 without it too"),
    ],
)
def test_a_code_that_does_not_move_it_says_why(
    diagnoses: str, code: str, explanation: str, group_stay: GroupStay
) -> None:
    found = effect(group_stay(diagnoses), code)
    assert (found.drg_without, found.explanation) == (None, explanation)


@pytest.mark.parametrize(
    ("diagnoses", "told", "code", "reason", "words"),
    [
        ("J44.1 J96.01 J44.0", {}, "J44.0", NotCounted.EXCLUDED_BY_PRINCIPAL, "beside the principal diagnosis J44.1"),
        ("I21.4 I46.9", {"discharge_status": "20"}, "I46.9", NotCounted.DIED, "only for a patient who left alive"),
        ("J18.9 L89.153", {"present": {"L89.153": "N"}}, "L89.153", NotCounted.HOSPITAL_ACQUIRED, "not present on"),
        ("J18.9 L89.153", {"present": {"L89.153": "U"}}, "L89.153", NotCounted.HOSPITAL_ACQUIRED, "not present on"),
        ("B20 B59", {}, "B59", NotCounted.EXCLUDED_BY_DRG, "in DRG 976, which stands for the condition"),
    ],
)
def test_a_level_that_does_not_count_says_why(
    diagnoses: str, told: Any, code: str, reason: NotCounted, words: str, group_stay: GroupStay
) -> None:
    found = effect(group_stay(diagnoses, **told), code)
    assert found.level is not ComplicationLevel.NONE
    assert found.not_counted is reason
    assert words in found.explanation


@pytest.mark.parametrize("indicator", ["Y", "W", "1", None])
def test_a_condition_that_was_there_counts(indicator: str | None, group_stay: GroupStay) -> None:
    grouping = group_stay("J18.9 L89.153", present={"L89.153": indicator})
    assert (grouping.drg, effect(grouping, "L89.153").not_counted) == ("193", None)


def test_a_condition_after_operations_counts_where_there_was_none(group_stay: GroupStay) -> None:
    thrombosis = {"I82.402": "N"}
    for procedures in ("", "5A1D70Z"):
        grouping = group_stay("N17.9 I82.402", procedures, present=thrombosis)
        assert (grouping.drg, grouping.remarks) == ("683", ())
    after = group_stay("M17.12 I82.402", "0SRD0J9", present=thrombosis)
    assert effect(after, "I82.402").not_counted is NotCounted.HOSPITAL_ACQUIRED
    assert after.remarks == ()
    embolism = group_stay("M17.12 I26.99", "0SRD0J9", present={"I26.99": "N"})
    assert embolism.drg == "470"
    assert "I26.99 is taken not to count, as hospital-acquired condition 10" in embolism.remarks[0]
    assert "if none of them is coded, the DRG is 469" in embolism.remarks[0]


@pytest.mark.parametrize(
    ("diagnoses", "procedures"),
    [
        ("J18.9 J96.01 N17.9 I10", "5A1935Z"),
        ("I21.4 N17.9 E11.65", "027034Z 4A023N7"),
        ("O34.211 O72.1 Z37.0 Z3A.39", "10D00Z1"),
        ("A41.9 R65.21 J96.01 N17.9", "5A1955Z 0BH17EZ"),
    ],
)
def test_the_drg_without_a_code_is_that_of_the_other_codes(
    diagnoses: str, procedures: str, group_stay: GroupStay
) -> None:
    grouping = group_stay(diagnoses, procedures)
    moved = 0
    for found in grouping.effects[1:]:
        code = found.key.partition(":")[2]
        others = [" ".join(one for one in text.split() if one != code) for text in (diagnoses, procedures)]
        assert group_stay(*others).drg == (found.drg_without or grouping.drg)
        moved += found.drg_without is not None
    assert moved


def test_a_procedure_moves_the_drg(group_stay: GroupStay) -> None:
    grouping = group_stay("J18.9 J96.01", "5A1935Z 0BH17EZ")
    ventilation = effect(grouping, "5A1935Z")
    assert (grouping.drg, ventilation.role, ventilation.drg_without) == ("208", CodeRole.PROCEDURE, "193")
    assert ventilation.explanation == "procedure; without it the DRG would be 193 instead of 208"
    assert effect(grouping, "0BH17EZ").drg_without is None
    assert grouping.kind == "medical"


def test_a_diagnosis_may_move_the_drg_without_being_a_complication(group_stay: GroupStay) -> None:
    found = effect(group_stay("O34.211 Z37.0", "10D00Z1"), "Z37.0")
    assert found.level is ComplicationLevel.NONE
    assert found.explanation.startswith("neither CC nor MCC; ")


def test_levels_that_count_are_those_that_the_grouper_counts() -> None:
    """On drawn stays, our reasons not to count leave what the package itself counted."""
    engine, grouper, draw = DRGEngine(version="v43.1"), load_grouper("v43.1"), random.Random(7)
    ranked, principals = sorted(engine.ccmap), sorted(engine.dxmap)
    num_not_counted = 0
    for _ in range(150):
        secondaries = tuple(dict.fromkeys(draw.choices(ranked, k=12)))
        stay = Stay(
            principal=draw.choice(principals),
            secondaries=secondaries,
            procedures=(),
            sex=draw.choice(("F", "M")),
            discharge_status=draw.choice(("01", "20")),
            present_on_admission={code: draw.choice("YNUW") for code in secondaries},
        )
        drg = grouper.assign(stay)
        features = engine.get_features(
            [stay.principal, *stay.secondaries],
            [],
            stay.sex,
            stay.discharge_status != "20",
            dict(stay.present_on_admission),
            stay.discharge_status,
            engine.drg_exclusions.get(drg),
        )
        counted = [code for code in secondaries if code != stay.principal]
        reasons = {code: grouper.not_counted(code, stay, drg=drg) for code in counted}
        num_not_counted += sum(reason is not None for reason in reasons.values())
        for level in (ComplicationLevel.CC, ComplicationLevel.MCC):
            ours = [code for code in counted if grouper.level(code) is level and reasons[code] is None]
            assert len(ours) == features[f"_{level.upper()}"]
    assert num_not_counted > 50


def test_grouping_unknown_codes_leaves_the_tables_as_they_are() -> None:
    engine = DRGEngine(version="v43.1")
    before = len(engine.dxmap), len(engine.prmap)
    from clinical_coding.grouping.grouper import Grouper

    stay = Stay("J189", ("X9999", "V4352XA"), ("0000000",), "F", "01", {})
    assert Grouper(engine).assign(stay) == "195"
    assert (len(engine.dxmap), len(engine.prmap)) == before
