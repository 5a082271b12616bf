"""The organisation's rules: when they apply, what they find, and which files are refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.edits import RULES, Policy, check, load_policy
from clinical_coding.findings import Severity
from clinical_coding.records import Encounter

SHIPPED = Path(__file__).parents[3] / "configs" / "policy.yaml"
RULE: dict[str, Any] = {
    "id": "statin",
    "effective_from": "2026-05-01",
    "effective_to": "2026-06-30",
    "payers": ["medicare"],
    "settings": ["outpatient"],
    "specialties": ["cardiology"],
    "when": {"any": ["I25.1", "I21-I22"]},
    "unless": {"any": ["E78", "cpt:80061"]},
    "severity": "info",
    "explanation": "Coronary disease stands without lipids.",
    "reason": "Synthetic.",
    "source": "Synthetic policy 1",
    "fix": "See the lipids.",
}
ENCOUNTER: dict[str, Any] = {
    "setting": "outpatient",
    "specialty": "cardiology",
    "payer": "medicare",
    "service_start": "2026-05-04",
}


def codes(*keys: str, sequenced: bool = False) -> list[Code]:
    pairs = [key.split(":") if ":" in key else ["icd10cm", key] for key in keys]
    return [
        Code(system=CodeSystem(system), code=code, sequence=place if sequenced else None)
        for place, (system, code) in enumerate(pairs, start=1)
    ]


def found(
    *keys: str, rule: dict[str, Any] | None = None, sequenced: bool = False, **encounter: Any
) -> list[tuple[str, ...]]:
    policy = Policy.model_validate({"rules": [RULE | (rule or {})]})
    findings = check(
        Encounter.model_validate(ENCOUNTER | encounter),
        codes(*keys, sequenced=sequenced),
        systems=CodeSystems.embedded(),
        policy=policy,
        rules=(),
    )
    assert {finding.rule for finding in findings} <= {"statin"}
    return [finding.codes for finding in findings]


@pytest.fixture
def load(tmp_path: Path, systems: CodeSystems) -> Any:
    def load(content: dict[str, Any] | str) -> Policy:
        path = tmp_path / "policy.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return load_policy(path, systems)

    return load


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["I25.10"], [("icd10cm:I25.10",)]),
        (["I21.4", "I10"], [("icd10cm:I21.4",)]),
        (["I22.0", "I25.10"], [("icd10cm:I22.0", "icd10cm:I25.10")]),
        (["I10"], []),
        (["I25.2"], []),
        (["I25.10", "E78.5"], []),
        (["I25.10", "cpt:80061"], []),
        (["I25.10", "cpt:80053"], [("icd10cm:I25.10",)]),
    ],
)
def test_a_rule_is_set_off_and_answered_by_codes(keys: list[str], expected: list[tuple[str, ...]]) -> None:
    assert found(*keys) == expected


@pytest.mark.parametrize(
    ("changes", "applies"),
    [
        ({"payer": "medicaid"}, False),
        ({"payer": None}, False),
        ({"setting": "emergency"}, False),
        ({"specialty": "neurology"}, False),
        ({"service_start": "2026-05-01"}, True),
        ({"service_start": "2026-04-30"}, False),
        ({"service_start": "2026-06-30"}, True),
        ({"service_start": "2026-07-01"}, False),
        ({"service_start": None}, True),
    ],
)
def test_a_rule_applies_to_its_encounters(changes: dict[str, Any], applies: bool) -> None:
    assert bool(found("I25.10", **changes)) is applies


def test_a_rule_without_limits_applies_to_all() -> None:
    rule = {"payers": [], "settings": [], "specialties": [], "effective_to": None}
    assert found("I25.10", rule=rule, payer=None, setting="inpatient", specialty="other", service_start="2029-01-01")


@pytest.mark.parametrize(
    ("when", "keys", "sequenced", "expected"),
    [
        ({"all": ["E11", "N18"]}, ["E11.9", "N18.4"], False, [("icd10cm:E11.9", "icd10cm:N18.4")]),
        ({"all": ["E11", "N18"]}, ["E11.9"], False, []),
        ({"all": ["E11"], "any": ["I10", "I11"]}, ["I10", "E11.9"], False, [("icd10cm:E11.9", "icd10cm:I10")]),
        ({"all": ["E11"], "any": ["I11"]}, ["I10", "E11.9"], False, []),
        ({"first": ["I10"]}, ["I10", "E11.9"], True, [("icd10cm:I10",)]),
        ({"first": ["I10"]}, ["E11.9", "I10"], True, []),
        ({"first": ["I10"]}, ["I10", "E11.9"], False, []),
    ],
)
def test_conditions_combine(when: Any, keys: list[str], sequenced: bool, expected: Any) -> None:
    assert found(*keys, rule={"when": when, "unless": None}, sequenced=sequenced) == expected


def test_severities_of_built_in_rules_are_set(systems: CodeSystems) -> None:
    policy = Policy(severities={"combination-code-due": Severity.BLOCKING})
    findings = check(Encounter.model_validate(ENCOUNTER), codes("I10", "N18.4"), systems=systems, policy=policy)
    assert [(finding.rule, finding.severity) for finding in findings] == [("combination-code-due", Severity.BLOCKING)]


def test_the_shipped_policy_is_read(systems: CodeSystems) -> None:
    policy = load_policy(SHIPPED, systems)
    assert len(policy.rules) >= 5
    assert all(rule.source and rule.reason for rule in policy.rules)
    assert policy.codes_named()["heart-failure-type"] == ("icd10cm:I50.9",)


@pytest.mark.parametrize(
    ("rule_id", "keys", "answer", "encounter"),
    [
        ("sepsis-source", ["A41.9"], "J18.9", {"setting": "inpatient"}),
        ("sepsis-sequence", ["L03.115", "A40.3"], None, {"setting": "inpatient"}),
        ("heart-failure-type", ["I50.9"], None, {"setting": "inpatient"}),
        ("hypertensive-crisis-disease", ["I16.0"], "I10", {}),
        ("body-mass-index-condition", ["Z68.32"], "E66.9", {}),
        ("vaccination-reason", ["cpt:90471"], "Z23", {}),
        ("medicare-preventive-visit", ["cpt:99397"], None, {}),
        ("medicare-colonoscopy-screening", ["hcpcs:G0121"], "Z12.11", {}),
    ],
)
def test_every_shipped_rule_fires_and_is_answered(
    rule_id: str, keys: list[str], answer: str | None, encounter: dict[str, Any], systems: CodeSystems
) -> None:
    policy = load_policy(SHIPPED, systems)
    place = Encounter.model_validate(ENCOUNTER | encounter)

    def rules(*listed: str) -> set[str]:
        return {
            one.rule for one in check(place, codes(*listed, sequenced=True), systems=systems, policy=policy, rules=())
        }

    assert rules(*keys) == {rule_id}
    assert rules("J06.9") == set()
    if answer is not None:
        assert rules(*keys, answer) == set()


def test_every_shipped_rule_is_tested(systems: CodeSystems) -> None:
    marks = test_every_shipped_rule_fires_and_is_answered.pytestmark  # type: ignore[attr-defined]
    tested = {values[0] for values in marks[0].args[1]}
    assert tested == {rule.id for rule in load_policy(SHIPPED, systems).rules}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"when": {"any": ["I25.99"]}}, "rule statin names icd10cm:I25.99, which no release has that is in force from"),
        ({"unless": {"any": ["E78-E99"]}}, "names icd10cm:E99"),
        ({"when": {"any": ["icd10pcs:02703ZZ"]}}, "names icd10pcs:02703ZZ"),
        ({"when": {"any": ["A00.2"]}}, "names icd10cm:A00.2"),
        ({"when": {"any": ["icd9:250.00"]}}, "code system 'icd9'"),
        ({"when": {"any": ["E13-E08"]}}, "end before they begin"),
        ({"when": {"any": ["diabetes"]}}, "is not a code of icd10cm"),
        ({"when": {}}, "needs codes under any, all or first"),
        ({"wen": {"any": ["I10"]}}, "rules.0.wen: Extra inputs are not permitted"),
        ({"effective_from": None}, "rules.0.effective_from"),
        ({"effective_to": "2026-01-01"}, "effective_to is before effective_from"),
        ({"severity": "fatal"}, "rules.0.severity"),
        ({"id": "excludes1-conflict"}, "a built-in rule has this name"),
        ({"id": "No Spaces"}, "rules.0.id"),
        ({"settings": ["ward"]}, "rules.0.settings.0"),
    ],
)
def test_a_wrong_rule_is_refused(load: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=r"policy\.yaml") as caught:
        load({"rules": [RULE | changes]})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        {"rules": [RULE, RULE]},
        {"severities": {"no-such-rule": "info"}},
        {"severities": {"code-unknown": "fatal"}},
        {"rulez": []},
        "rules: [",
    ],
    ids=["an id twice", "severity of no rule", "no severity", "unknown field", "no YAML"],
)
def test_a_wrong_file_is_refused(load: Any, content: Any) -> None:
    with pytest.raises(ValueError, match=r"policy\.yaml"):
        load(content)


def test_codes_are_judged_in_the_releases_of_the_rules_dates(load: Any) -> None:
    later = RULE | {"when": {"any": ["A00.2"]}, "unless": None, "effective_to": None}
    assert load({"rules": [later]}).rules
    assert load({"rules": [later | {"effective_from": "2026-10-01"}]}).rules
    with pytest.raises(ValueError, match=r"names icd10cm:J18\.9"):
        load({"rules": [later | {"effective_from": "2026-10-01", "when": {"any": ["J18.9"]}}]})


def test_systems_that_are_not_held_are_judged_by_form(load: Any) -> None:
    policy = load({"rules": [RULE | {"when": {"any": ["cpt:99381-99387"]}}]})
    assert policy.codes_named() == {"statin": ("cpt:99381-99387", "icd10cm:E78", "cpt:80061")}


def test_rule_names_are_distinct_words() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name for name in names)
