from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.code_library import load_icd10cm
from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import CodeAction, Decision
from clinical_coding.suggestions import RouteDecision
from feedback.decision_checks import check_decision
from feedback.overrides import apply_decision, derive_overrides
from feedback.settings import ReasonCodes
from feedback.shown import Shown

SYSTEMS = CodeSystems.embedded()

CODES = load_icd10cm().leaves()[:40]


@st.composite
def decisions(draw: st.DrawFn) -> tuple[frozenset[str], Decision]:
    """Suggested codes, and any decision that makes sense on them."""
    codes = draw(st.lists(st.sampled_from(CODES), unique=True, max_size=12))
    num_suggested = draw(st.integers(0, len(codes)))
    suggested, spare = codes[:num_suggested], codes[num_suggested:]
    said: list[dict[str, Any]] = []
    for code in suggested:
        action = draw(st.sampled_from(["unmentioned", "accept", "reject", "modify"]))
        if action == "modify" and spare:
            said.append({"action": action, "code": code, "to": spare.pop(), "reason": "wrong-type-or-cause"})
        elif action == "reject":
            said.append({"action": action, "code": code, "reason": "not-documented"})
        elif action == "accept":
            said.append({"action": action, "code": code})
    said += [{"action": "add", "code": code, "reason": "missed-documentation"} for code in spare if draw(st.booleans())]
    said = draw(st.permutations(said))
    body = {"suggestion_id": "s", "seconds_spent": 1, "codes": [{"system": "icd10cm", **one} for one in said]}
    return frozenset(f"icd10cm:{code}" for code in suggested), Decision.model_validate(body)


@given(case=decisions())
def test_overrides_are_the_difference_between_suggested_and_final_codes(
    reasons: ReasonCodes, case: tuple[frozenset[str], Decision]
) -> None:
    suggested, decision = case
    shown = Shown("s", RouteDecision.ASSISTED, "cardiology", None, "0" * 64, suggested)
    check_decision(decision, shown=shown, reasons=reasons, systems=SYSTEMS)
    final = apply_decision(suggested, decision=decision)
    at = datetime.now(UTC)
    overrides = derive_overrides(
        decision, route=RouteDecision.ASSISTED, decision_id="d", principal_id="p", created_at=at
    )
    taken = [override.suggested_key for override in overrides if override.suggested_key is not None]
    brought = [override.coder_key for override in overrides if override.coder_key is not None]
    assert (sorted(taken), sorted(brought)) == (sorted(suggested - final), sorted(final - suggested))
    assert (final == suggested) == (overrides == ())
    assert [override.override_id for override in overrides] == sorted({o.override_id for o in overrides})
    differing = [code for code in decision.codes if code.action is not CodeAction.ACCEPT]
    assert [(o.action, o.code, o.to_code, o.reason) for o in overrides] == [
        (code.action, code.code, code.to, code.reason) for code in differing
    ]
