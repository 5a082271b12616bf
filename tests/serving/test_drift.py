import math
import random

import pytest

from clinical_coding.codes import CodeSystem
from clinical_coding.predictions import PredictedCode
from serving.drift import Drift, DriftSettings, Facet

REFERENCE = {
    "note_tokens": {"0+": 0.25, "64+": 0.5, "128+": 0.25},
    "codes": {"icd10cm:I10": 0.5, "icd10cm:E11.9": 0.3, "icd10cm:J45.909": 0.1, "other": 0.1},
    "best_confidence": {"0.0+": 0.2, "0.5+": 0.8},
}
SETTINGS = DriftSettings(window_suggestions=400, min_suggestions=100, num_codes=2)


def suggested(code: str, *, confidence: float = 0.9) -> PredictedCode:
    return PredictedCode(system=CodeSystem.ICD10CM, code=code, confidence=confidence, suggested=True)


def drift(**settings: int) -> Drift:
    return Drift(REFERENCE, settings=SETTINGS.model_copy(update=settings))


def test_index_is_that_of_the_textbook() -> None:
    watched = drift(window_suggestions=100)
    for at in range(100):
        watched.count([suggested("I10")], num_tokens=10 if at < 50 else 200)
    values = watched.values()
    # Half an observation is added to each bin, of which there are three.
    shares = [(50.5 / 101.5, 0.25), (0.5 / 101.5, 0.5), (50.5 / 101.5, 0.25)]
    assert values[Facet.INPUT_LENGTH] == pytest.approx(sum((a - e) * math.log(a / e) for a, e in shares))
    shares = [(100.5 / 101.5, 0.5), (0.5 / 101.5, 0.3), (0.5 / 101.5, 0.2)]
    assert values[Facet.CODE_MIX] == pytest.approx(sum((a - e) * math.log(a / e) for a, e in shares))


def test_traffic_like_training_is_no_drift_and_other_traffic_is() -> None:
    chance = random.Random(5)
    watched = drift()

    def see(codes: list[str], tokens: list[int], confidences: list[float]) -> None:
        for _ in range(400):
            confidence = chance.choices(confidences, [2, 8])[0]
            code = chance.choices(codes, [50, 30, 10, 10])[0]
            watched.count([suggested(code, confidence=confidence)], num_tokens=chance.choices(tokens, [25, 50, 25])[0])

    see(["I10", "E11.9", "J45.909", "M54.50"], [63, 64, 128], [0.49, 0.5])
    assert all(value < 0.05 for value in watched.values().values())
    # The window holds the new traffic alone.
    see(["J45.909", "M54.50", "I10", "E11.9"], [5000, 5000, 1], [0.99, 0.1])
    assert all(value > 0.2 for value in watched.values().values())


def test_nothing_is_told_of_few_suggestions_or_without_a_reference() -> None:
    watched = drift()
    for _ in range(99):
        watched.count([suggested("I10")], num_tokens=None)
    assert all(math.isnan(value) for value in watched.values().values())
    watched.count([suggested("I10")], num_tokens=None)
    values = watched.values()
    assert math.isnan(values[Facet.INPUT_LENGTH]), "nobody told how long the notes were"
    assert values[Facet.CODE_MIX] > 0
    unknown = Drift({}, settings=SETTINGS)
    for _ in range(200):
        unknown.count([], num_tokens=3)
    assert all(math.isnan(value) for value in unknown.values().values())


def test_only_suggested_codes_count_for_the_mix() -> None:
    both = drift(min_suggestions=1)
    other = PredictedCode(system=CodeSystem.ICD10CM, code="E11.9", confidence=0.1, suggested=False)
    both.count([suggested("I10"), other], num_tokens=100)
    alone = drift(min_suggestions=1)
    alone.count([suggested("I10")], num_tokens=100)
    assert both.values() == alone.values()
