import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, precision_score, recall_score

from clinical_coding.metrics import Evaluation, Metrics, best_threshold, evaluate
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord

Make = Callable[..., CodedRecord]

CODES = ["A00.0", "B01.9", "C18.0", "D50.9", "E11.9", "F32.A", "G40.909", "H40.9", "I10", "J18.9", "K35.80", "N39.0"]


def code(text: str, state: str = "positive") -> dict[str, Any]:
    """``cpt:99214`` or an ICD-10-CM code alone."""
    system, _, number = text.rpartition(":")
    return {"system": system or "icd10cm", "code": number, "state": state}


def predict(record_id: str, ranked: Sequence[str], num_suggested: int) -> Prediction:
    """A prediction of codes in rank order, the first few suggested."""
    codes = [
        {k: v for k, v in code(text).items() if k != "state"}
        | {"confidence": 1 - rank / 200, "suggested": rank < num_suggested}
        for rank, text in enumerate(ranked)
    ]
    return Prediction.model_validate({"record_id": record_id, "version": "1", "codes": codes})


def measure(make_record: Make, *cases: tuple[Sequence[str], Sequence[str], int]) -> Metrics:
    """Evaluate cases of (gold codes, ranked codes, number suggested)."""
    records = [make_record(f"r{n}", codes=[code(text) for text in gold]) for n, (gold, _, _) in enumerate(cases)]
    predictions = [predict(f"r{n}", ranked, count) for n, (_, ranked, count) in enumerate(cases)]
    return evaluate(records, predictions).overall


def test_hand_computed_case(make_record: Make) -> None:
    metrics = measure(
        make_record,
        # One right, one wrong, one missed; gold at ranks 1 and 3.
        (["A00.0", "B01.9"], ["A00.0", "C18.0", "B01.9"], 2),
        # All right, and one gold code is never ranked.
        (["A00.0", "I10"], ["A00.0"], 1),
    )
    assert metrics.num_records == 2
    assert metrics.num_codes == 4
    assert metrics.code_over_code_accuracy == 2 / 5
    assert metrics.precision == 2 / 3
    assert metrics.recall == 2 / 4
    assert metrics.micro_f1 == pytest.approx(4 / 7, rel=1e-15)
    # A00.0 has F1 1, B01.9 and I10 have 0; C18.0 is gold nowhere and does not count.
    assert metrics.macro_f1 == 1 / 3
    assert metrics.mean_average_precision == ((1 + 2 / 3) / 2 + 1 / 2) / 2
    assert metrics.precision_at_8 == (2 / 8 + 1 / 8) / 2
    assert metrics.exact_match == 0


def test_records_without_gold_count_for_errors_but_not_for_ranking(make_record: Make) -> None:
    metrics = measure(make_record, (["I10"], ["I10"], 1), ([], ["A00.0"], 1), ([], ["A00.0"], 0))
    assert metrics.num_without_gold == 2
    assert metrics.mean_average_precision == 1
    assert metrics.precision_at_8 == 1 / 8
    assert metrics.precision == 1 / 2
    assert metrics.exact_match == 2 / 3


def test_nothing_gold_and_nothing_suggested_is_zero_not_an_error(make_record: Make) -> None:
    metrics = measure(make_record, ([], [], 0))
    assert metrics.micro_f1 == metrics.macro_f1 == metrics.mean_average_precision == 0
    assert metrics.code_over_code_accuracy == 0
    assert metrics.exact_match == 1


def test_precision_at_8_looks_at_eight_places(make_record: Make) -> None:
    wrong = [text for text in CODES if text != "I10"]
    assert measure(make_record, (["I10"], [*wrong[:7], "I10"], 0)).precision_at_8 == 1 / 8
    assert measure(make_record, (["I10"], [*wrong[:8], "I10"], 0)).precision_at_8 == 0


def test_unknown_codes_are_masked_and_negative_ones_are_wrong(make_record: Make) -> None:
    codes = [code("I10"), code("A00.0", "unknown"), code("B01.9", "negative")]
    record = make_record("r0", codes=codes)
    metrics = evaluate([record], [predict("r0", ["A00.0", "I10", "B01.9"], 3)]).overall
    assert metrics.num_codes == 1
    assert metrics.precision == 1 / 2
    # Without the masked code, the gold one is at rank 1.
    assert metrics.mean_average_precision == 1


def test_a_code_that_is_gold_and_unknown_is_gold(make_record: Make) -> None:
    codes = [code("cpt:99214") | {"modifiers": ["25"]}, code("cpt:99214", "unknown")]
    metrics = evaluate([make_record("r0", codes=codes)], [predict("r0", ["cpt:99214"], 1)]).overall
    assert metrics.recall == 1


def test_visit_levels_tell_over_from_under_coding(make_record: Make) -> None:
    metrics = measure(
        make_record,
        (["cpt:99213"], ["cpt:99213"], 1),
        (["cpt:99213"], ["cpt:99214", "cpt:99212"], 2),
        (["cpt:99285"], ["cpt:99283"], 1),
        (["cpt:99204"], ["cpt:99214"], 1),
        (["cpt:99223"], ["cpt:99222"], 0),
        (["I10"], ["cpt:99213"], 1),
    )
    assert metrics.num_levels == 5
    assert metrics.level_accuracy == 1 / 5
    assert metrics.level_over_coded == 1 / 5
    assert metrics.level_under_coded == 1 / 5


def test_without_visit_codes_there_is_no_level_accuracy(make_record: Make) -> None:
    metrics = measure(make_record, (["I10"], ["cpt:99213"], 1))
    assert metrics.num_levels == 0
    assert metrics.level_accuracy is metrics.level_over_coded is metrics.level_under_coded is None


cases_of_codes = st.lists(
    st.tuples(st.lists(st.sampled_from(CODES), unique=True), st.permutations(CODES), st.integers(0, len(CODES))),
    min_size=1,
    max_size=6,
)


# scikit-learn takes a hundredth of a second for each of these, so a few dozen must do.
@settings(max_examples=40)
@given(cases=cases_of_codes)
def test_pooled_metrics_agree_with_scikit_learn(
    make_record: Make, cases: list[tuple[list[str], list[str], int]]
) -> None:
    metrics = measure(make_record, *cases)
    gold = np.array([[text in golds for text in CODES] for golds, _, _ in cases]).astype(int)
    suggested = np.array([[text in ranked[:count] for text in CODES] for _, ranked, count in cases]).astype(int)
    micro: Mapping[str, Any] = {"average": "micro", "zero_division": 0}
    assert metrics.precision == pytest.approx(precision_score(gold, suggested, **micro))
    assert metrics.recall == pytest.approx(recall_score(gold, suggested, **micro))
    assert metrics.micro_f1 == pytest.approx(f1_score(gold, suggested, **micro))
    assert metrics.code_over_code_accuracy == pytest.approx(jaccard_score(gold, suggested, **micro))
    present = gold.any(axis=0)
    if present.any():
        f1_by_code = f1_score(gold, suggested, average=None, zero_division=0)
        assert metrics.macro_f1 == pytest.approx(f1_by_code[present].mean())
        scores = [[-ranked.index(text) for text in CODES] for _, ranked, _ in cases]
        rows = [row for row in range(len(cases)) if gold[row].any()]
        average = np.mean([average_precision_score(gold[row], scores[row]) for row in rows])
        assert metrics.mean_average_precision == pytest.approx(average)


@given(cases=cases_of_codes)
def test_ratios_lie_between_0_and_1_and_follow_from_each_other(
    make_record: Make, cases: list[tuple[list[str], list[str], int]]
) -> None:
    metrics = measure(make_record, *cases)
    assert all(0 <= value <= 1 for name, value in metrics.as_dict().items() if value is not None and "num" not in name)
    assert metrics.code_over_code_accuracy == pytest.approx(metrics.micro_f1 / (2 - metrics.micro_f1))
    assert metrics == measure(make_record, *cases)


@given(cases=cases_of_codes, split=st.integers(0, 6))
def test_slices_partition_the_whole(
    make_record: Make, cases: list[tuple[list[str], list[str], int]], split: int
) -> None:
    records, predictions = [], []
    for number, (gold, ranked, count) in enumerate(cases):
        encounter = {"setting": "inpatient", "specialty": "urology" if number < split else "oncology"}
        records.append(make_record(f"r{number}", encounter=encounter, codes=[code(text) for text in gold]))
        predictions.append(predict(f"r{number}", ranked, count))
    evaluation = evaluate(records, reversed(predictions))
    parts = evaluation.slices["specialty"].values()
    assert sum(part.num_records for part in parts) == evaluation.overall.num_records
    assert sum(part.num_codes for part in parts) == evaluation.overall.num_codes
    exact = sum(part.exact_match * part.num_records for part in parts) / len(cases)
    assert exact == pytest.approx(evaluation.overall.exact_match)
    assert evaluation.slices["setting"] == {"inpatient": evaluation.overall}
    assert evaluation.slices["payer"] == {}


@pytest.fixture
def evaluation(make_record: Make) -> Evaluation:
    encounter = {"setting": "inpatient", "specialty": "ear, nose & throat", "provider_id": "d7"}
    return evaluate([make_record("r0", encounter=encounter, codes=[code("I10")])], [predict("r0", ["I10"], 1)])


def test_an_evaluation_goes_into_json_and_into_paths(evaluation: Evaluation) -> None:
    written = json.loads(json.dumps(evaluation.as_dict()))
    assert written["overall"]["micro_f1"] == written["slices"]["provider"]["d7"]["micro_f1"] == 1
    assert written["overall"]["level_accuracy"] is None
    paths = evaluation.by_path()
    assert paths["micro_f1",] == paths["specialty", "ear, nose & throat", "micro_f1"] == 1
    assert paths["provider", "d7", "micro_f1"] == 1
    assert ("level_accuracy",) not in paths
    assert all(math.isfinite(value) for value in paths.values())
    assert not any(path[0] == "provider" for path in evaluation.by_path(dimensions=("specialty",)))


def test_records_and_predictions_must_match(make_record: Make) -> None:
    records = [make_record("r0"), make_record("r1")]
    both = [predict("r0", [], 0), predict("r1", [], 0)]
    with pytest.raises(ValueError, match=r"record 'r1' has no prediction \(1 in all\)"):
        evaluate(records, both[:1])
    with pytest.raises(ValueError, match="prediction for record 'r1' matches no record"):
        evaluate(records[:1], both)
    with pytest.raises(ValueError, match=r"'r0' .* comes twice"):
        evaluate(records, [*both, both[0]])


def test_hundreds_of_records_are_measured_in_a_blink(make_record: Make) -> None:
    codes = [f"{letter}{number:02d}" for letter in "ABCD" for number in range(25)]
    records = [make_record(f"r{number}", codes=[code(text) for text in codes[::9]]) for number in range(750)]
    predictions = [predict(record.record_id, codes, 12) for record in records]
    started = time.perf_counter()
    evaluate(records, predictions)
    assert time.perf_counter() - started < 1.0


@given(
    scored=st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.7, 0.9]), st.booleans()), min_size=1, max_size=12),
    num_unscored=st.integers(0, 3),
)
def test_no_other_threshold_beats_the_best(scored: list[tuple[float, bool]], num_unscored: int) -> None:
    confidences = np.array([confidence for confidence, _ in scored])
    is_positive = np.array([positive for _, positive in scored])
    num_positive = max(1, int(is_positive.sum()) + num_unscored)

    def f1_at(threshold: float) -> float:
        suggested = confidences >= threshold
        return float(2 * (is_positive & suggested).sum() / (suggested.sum() + num_positive))

    threshold, f1 = best_threshold(confidences, is_positive, num_positive=num_positive)
    assert f1 == pytest.approx(f1_at(threshold))
    assert f1 == pytest.approx(max(f1_at(confidence) for confidence in confidences))


def test_the_threshold_lies_between_two_confidences() -> None:
    confidences = np.array([0.2, 0.9, 0.6], dtype=np.float32)
    threshold, f1 = best_threshold(confidences, np.array([False, True, True]), num_positive=2)
    assert threshold == pytest.approx(0.4)
    assert f1 == 1


def test_a_threshold_needs_something_to_choose_from() -> None:
    with pytest.raises(ValueError, match="use a larger calibration split"):
        best_threshold(np.array([]), np.array([], dtype=bool), num_positive=3)
    with pytest.raises(ValueError, match="use a larger calibration split"):
        best_threshold(np.array([0.5]), np.array([False]), num_positive=0)


def test_on_a_partial_record_only_listed_codes_count(make_record: Make) -> None:
    listed = [code("I10"), code("A00.0"), code("B01.9", "negative"), code("C18.0", "unknown")]
    partial = make_record("r0", codes=listed, unlisted="unknown")
    # Suggested are one code that nobody looked at, the masked one, a rejected one and a gold one.
    metrics = evaluate([partial], [predict("r0", ["D50.9", "C18.0", "B01.9", "I10", "A00.0"], 4)]).overall
    assert (metrics.num_records, metrics.num_codes) == (1, 2)
    assert metrics.precision == metrics.recall == metrics.micro_f1 == 1 / 2
    assert metrics.code_over_code_accuracy == 1 / 3
    # Gold is at ranks 2 and 3 of the three that are known.
    assert metrics.mean_average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics.precision_at_8 == 2 / 8
    assert metrics.macro_f1 == (1 + 0) / 2


def test_a_partial_record_right_in_all_it_lists_is_an_exact_match(make_record: Make) -> None:
    partial = make_record("r0", codes=[code("I10"), code("B01.9", "negative")], unlisted="unknown")
    assert evaluate([partial], [predict("r0", ["D50.9", "I10", "B01.9"], 2)]).overall.exact_match == 1
    assert evaluate([partial], [predict("r0", ["D50.9", "I10", "B01.9"], 3)]).overall.exact_match == 0
