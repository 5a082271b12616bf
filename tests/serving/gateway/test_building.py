import uuid
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.bundle import Label
from clinical_coding.codes import CodeSystem, EvidenceSpan
from clinical_coding.predictions import PredictedCode
from clinical_coding.suggestions import Suggestion, SuggestionRequest, VersionName
from scripts.answer_rules import load_rules
from serving.gateway.building import SuggestionBuilder, as_answered
from serving.gateway.dispatch import Scored
from serving.gateway.reviewing import read_notes

RULES = load_rules(Path("none"))
VERSION = VersionName(name="clinical-coder", number=1, alias=None, bundle_sha256="0" * 64)
TEXT = "é𝐱 hypertension 🫀 ok"
REQUEST = SuggestionRequest.model_validate(
    {
        "record_id": "r",
        "encounter": {"setting": "outpatient", "specialty": "x"},
        "notes": [{"note_id": "a", "text": TEXT}, {"note_id": "b", "text": "second"}],
    }
)


def scored(
    code: str, confidence: float, *, suggested: bool = False, system: str = "icd10cm", **more: Any
) -> PredictedCode:
    return PredictedCode(system=CodeSystem(system), code=code, confidence=confidence, suggested=suggested, **more)


def build(*codes: PredictedCode, degraded: bool = False) -> Suggestion:
    labels = [Label(system=CodeSystem.ICD10CM, release="2026-04", code="I10", description="Hypertension")]
    builder = SuggestionBuilder(labels, version=VERSION, rules=RULES)
    scored_codes = Scored(tuple(codes), degraded=degraded, timings=None, waited_seconds=0.0)
    return builder.build(REQUEST, scored=scored_codes, read=read_notes(REQUEST.notes), trace_id="t")


def alternatives(*codes: PredictedCode) -> list[str]:
    return [other.code for other in build(*codes).codes[0].alternatives]


def test_alternatives_of_icd10cm_come_from_the_category_first() -> None:
    found = alternatives(
        scored("I21.4", 0.9, suggested=True),
        scored("I25.10", 0.5),
        scored("J45.909", 0.45),
        scored("I21.3", 0.1),
        scored("I21.09", 0.2),
        scored("I20.0", 0.05),
    )
    assert found == ["I21.09", "I21.3", "I25.10"]


def test_alternatives_elsewhere_share_the_longest_beginning() -> None:
    found = alternatives(
        scored("99213", 0.9, suggested=True, system="cpt"),
        scored("99285", 0.5, system="cpt"),
        scored("99214", 0.3, system="cpt"),
        scored("93000", 0.2, system="cpt"),
        scored("I10", 0.2),
    )
    assert found == ["99214", "99285"]


def test_other_suggested_codes_are_no_alternatives() -> None:
    assert alternatives(scored("I21.4", 0.9, suggested=True), scored("I21.3", 0.8, suggested=True)) == []


def test_evidence_is_cut_by_code_points_from_its_own_note() -> None:
    spans = (EvidenceSpan(note_id="a", start=3, end=15), EvidenceSpan(note_id="b", start=0, end=6))
    [code] = build(scored("I10", 0.9, suggested=True, evidence=spans)).codes
    assert [span.text for span in code.evidence] == ["hypertension", "second"]
    assert code.description == "Hypertension"


def test_the_manual_route_withholds_the_codes() -> None:
    suggestion = build(scored("I10", 0.05, suggested=True))
    assert (suggestion.route.decision, [code.code for code in suggestion.codes]) == ("manual", ["I10"])
    answered = as_answered(suggestion)
    assert answered == suggestion.model_copy(update={"codes": ()})


def test_other_routes_withhold_nothing() -> None:
    suggestion = build(scored("I10", 0.9, suggested=True))
    assert as_answered(suggestion) is suggestion


def test_ids_are_uuid7_in_order() -> None:
    ids = [uuid.UUID(build().suggestion_id) for _ in range(50)]
    assert {value.version for value in ids} == {7}
    assert len(set(ids)) == 50
    assert [value.int >> 80 for value in ids] == sorted(value.int >> 80 for value in ids)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=12), st.booleans())
def test_ranks_follow_the_backend_and_flags_pass_through(drawn: list[tuple[float, bool]], degraded: bool) -> None:
    ordered = sorted(drawn, key=lambda pair: -pair[0])
    codes = [scored(f"I{number:02}", c, suggested=s) for number, (c, s) in enumerate(ordered)]
    suggestion = build(*codes, degraded=degraded)
    assert suggestion.degraded is degraded
    assert [code.rank for code in suggestion.codes] == list(range(1, len(suggestion.codes) + 1))
    assert [code.code for code in suggestion.codes] == [code.code for code in codes if code.suggested]
    assert as_answered(suggestion).codes == (() if suggestion.route.decision == "manual" else suggestion.codes)
    offered = {other.code for code in suggestion.codes for other in code.alternatives}
    assert offered.isdisjoint({code.code for code in codes if code.suggested})
