"""Figures: what they draw is what was measured, and odd input draws too."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from clinical_coding.metrics import Evaluation, Metrics, evaluate
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord
from training.plots import evaluation_figures, training_curve

NUM_CODES = 8


def record(number: int, gold: list[int], unknown: int, specialty: str = "cardiology") -> CodedRecord:
    codes = [{"system": "icd10cm", "code": f"A0{code}", "state": "positive"} for code in gold]
    codes.append({"system": "icd10cm", "code": f"A0{unknown}", "state": "unknown"})
    return CodedRecord.model_validate(
        {
            "record_id": f"r{number}",
            "patient_id": f"p{number}",
            "split": "dev",
            "encounter": {"setting": "outpatient", "specialty": specialty},
            "notes": [{"note_id": "n1", "type": "progress-note", "text": "x"}],
            "codes": codes,
        }
    )


def prediction(number: int, confidences: list[float]) -> Prediction:
    ranked = sorted(enumerate(confidences), key=lambda pair: -pair[1])
    codes = [
        {"system": "icd10cm", "code": f"A0{code}", "confidence": value, "suggested": value >= 0.5}
        for code, value in ranked
    ]
    return Prediction.model_validate({"record_id": f"r{number}", "version": "1", "codes": codes})


@pytest.fixture(scope="module")
def case() -> tuple[list[CodedRecord], list[Prediction], Evaluation]:
    """Sixty records of eight codes: two gold, one unknown, five wrong; confidences follow the truth loosely."""
    rng = np.random.default_rng(7)
    records, predictions = [], []
    for number in range(60):
        first, second, unknown = (int(code) for code in rng.choice(NUM_CODES, 3, replace=False))
        records.append(record(number, [first, second], unknown, ["cardiology", "$x^$ & co"][number % 2]))
        confidences = rng.beta(1, 4, NUM_CODES)
        confidences[[first, second]] = rng.beta(3, 2, 2)
        predictions.append(prediction(number, [float(value) for value in confidences]))
    return records, predictions, evaluate(records, predictions)


def drawn(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=60)
    return stream.getvalue()


def pooled(records: list[CodedRecord], predictions: list[Prediction]) -> tuple[list[bool], list[float]]:
    unknown = {(r.record_id, f"icd10cm:{c.code}") for r in records for c in r.codes if c.state == "unknown"}
    gold = {r.record_id: r.keys() for r in records}
    codes = [(p.record_id, c) for p in predictions for c in p.codes if (p.record_id, c.key) not in unknown]
    return [c.key in gold[record_id] for record_id, c in codes], [c.confidence for _, c in codes]


def test_the_precision_recall_curve_is_scikit_learns(
    case: tuple[list[CodedRecord], list[Prediction], Evaluation],
) -> None:
    records, predictions, evaluation = case
    figure = evaluation_figures(records, predictions, evaluation)["precision-recall"]
    lines = figure.axes[0].get_lines()
    curve = next(line for line in lines if line.get_linewidth() == 1.8)
    precision, recall, _ = precision_recall_curve(*pooled(records, predictions))
    # scikit-learn runs from the lowest threshold up and closes with an end point of its own.
    np.testing.assert_allclose(curve.get_xdata(), recall[-2::-1], rtol=1e-12)
    np.testing.assert_allclose(curve.get_ydata(), precision[-2::-1], rtol=1e-12)
    assert lines[-1].get_xydata().tolist() == [[evaluation.overall.recall, evaluation.overall.precision]]


def test_specialty_bars_stand_by_support_with_their_scores(
    case: tuple[list[CodedRecord], list[Prediction], Evaluation],
) -> None:
    records, predictions, evaluation = case
    axes, beside = evaluation_figures(records, predictions, evaluation)["specialties"].axes
    slices = evaluation.slices["specialty"]
    # Equal support goes by name, from the top, so the last bar is the first name.
    names = [label.get_text() for label in axes.get_yticklabels()][::-1]
    assert names == sorted(slices, key=lambda name: (-slices[name].num_codes, name))
    assert [bar.get_width() for bar in axes.patches][::-1] == [slices[name].micro_f1 for name in names]
    cells = [text.get_text() for text in beside.texts]
    assert f"{slices['cardiology'].micro_f1:.3f}" in cells and "60" in cells


def test_reliability_counts_every_confidence_in_its_bin(
    case: tuple[list[CodedRecord], list[Prediction], Evaluation],
) -> None:
    records, predictions, evaluation = case
    upper, lower = evaluation_figures(records, predictions, evaluation)["reliability"].axes
    correct, confidences = (np.array(values) for values in pooled(records, predictions))
    counts, edges = np.histogram(confidences, bins=10, range=(0, 1))
    assert [bar.get_height() for bar in lower.patches] == counts.tolist()
    shares = [correct[(confidences >= low) & (confidences < low + 0.1)].mean() for low in edges[:-1][counts > 0]]
    observed = upper.containers[0].lines[0]
    np.testing.assert_allclose(observed.get_ydata(), shares, rtol=1e-12)
    error = np.average(np.abs(np.array(shares) - observed.get_xdata()), weights=counts[counts > 0])
    assert upper.get_title(loc="left").endswith(f"error {error:.3f}")


def test_more_specialties_than_fit_are_counted_not_dropped_in_silence(
    case: tuple[list[CodedRecord], list[Prediction], Evaluation],
) -> None:
    overall: Metrics = case[2].overall
    many = {f"specialty {number:02d}": replace(overall, num_codes=number) for number in range(40)}
    axes = evaluation_figures([], [], Evaluation(overall, {"specialty": many}))["specialties"].axes[0]
    assert len(axes.patches) == 24
    assert "16 more specialties have less support" in axes.get_xlabel()


def test_figures_of_nothing_are_drawn(case: tuple[list[CodedRecord], list[Prediction], Evaluation]) -> None:
    figures = evaluation_figures([], [], Evaluation(case[2].overall, {}))
    assert set(figures) == {"precision-recall", "specialties", "reliability"}
    assert all(drawn(figure) for figure in [*figures.values(), training_curve({}, {})])


def test_equal_input_gives_equal_pixels(case: tuple[list[CodedRecord], list[Prediction], Evaluation]) -> None:
    first, second = (evaluation_figures(*case) for _ in range(2))
    for name, figure in first.items():
        assert drawn(figure) == drawn(second[name])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5_000))
@settings(max_examples=20, deadline=None)
def test_the_training_curve_keeps_its_ends_and_marks_the_best(values: list[float]) -> None:
    curve = list(enumerate(values))
    upper, lower = training_curve({"fit": curve}, {"fit": curve}).axes
    steps = upper.get_lines()[0].get_xdata()
    assert len(steps) <= 2_000 and steps[-1] == len(values) - 1
    assert lower.get_lines()[-1].get_ydata()[0] == max(values)
