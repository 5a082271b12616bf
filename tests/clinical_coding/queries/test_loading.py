"""Loading rules: whatever a file can have wrong is said, with the rule and the remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from clinical_coding.queries import load_query_rules

SILENT = [{"setting": "inpatient", "note": "No CHF."}]
RULE: dict[str, Any] = {
    "topic": "heart-failure-type",
    "title": "Heart failure: type",
    "purpose": "specificity",
    "form": "multiple-choice",
    "settings": ["inpatient"],
    "indicators": [{"name": "heart failure documented", "terms": ["heart failure", "chf"], "codes": ["I50"]}],
    "requires": [{"of": ["heart failure documented"]}],
    "unless": {"stated": ["@types"], "codes": ["I50.2"]},
    "question": "Please specify the type of the documented heart failure, based on your clinical judgment.",
    "options": [{"text": "Systolic"}, {"text": "Diastolic"}],
    "codes": ["I50.9"],
    "source": "Guidelines I.B.2",
    "examples": {"asks": [{"setting": "inpatient", "note": "CHF."}], "silent": SILENT},
}
FILE: dict[str, Any] = {"lists": {"types": ["systolic", "diastolic"]}, "rules": [RULE]}


def written(folder: Path, file: dict[str, Any]) -> Path:
    path = folder / "queries.yaml"
    path.write_text(yaml.safe_dump(file), encoding="utf-8")
    return path


def changed(**fields: Any) -> dict[str, Any]:
    return FILE | {"rules": [RULE | fields]}


def test_a_good_file_is_read_and_its_lists_are_spread(tmp_path: Path) -> None:
    rules = load_query_rules(written(tmp_path, FILE))
    assert rules.rules[0].unless.stated == ("systolic", "diastolic")
    assert set(rules.index.find("Systolic CHF")) == {"systolic", "chf"}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (changed(examples={}), "heart-failure-type is an indicator without examples"),
        (changed(examples={"asks": RULE["examples"]["asks"]}), "is an indicator without examples"),
        (changed(examples={"silent": SILENT}), "is an indicator without examples"),
        (changed(codes=["I50.99"]), "heart-failure-type names 'I50.99', which is not in ICD-10-CM"),
        (changed(codes=["i50.9"]), "names 'i50.9'"),
        (changed(unless={"codes": ["I5X"]}), "names 'I5X'"),
        (changed(title="Sepsis"), "not compliant: new-diagnosis-in-title"),
        (changed(options=[{"text": "Systolic"}]), "too-few-options"),
        (changed(form="choice"), "form"),
        (changed(setings=["inpatient"]), "setings"),
        (changed(settings=[]), "settings"),
        (changed(requires=[{"of": ["edema"]}]), "names the indicator 'edema', which it does not define"),
        (changed(requires=[{"of": ["heart failure documented"], "at_least": 2}]), "at_least 2 of 1 cannot be met"),
        (changed(unless={"stated": ["@kinds"]}), "@kinds names no list; lists are types"),
        (changed(unless={"stated": ["systolic .."]}), "must begin and end with a word"),
        (changed(unless={"indicators": ["edema"]}), "names the indicator 'edema'"),
        (
            changed(options=[{"text": "Systolic", "needs": ["low EF"]}, {"text": "Diastolic"}]),
            "names the indicator 'low EF'",
        ),
        (changed(indicators=[{"name": "heart failure documented"}]), "needs terms, a measure, codes or findings"),
        (changed(indicators=[*RULE["indicators"], *RULE["indicators"]]), "distinct names"),
        (
            changed(indicators=[*RULE["indicators"], {"name": "low EF", "measure": "ef", "bounds": {"below": 40}}]),
            "names the measure 'ef', which is not under measures",
        ),
        (
            changed(indicators=[*RULE["indicators"], {"name": "low EF", "measure": "ef"}]),
            "measure and bounds go together",
        ),
        (
            changed(
                examples={
                    "asks": [{"setting": "inpatient", "note": "CHF.", "codes": {"I50.9": "HF!"}}],
                    "silent": SILENT,
                }
            ),
            "must be words of the example's note",
        ),
        (FILE | {"rules": [RULE, RULE]}, "topic heart-failure-type has two rules"),
        (FILE | {"rules": []}, "rules"),
        ({"lists": {}}, "rules"),
    ],
)
def test_a_faulty_file_is_refused(file: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, file)
    with pytest.raises(ValueError) as caught:
        load_query_rules(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        load_query_rules(tmp_path / "none.yaml")
