from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clinical_coding.evaluation_set import EvaluatedRecord, evaluation_set_sha256
from clinical_coding.manifest import hash_patients
from clinical_coding.records import CodedRecord, Unlisted

Make = Callable[..., CodedRecord]
GOLDEN = Path(__file__).parents[1] / "golden"

codes = st.lists(
    st.fixed_dictionaries(
        {
            "system": st.just("icd10cm"),
            "code": st.sampled_from(["I10", "E11.9", "J18.9"]),
            "state": st.sampled_from(["positive", "negative", "unknown"]),
            "modifiers": st.sampled_from([(), ("25",), ("RT",)]),
        }
    ),
    unique_by=lambda code: (code["code"], code["modifiers"]),
)


def test_the_golden_one_is_that_of_the_golden_record() -> None:
    record = CodedRecord.model_validate_json((GOLDEN / "coded-record.json").read_bytes())
    golden = EvaluatedRecord.model_validate_json((GOLDEN / "evaluated-record.json").read_bytes())
    assert EvaluatedRecord.of(record) == golden
    assert hash_patients([record.patient_id]) == (golden.patient_hash,)


@given(codes=codes)
def test_every_code_is_there_in_one_state_the_most_certain(make_record: Make, codes: list[dict[str, str]]) -> None:
    record = make_record(codes=codes)
    evaluated = EvaluatedRecord.of(record)
    kept = [*evaluated.positive, *evaluated.negative, *evaluated.unknown]
    assert sorted(kept) == sorted({code.key for code in record.codes})
    assert set(evaluated.positive) == record.keys()
    assert not any(code.state == "unknown" and code.key in evaluated.negative for code in record.codes)


def test_no_note_and_no_patient_is_in_it(make_record: Make) -> None:
    record = make_record(patient_id="patient-4711")
    written = EvaluatedRecord.of(record).model_dump_json()
    assert "patient-4711" not in written
    assert "Troponin" not in written


def test_one_record_in_two_languages_is_two(make_record: Make) -> None:
    english, spanish = (
        EvaluatedRecord.of(make_record(notes=[{"note_id": "n1", "text": text}]))
        for text in ("Chest pain.", "Dolor de pecho.")
    )
    assert evaluation_set_sha256([english]) != evaluation_set_sha256([spanish])


def test_the_hash_holds_in_any_order_and_changes_with_the_content(make_record: Make) -> None:
    records = [EvaluatedRecord.of(make_record(f"r{number}")) for number in range(3)]
    sha256 = evaluation_set_sha256(records)
    assert evaluation_set_sha256(reversed(records)) == sha256
    hashes = ({"patient_hash": "0" * 64}, {"notes_sha256": "0" * 64})
    changes = (*hashes, {"positive": ()}, {"unlisted": Unlisted.UNKNOWN}, {"slices": {}})
    changed = [evaluation_set_sha256([*records[:2], records[2].model_copy(update=change)]) for change in changes]
    assert len({sha256, *changed, evaluation_set_sha256(records[:2])}) == len(changes) + 2
    with pytest.raises(ValueError, match="record 'r1' comes twice in the evaluation set"):
        evaluation_set_sha256([*records, records[1]])


def test_a_key_in_two_states_is_refused() -> None:
    hashes = {"patient_hash": "0" * 64, "notes_sha256": "0" * 64}
    fields = hashes | {"record_id": "r1", "slices": {}, "positive": ["icd10cm:I10"]}
    with pytest.raises(ValidationError, match="must not share or repeat a key"):
        EvaluatedRecord.model_validate(fields | {"unknown": ["icd10cm:I10"]})
