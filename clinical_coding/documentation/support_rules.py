"""The rules by which a mention does not support a code, in the words that coders read."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from clinical_coding.records import Setting

__all__ = ["RULES", "SupportRule"]

_EDITION: Final = "ICD-10-CM Official Guidelines FY 2026"


@dataclass(frozen=True, slots=True)
class SupportRule:
    """Why a mention does not support a code, and what would settle it."""

    explanation: str
    source: str
    fix: str
    inpatient_source: str | None = None
    """Where the guidelines say it of hospital stays, if elsewhere."""

    def source_of(self, setting: Setting) -> str:
        """What the rule rests on in a setting."""
        return self.inpatient_source if setting is Setting.INPATIENT and self.inpatient_source else self.source


RULES: Final[Mapping[str, SupportRule]] = MappingProxyType(
    {
        "negated": SupportRule(
            explanation=(
                "The documentation says that this is absent or has been ruled out; a code needs the "
                "provider's statement that the condition exists."
            ),
            source=f"{_EDITION}, I.A.19",
            fix="Remove the code, or cite the statement that establishes it.",
        ),
        "uncertain-outpatient": SupportRule(
            explanation=(
                "The diagnosis is documented as uncertain, such as probable, suspected or to be ruled out. "
                "Outside hospital stays an uncertain diagnosis is not coded: code to the highest certainty "
                "known of this encounter."
            ),
            source=f"{_EDITION}, IV.H",
            fix="Code the sign or symptom, abnormal result or other reason for the encounter instead.",
        ),
        "uncertain-not-at-discharge": SupportRule(
            explanation=(
                "The diagnosis is documented as uncertain, and not where the stay concludes. A hospital "
                "stay codes an uncertain diagnosis as if established only when it is still uncertain at "
                "discharge."
            ),
            source=f"{_EDITION}, II.H and III.C",
            fix=(
                "Code the sign or symptom, or cite the discharge summary or final diagnosis that still "
                "names it; else ask the provider."
            ),
        ),
        "uncertain-never-coded": SupportRule(
            explanation=(
                "The diagnosis is documented as uncertain, and this one is coded only when confirmed, in "
                "every setting (HIV, Zika, COVID-19, influenza by identified virus)."
            ),
            source=f"{_EDITION}, I.C.1.a.1, I.C.1.f, I.C.1.g.1.a and I.C.10.c",
            fix="Code the signs and symptoms or the exposure, or cite the confirmation.",
        ),
        "family-history": SupportRule(
            explanation="The documentation says this of a relative, not of the patient.",
            source=f"{_EDITION}, I.C.21.c.4",
            fix="Remove the code; where it matters to this care, code the family history (Z80 to Z84).",
        ),
        "hypothetical": SupportRule(
            explanation=(
                "The documentation speaks of what may come, such as a risk, a precaution or a medication as "
                "needed; a code needs the provider's statement that the condition exists."
            ),
            source=f"{_EDITION}, I.A.19",
            fix="Remove the code, or cite the statement that establishes it.",
        ),
        "historical": SupportRule(
            explanation=(
                "The documentation speaks of the past. A condition that was treated and no longer exists is not coded."
            ),
            source=f"{_EDITION}, IV.J",
            inpatient_source=f"{_EDITION}, III.A",
            fix=(
                "Code the personal history (Z85 to Z87) where it matters to this care, or cite the "
                "statement that the condition is present."
            ),
        ),
    }
)
