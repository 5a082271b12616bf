"""What grouping gives: the MS-DRG, what each code does to it, and the HCCs.

Coders, the gateway's answer and reports read it. It names codes and rules, never clinical text.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from clinical_coding.artefact import Artefact

__all__ = ["CodeEffect", "CodeRole", "ComplicationLevel", "Grouping", "HccCategory", "NotCounted"]


class CodeRole(StrEnum):
    """The part that a code plays in grouping."""

    PRINCIPAL = "principal"
    SECONDARY = "secondary"
    PROCEDURE = "procedure"


class ComplicationLevel(StrEnum):
    """How the version's tables rank a secondary diagnosis."""

    MCC = "mcc"
    """Major complication or comorbidity."""
    CC = "cc"
    """Complication or comorbidity."""
    NONE = "none"


class NotCounted(StrEnum):
    """Why a CC or MCC does not count on this stay."""

    EXCLUDED_BY_PRINCIPAL = "excluded-by-principal"
    """The principal diagnosis excludes it (Definitions Manual, Appendix C, part 1)."""
    EXCLUDED_BY_DRG = "excluded-by-drg"
    """The DRG itself stands for the condition (Appendix C, part 3)."""
    DIED = "died"
    """It counts only for a patient who left alive (Appendix C, part 2)."""
    HOSPITAL_ACQUIRED = "hospital-acquired"
    """A hospital-acquired condition that was not present on admission (Appendix I)."""


class CodeEffect(Artefact):
    """What one code does to the DRG."""

    key: str
    """Label key, such as ``icd10cm:J96.01``."""
    role: CodeRole
    level: ComplicationLevel
    """By the tables; ``none`` for the principal diagnosis and for procedures."""
    not_counted: NotCounted | None
    """Why the level does not count here; null when it counts, or there is none."""
    drg_without: str | None
    """The DRG, were this one code not there; null where it stays the same, and for the principal diagnosis."""
    explanation: str
    """All of this in a sentence."""


class HccCategory(Artefact):
    """The risk-adjustment category of one diagnosis."""

    key: str
    """Label key of the diagnosis."""
    model: str
    """Name and version of the model, such as ``CMS-HCC Model V28``."""
    hcc: str
    """Number of the category, such as ``226``."""
    description: str | None
    counts: bool
    """False when the model drops the category on this encounter."""
    superseded_by: str | None
    """The category above it in the hierarchy that is met too; null when none is."""


class Grouping(Artefact):
    """The MS-DRG of an inpatient stay, and how it comes about."""

    drg: Annotated[str, Field(pattern=r"^\d{3}$")]
    """Number; ``999`` when the stay cannot be grouped."""
    description: str
    """Title in the Definitions Manual of the version."""
    mdc: str | None
    """Major diagnostic category, two digits; null before and outside of the categories."""
    kind: Literal["medical", "surgical"] | None
    """Null for 998 and 999."""
    grouper_version: str
    """MS-DRG version that grouped, such as ``v43.1``."""
    is_version_of_date: bool
    """True when that version is in force on the discharge date; ``remarks`` says why where it is not."""
    principal: str
    """Label key of the principal diagnosis."""
    is_working: bool
    """True when the principal diagnosis was proposed by the caller rather than sequenced first on the claim."""
    relative_weight: float | None
    """Of the DRG, by the weight table of the discharge date; null when none is loaded, or the version is another's."""
    drg_without_complications: str
    """The DRG that the principal diagnosis and the procedures give without any secondary diagnosis that counts."""
    effects: tuple[CodeEffect, ...]
    """One for each code, the principal diagnosis first."""
    hccs: tuple[HccCategory, ...]
    remarks: tuple[str, ...]
    """What was not known, or is beyond the grouper, and how it was taken, where it bears on the DRG."""
