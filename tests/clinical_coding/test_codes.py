import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clinical_coding.code_library import load_icd10cm
from clinical_coding.codes import Code, CodeSystem, EvidenceSpan, Provenance, normalise_code, split_key


@pytest.mark.parametrize(
    ("system", "written", "expected"),
    [
        (CodeSystem.ICD10CM, " i214 ", "I21.4"),
        (CodeSystem.ICD10CM, "I10", "I10"),
        (CodeSystem.ICD10CM, "s52.521a", "S52.521A"),
        (CodeSystem.ICD10CM, "qa00101", "QA0.0101"),
        (CodeSystem.ICD10PCS, "02703dz", "02703DZ"),
        (CodeSystem.ICD10PCS, "bw03", "BW03"),
        (CodeSystem.CPT, "99214", "99214"),
        (CodeSystem.CPT, "0042t", "0042T"),
        (CodeSystem.HCPCS, "j1885", "J1885"),
    ],
)
def test_codes_are_written_in_their_usual_form(system: CodeSystem, written: str, expected: str) -> None:
    assert normalise_code(system, written) == expected


@pytest.mark.parametrize(
    ("system", "written"),
    [
        (CodeSystem.ICD10CM, "I2"),
        (CodeSystem.ICD10CM, "I21.45678"),
        (CodeSystem.ICD10CM, "121.4"),
        (CodeSystem.ICD10CM, ""),
        (CodeSystem.ICD10PCS, "0270IDZ"),
        (CodeSystem.ICD10PCS, "02703"),
        (CodeSystem.CPT, "9921"),
        (CodeSystem.HCPCS, "Z1885"),
        (CodeSystem.HCPCS, "99214"),
    ],
)
def test_what_cannot_be_a_code_is_refused_with_the_form_expected(system: CodeSystem, written: str) -> None:
    with pytest.raises(ValueError, match=rf"is not a code of {system}; expected "):
        normalise_code(system, written)


def test_prose_put_for_a_code_is_not_repeated_whole() -> None:
    with pytest.raises(ValueError) as caught:
        normalise_code(CodeSystem.ICD10CM, "Patient John Smith has pain")
    assert "JOHN" not in str(caught.value)


def test_every_code_of_the_release_has_the_form() -> None:
    for code in load_icd10cm().leaves():
        assert normalise_code(CodeSystem.ICD10CM, code.replace(".", "").lower()) == code


def test_keys_come_apart_as_they_were_joined() -> None:
    code = Code(system=CodeSystem.ICD10CM, code="I21.4")
    assert code.key == "icd10cm:I21.4"
    assert split_key(code.key) == (CodeSystem.ICD10CM, "I21.4")


def test_an_undotted_code_on_a_record_is_told_how_to_be_written() -> None:
    with pytest.raises(ValidationError, match=r"code 'I214' must be written 'I21.4'"):
        Code(system=CodeSystem.ICD10CM, code="I214")


@pytest.mark.parametrize(("start", "end"), [(3, 3), (4, 3), (-1, 3)])
def test_an_evidence_span_covers_something(start: int, end: int) -> None:
    with pytest.raises(ValidationError, match="greater than"):
        EvidenceSpan(note_id="n1", start=start, end=end)


@given(first=st.tuples(st.integers(0, 20), st.integers(1, 9)), second=st.tuples(st.integers(0, 20), st.integers(1, 9)))
def test_evidence_of_one_code_never_overlaps(first: tuple[int, int], second: tuple[int, int]) -> None:
    spans = [EvidenceSpan(note_id="n1", start=start, end=start + length) for start, length in (first, second)]
    shared = set(range(spans[0].start, spans[0].end)) & set(range(spans[1].start, spans[1].end))
    if shared:
        with pytest.raises(ValidationError, match=r"overlaps .* merge them"):
            Code(system=CodeSystem.ICD10CM, code="I21.4", evidence=tuple(spans))
    else:
        assert Code(system=CodeSystem.ICD10CM, code="I21.4", evidence=tuple(spans)).evidence == tuple(spans)


def test_the_same_place_in_two_notes_is_no_overlap() -> None:
    spans = tuple(EvidenceSpan(note_id=note_id, start=0, end=5) for note_id in ("n1", "n2"))
    assert Code(system=CodeSystem.ICD10CM, code="I21.4", evidence=spans).evidence == spans


def test_provenance_names_an_adjudication_when_it_is_one_and_only_then() -> None:
    assert Provenance(source="adjudication", adjudication_id="a1").adjudication_id == "a1"
    with pytest.raises(ValidationError, match="adjudication_id must be given"):
        Provenance(source="adjudication")
    with pytest.raises(ValidationError, match="adjudication_id must be given"):
        Provenance(source="sample", adjudication_id="a1")


@pytest.mark.parametrize("weight", [0, -1, float("inf"), float("nan")])
def test_a_weight_is_a_finite_number_above_0(weight: float) -> None:
    with pytest.raises(ValidationError, match="weight"):
        Code(system=CodeSystem.ICD10CM, code="I21.4", weight=weight)
