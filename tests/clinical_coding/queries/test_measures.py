"""Values in notes: read in the measure's first unit, or not at all."""

import pytest
from pydantic import ValidationError

from clinical_coding.queries import QueryRules
from clinical_coding.queries.measures import Bounds, Measure, Reading, readings_that_meet
from clinical_coding.queries.phrases import PhraseIndex


def read(measure: Measure, text: str) -> list[Reading]:
    names = [span for spans in PhraseIndex(measure.terms).find(text).values() for span in spans]
    return measure.readings(text, names=names)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sodium", "Na 128, K 3.4", [128]),
        ("sodium", "sodium was 124 mEq/L on admission", [124]),
        ("sodium", "Na+ 131", [131]),
        ("sodium", "Sodium (mmol/L): 124", [124]),
        ("sodium", "Na 124 (L), 129 (L)", [124, 129]),
        ("sodium", "sodium chloride 0.9% at 125 mL/h", []),
        ("sodium", "low sodium diet for 120 days", []),
        ("sodium", "urine sodium 110 mmol/L", []),
        ("sodium", "Urine clear. Sodium 126.", [126]),
        ("potassium", "K 2.9", [2.9]),
        ("potassium", "vitamin K 5 mg", []),
        ("potassium", "potassium 5 mEq daily", []),
        ("potassium", "potassium chloride 20 mEq daily", []),
        ("creatinine", "creatinine 2.4 (baseline 0.9)", [2.4, 0.9]),
        ("creatinine", "creatinine peaked at 2.1 (previously 0.9)", [2.1, 0.9]),
        ("creatinine", "Cr rose from 1.0 to 1.8 mg/dL", [1.0, 1.8]),
        ("creatinine", "creatinine 0.9 -> 2.1 → 1.4", [0.9, 2.1, 1.4]),
        ("creatinine", "creatinine 212 umol/L", [2.398]),
        ("creatinine", "creatinine 212", [2.398]),
        ("creatinine", "creatinine 1.2 mg/dl (0.8-1.3)", [1.2]),
        ("creatinine", "Cr 06/20/2026: 1.7", [1.7]),
        ("creatinine", "urine creatinine 2.4", []),
        ("creatinine", "creatinine improved by 0.5", []),
        ("hemoglobin", "Hgb 11.8 then 7.4", [11.8, 7.4]),
        ("hemoglobin", "hemoglobin 92 g/L", [9.2]),
        ("hemoglobin", "hemoglobin A1c 9.4%", []),
        ("a1c", "hemoglobin A1c 9.4%", [9.4]),
        ("a1c", "HbA1c: 7.1", [7.1]),
        ("platelets", "platelets 42,000 /uL", [42]),
        ("platelets", "Plt 300", [300]),
        ("white-cells", "WBC 18,400", [18.4]),
        ("white-cells", "WBC 14.2 K/uL", [14.2]),
        ("troponin", "hs-troponin 86 ng/L", [0.086]),
        ("troponin", "Troponin <0.01", []),
        ("systolic", "BP 214/126", [214]),
        ("diastolic", "BP 214/126", [126]),
        ("systolic", "BP 78/40, later 112/70", [78]),
        ("systolic", "BP 12/06/2026 visit", []),
        ("temperature", "T 39.2 C", [39.2]),
        ("temperature", "T 97.7 F", []),
        ("temperature-fahrenheit", "Temp 102.4 F", [102.4]),
        ("saturation", "SpO2 84% on room air", [84]),
        ("ejection-fraction", "LVEF 32%", [32]),
        ("ejection-fraction", "EF 55-60%.", [55]),
        ("ejection-fraction", "ejection fraction of 60 percent", [60]),
        ("ph", "urinalysis with pH 7.0", []),
        ("bmi", "BMI 36.4 kg/m2", [36.4]),
        ("bmi", "BMI 364", []),
        ("bnp", "BNP 1,450 pg/mL", [1450]),
        ("coma-scale", "GCS 6, intubated", [6]),
        ("glucose", "glucose 412 at 10 am", [412]),
        ("heart-rate", "HR 118-124", []),
        ("inr", "INR 6.2, vitamin K given", [6.2]),
        ("inr", "INR goal 2-3", []),
        ("inr", "after INR 5 mg of warfarin", []),
    ],
)
def test_values_are_read_in_the_first_unit(name: str, text: str, expected: list[float], rules: QueryRules) -> None:
    assert [reading.value for reading in read(rules.measures[name], text)] == pytest.approx(expected, abs=0.001)


def test_readings_say_where_they_stand(rules: QueryRules) -> None:
    text = "Labs: creatinine 2.4 (baseline 0.9)."
    first, second = read(rules.measures["creatinine"], text)
    assert text[first.start : first.end] == "creatinine 2.4"
    assert text[second.start : second.end] == "baseline 0.9"


@pytest.mark.parametrize(
    ("bounds", "values", "expected"),
    [
        ({"below": 130}, [134, 129, 121], [129]),
        ({"below": 130}, [130], []),
        ({"above": 2}, [1.2, 2.1], [2.1]),
        ({"above": 2}, [2.0], []),
        ({"ratio": 1.5}, [1.2, 1.8], [1.2, 1.8]),
        ({"ratio": 1.5}, [1.2, 1.7], []),
        ({"ratio": 1.5}, [2.4, 0.9], [2.4, 0.9]),
        ({"fall": 2}, [11.8, 9.8], [11.8, 9.8]),
        ({"fall": 2}, [9.8, 11.8], []),
        ({"fall": 2}, [12.0], []),
    ],
)
def test_bounds(bounds: dict[str, float], values: list[float], expected: list[float]) -> None:
    readings = [Reading(value, place, place + 1) for place, value in enumerate(values)]
    met = readings_that_meet(readings, bounds=Bounds.model_validate(bounds))
    assert [reading.value for reading in met] == expected


@pytest.mark.parametrize("bounds", [{}, {"below": 1, "above": 2}])
def test_bounds_are_exactly_one(bounds: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="exactly one of below, above, ratio, fall"):
        Bounds.model_validate(bounds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": {"g/l": 0.1, "g/dl": 1}}, "begin with the one whose factor is 1"),
        ({"plausible": [22, 3]}, "plausible must be"),
    ],
)
def test_a_measure_is_checked(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"terms": ["hgb"], "units": {"g/dl": 1}, "plausible": [3, 22]}
    Measure.model_validate(good)
    with pytest.raises(ValidationError, match=message):
        Measure.model_validate(good | change)
