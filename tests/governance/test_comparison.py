from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.comparisons import Comparison
from clinical_coding.evaluation_set import COMPARED_DIMENSIONS, EvaluatedRecord, evaluation_set_sha256
from clinical_coding.metrics import evaluate
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord
from governance.comparison import SMALL_RECORDS, compare

CODES = ["A00.0", "B01.9", "E11.9", "I10", "J18.9", "N39.0"]
KEYS = [f"icd10cm:{code}" for code in CODES]
A, B, C = KEYS[:3]

ranking = st.tuples(st.permutations(KEYS), st.integers(0, len(KEYS)))
case = st.fixed_dictionaries(
    {
        "states": st.dictionaries(st.sampled_from(CODES), st.sampled_from(["positive", "negative", "unknown"])),
        "unlisted": st.sampled_from(["absent", "unknown"]),
        "specialty": st.sampled_from(["cardiology", "urology"]),
        "payer": st.sampled_from([None, "medicare"]),
        "a": ranking,
        "b": ranking,
    }
)


def record_of(record_id: str, drawn: dict[str, Any]) -> CodedRecord:
    return CodedRecord.model_validate(
        {
            "record_id": record_id,
            "patient_id": record_id,
            "encounter": {"setting": "inpatient", "specialty": drawn["specialty"], "payer": drawn["payer"]},
            "notes": [{"note_id": "n1", "text": "A note."}],
            "codes": [{"system": "icd10cm", "code": code, "state": state} for code, state in drawn["states"].items()],
            "unlisted": drawn["unlisted"],
        }
    )


@given(cases=st.lists(case, min_size=1, max_size=8))
def test_values_are_exactly_those_of_the_metrics(
    make_prediction: Any, make_measured: Any, cases: list[dict[str, Any]]
) -> None:
    records = [record_of(f"r{number}", drawn) for number, drawn in enumerate(cases)]
    truths = [EvaluatedRecord.of(record) for record in records]
    predictions = {
        side: [make_prediction(f"r{number}", *drawn[side]) for number, drawn in enumerate(cases)] for side in "ab"
    }
    comparison = compare(
        make_measured(1, truths, predictions["a"]), make_measured(2, truths, predictions["b"]), num_resamples=5
    )
    of_a, of_b = (evaluate(records, predictions[side], dimensions=COMPARED_DIMENSIONS) for side in "ab")
    num_slices = sum(len(values) for values in of_a.slices.values())
    assert len(comparison.differences) == 6 + 2 * num_slices
    for row in comparison.differences:
        for evaluation, value in ((of_a, row.a), (of_b, row.b)):
            measured = evaluation.overall
            if row.dimension is not None and row.value is not None:
                measured = evaluation.slices[row.dimension][row.value]
            assert getattr(measured, row.metric) == value
            assert (measured.num_records, measured.num_codes) == (row.num_records, row.num_codes)
        assert row.difference == row.b - row.a


@pytest.fixture
def against(make_evaluated: Any, make_prediction: Any, make_measured: Any) -> Callable[..., Comparison]:
    """Compare versions that suggest these keys on records where A and B stand."""

    def make(*cases: tuple[Sequence[str], Sequence[str]], **settings: int) -> Comparison:
        truths = [make_evaluated(f"r{number}", [A, B]) for number in range(len(cases))]
        sides: tuple[list[Prediction], list[Prediction]] = ([], [])
        for number, case in enumerate(cases):
            for side, keys in zip(sides, case, strict=True):
                side.append(make_prediction(f"r{number}", keys, len(keys)))
        return compare(make_measured(1, truths, sides[0]), make_measured(2, truths, sides[1]), **settings)

    return make


def test_identical_versions_do_not_differ(against: Callable[..., Comparison]) -> None:
    comparison = against(*[([A], [A]), ([B, C], [B, C]), ([], [])] * 3)
    assert {(row.difference, row.low, row.high) for row in comparison.differences} == {(0.0, 0.0, 0.0)}
    assert comparison.changed_codes == ()
    assert comparison.num_changed_codes == 0


def test_a_difference_that_is_the_same_on_every_record_has_no_width(against: Callable[..., Comparison]) -> None:
    comparison = against(*[([A], [A, B])] * 40)
    row = comparison.overall("recall")
    assert (row.a, row.b, row.low, row.high, row.is_small) == (0.5, 1.0, 0.5, 0.5, False)


def test_swapping_the_versions_turns_the_differences_around(against: Callable[..., Comparison]) -> None:
    cases = [([A], [A, B]), ([C], [A]), ([B, C], [B]), ([A, B], [])] * 10
    forth, back = against(*cases), against(*[(b, a) for a, b in cases])
    for one, other in zip(forth.differences, back.differences, strict=True):
        assert (one.a, one.b, one.difference) == (other.b, other.a, -other.difference)
        # A percentile between two values is interpolated from either side.
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)


def test_the_interval_narrows_with_more_records_and_few_are_marked(against: Callable[..., Comparison]) -> None:
    cases = [([A], [A, B]), ([A, B], [A])]
    few, many = (against(*cases * times).overall("recall") for times in (5, 200))
    assert few.high - few.low > 3 * (many.high - many.low)
    assert few.is_small and not many.is_small
    assert few.num_records < SMALL_RECORDS <= many.num_records


def test_the_seed_alone_decides_the_draws(against: Callable[..., Comparison]) -> None:
    cases = [([A], [A, B]), ([C], [A]), ([A, B], [])] * 10
    assert against(*cases, seed=4) == against(*cases, seed=4)
    assert against(*cases, seed=4).differences != against(*cases, seed=5).differences


def test_changed_codes_come_with_the_most_changed_first(against: Callable[..., Comparison]) -> None:
    comparison = against(([A], [A, B]), ([A, C], [B]), ([A], [A]))
    found = [
        (code.key, code.num_gold, tuple(code.a.model_dump().values()), tuple(code.b.model_dump().values()))
        for code in comparison.changed_codes
    ]
    assert found == [
        (B, 3, (0, 3, 0), (2, 1, 0)),
        (A, 3, (3, 0, 0), (2, 1, 0)),
        (C, 0, (0, 0, 1), (0, 0, 0)),
    ]
    assert comparison.num_changed_codes == 3


def test_versions_measured_on_different_records_are_refused(
    make_evaluated: Any, make_prediction: Any, make_measured: Any
) -> None:
    one, other = [make_evaluated("r1")], [make_evaluated("r1", ["icd10cm:I21.4"])]
    predictions = [make_prediction("r1", [], 0)]
    with pytest.raises(ValueError, match="measured on different records") as caught:
        compare(make_measured(1, one, predictions), make_measured(2, other, predictions))
    assert all(evaluation_set_sha256(records) in str(caught.value) for records in (one, other))
    assert "with --records" in str(caught.value)
    with pytest.raises(ValueError, match="version 2 was measured on no record"):
        compare(make_measured(1, one, predictions), make_measured(2, [], []))


def test_predictions_must_be_of_the_records(make_evaluated: Any, make_prediction: Any, make_measured: Any) -> None:
    records = [make_evaluated("r1"), make_evaluated("r2")]
    both = [make_prediction("r1", [], 0), make_prediction("r2", [], 0)]
    whole = make_measured(1, records, both)
    with pytest.raises(ValueError, match=r"version 2 has no prediction for record 'r2' \(1 in all\)"):
        compare(whole, make_measured(2, records, both[:1]))
    with pytest.raises(ValueError, match="version 2 for record 'r1' matches no record, or comes twice"):
        compare(whole, make_measured(2, records, [*both, both[0]]))
    with pytest.raises(ValueError, match="version 2 for record 'r9' matches no record"):
        compare(whole, make_measured(2, records, [*both, make_prediction("r9", [], 0)]))
