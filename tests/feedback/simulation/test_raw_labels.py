"""The raw arm: the same records and codes as were adjudicated, with the coder's word for their state."""

from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_coding.codes import CodeState, split_key
from clinical_coding.records import CodedRecord
from feedback.simulation.raw_labels import as_coded

KEYS = ("icd10cm:I10", "icd10cm:E11.9", "icd10cm:K21.9", "cpt:99213")


def _record(states: dict[str, str]) -> CodedRecord:
    codes = []
    for key, state in states.items():
        system, code = split_key(key)
        source = {"source": "decision"} if state == "unknown" else {"source": "adjudication", "adjudication_id": "a1"}
        codes.append({"system": system, "code": code, "state": state, "provenance": source})
    return CodedRecord.model_validate(
        {
            "record_id": "feedback-s1",
            "patient_id": "p1",
            "encounter": {"setting": "outpatient", "specialty": "cardiology"},
            "notes": [{"note_id": "n1", "text": "Visit."}],
            "codes": codes,
            "unlisted": "unknown",
        }
    )


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["positive", "negative", "unknown"])),
    st.frozensets(st.sampled_from(KEYS)),
)
def test_only_states_differ_and_they_are_the_coders(states: dict[str, str], final: frozenset[str]) -> None:
    record = _record(states)
    raw = as_coded(record, final=final)
    assert [code.key for code in raw.codes] == [code.key for code in record.codes]
    assert raw.keys(CodeState.UNKNOWN) == record.keys(CodeState.UNKNOWN)
    stated = record.keys() | record.keys(CodeState.NEGATIVE)
    assert raw.keys() == stated & final
    assert raw.keys(CodeState.NEGATIVE) == stated - final
    assert all(code.provenance.adjudication_id is None for code in raw.codes)
    # What is written can be read again.
    assert CodedRecord.model_validate_json(raw.model_dump_json()) == raw
