from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from clinical_coding.codes import CodeState
from clinical_coding.records import CodedRecord, Unlisted

Make = Callable[..., CodedRecord]


def codes(**changes: Any) -> list[dict[str, Any]]:
    return [{"system": "icd10cm", "code": "I21.4"} | changes]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"notes": []}, "notes"),
        ({"notes": [{"note_id": "n1", "text": ""}]}, "text"),
        ({"notes": [{"note_id": "n1", "text": " \n\t"}]}, "text must hold more than white space"),
        ({"notes": [{"note_id": "n1", "text": "a"}, {"note_id": "n1", "text": "b"}]}, "distinct note_id"),
        ({"codes": codes(evidence=[{"note_id": "n9", "start": 0, "end": 2}])}, "note_id 'n9', which is not on"),
        ({"codes": codes(evidence=[{"note_id": "n1", "start": 0, "end": 999}])}, "out of range: .* 63 characters"),
        ({"codes": codes() + codes()}, "must not repeat"),
        ({"encounter": {"setting": "inpatient"}}, "specialty"),
        ({"encounter": {"setting": "ward", "specialty": "urology"}}, "setting"),
        ({"record_id": ""}, "record_id"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_records_are_refused_by_field(make_record: Make, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_record(**changes)


def test_service_dates_are_in_order(make_record: Make) -> None:
    encounter = {"setting": "inpatient", "specialty": "urology", "service_start": "2026-05-04"}
    assert make_record(encounter=encounter | {"service_end": "2026-05-04"}).encounter.service_end is not None
    with pytest.raises(ValidationError, match="service_end must not be before"):
        make_record(encounter=encounter | {"service_end": "2026-05-03"})


def test_evidence_may_reach_the_end_of_the_note(make_record: Make) -> None:
    record = make_record(codes=codes(evidence=[{"note_id": "n1", "start": 0, "end": 63}]))
    assert record.codes[0].evidence[0].end == len(record.notes[0].text)


def test_one_code_may_stand_twice_with_other_modifiers(make_record: Make) -> None:
    twice = [{"system": "cpt", "code": "99214", "modifiers": modifiers} for modifiers in (["25"], ["95"])]
    assert make_record(codes=twice).keys() == {"cpt:99214"}


def test_keys_are_told_apart_by_state(make_record: Make) -> None:
    record = make_record(codes=codes() + codes(code="I10", state="negative") + codes(code="E11.9", state="unknown"))
    assert record.keys() == {"icd10cm:I21.4"}
    assert record.keys(CodeState.NEGATIVE) == {"icd10cm:I10"}
    assert record.keys(CodeState.UNKNOWN) == {"icd10cm:E11.9"}


def test_records_do_not_change(make_record: Make) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_record().record_id = "r2"  # type: ignore[misc]


def test_a_record_is_complete_unless_it_says_otherwise(make_record: Make) -> None:
    assert make_record().unlisted is Unlisted.ABSENT
    partial = make_record(unlisted="unknown")
    assert CodedRecord.model_validate_json(partial.model_dump_json()) == partial
    with pytest.raises(ValidationError, match="unlisted"):
        make_record(unlisted="maybe")
