"""One version of the MS-DRG grouper, behind a typed face.

It takes a stay as the grouper sees one and gives a number. It knows nothing of records and releases. Source: the
CMS MS-DRG Definitions Manual, as implemented by the package ``drgpy``, whose tables are used as they are.

What the package does not do: age and birth weight are not taken; no DRG 789 (neonate who died or was transferred) is
given; HIV as a secondary diagnosis does not lead to major diagnostic category 25; and every hospital-acquired
condition that was not present on admission is taken not to count, also those that hold only after certain procedures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from clinical_coding.grouping.groupings import ComplicationLevel, NotCounted

__all__ = [
    "DIED",
    "HACS_AFTER_OPERATIONS",
    "HACS_AFTER_PROCEDURES",
    "LEFT_AGAINST_ADVICE",
    "UNGROUPABLE",
    "Grouper",
    "Sex",
    "Stay",
    "dotted",
    "load_grouper",
]

Sex = Literal["F", "M"]

UNGROUPABLE: Final = "999"
DIED: Final = "20"
"""Discharge status (UB-04, form locator 17) of a patient who died."""
LEFT_AGAINST_ADVICE: Final = "07"
HACS_AFTER_OPERATIONS: Final = frozenset({"08", "10", "11", "12"})
"""Hospital-acquired conditions that hold only after certain operations: bypass, joint, bariatric, spine surgery."""
HACS_AFTER_PROCEDURES: Final = frozenset({"13", "14"})
"""Those that hold only after certain procedures of any kind: cardiac devices, venous catheters."""

_HIV_CATEGORY: Final = "25"
_HIV: Final = "974&975&976|PSDX OF HIV INFECTION"

# A version takes some 90 MB; two fiscal years of two versions each stay loaded.
_VERSIONS_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class Stay:
    """What the grouper takes of an inpatient stay. Codes are written without dots."""

    principal: str
    secondaries: tuple[str, ...]
    procedures: tuple[str, ...]
    sex: Sex
    discharge_status: str
    """Two characters of UB-04 form locator 17."""
    present_on_admission: Mapping[str, str]
    """Indicator by diagnosis; one that is missing is taken as present."""


def dotted(diagnosis: str) -> str:
    """Write a diagnosis of the grouper in its usual form."""
    return f"{diagnosis[:3]}.{diagnosis[3:]}".removesuffix(".")


class Grouper:
    """One version of MS-DRG."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.version: str = engine.version

    def knows(self, principal: str) -> bool:
        """Tell whether any rule of the version starts from this principal diagnosis."""
        return principal in self._engine.dxmap

    def assign(self, stay: Stay) -> str:
        """Group a stay.

        Returns:
            Three digits; 999 when no rule applies.
        """
        return next(iter(self._candidates(stay)), UNGROUPABLE)

    def is_operation(self, procedure: str) -> bool:
        """Tell whether a procedure is an operating-room procedure (Definitions Manual, Appendix E)."""
        return procedure in self._engine.orpcsmap

    def level(self, diagnosis: str) -> ComplicationLevel:
        """Rank a secondary diagnosis by the version's table, before any exclusion."""
        row = self._engine.ccmap.get(diagnosis)
        return ComplicationLevel.NONE if row is None else ComplicationLevel(row["level"].lower())

    def hospital_acquired_condition(self, diagnosis: str) -> str | None:
        """Name the category, two digits, of a diagnosis on the list of hospital-acquired conditions."""
        row = self._engine.ccmap.get(diagnosis)
        return None if row is None else row["hac"]

    def not_counted(self, diagnosis: str, stay: Stay, *, drg: str) -> NotCounted | None:
        """Say why a CC or MCC does not count on a stay; null when it does, or the diagnosis is neither.

        Args:
            diagnosis: One of the stay's secondary diagnoses.
            stay: The stay.
            drg: What the stay was grouped to.
        """
        row = self._engine.ccmap.get(diagnosis)
        if row is None:
            return None
        if stay.principal in self._engine.exmap.get(row["pdx"], ()):
            return NotCounted.EXCLUDED_BY_PRINCIPAL
        if row["aowa"] and stay.discharge_status == DIED:
            return NotCounted.DIED
        if row["hac"] and stay.present_on_admission.get(diagnosis) in {"N", "U"}:
            return NotCounted.HOSPITAL_ACQUIRED
        if diagnosis in self._engine.drg_exclusions.get(drg, ()):
            return NotCounted.EXCLUDED_BY_DRG
        return None

    def lies_in_hiv_category_too(self, stay: Stay) -> bool:
        """Tell whether rules of category 25 apply besides those of the DRG that is given."""
        return self.mdc(self.assign(stay)) != _HIV_CATEGORY and any(
            self.mdc(drg) == _HIV_CATEGORY for drg in self._candidates(stay)
        )

    def title(self, drg: str) -> str:
        """The title of a DRG in the version's Definitions Manual."""
        return str(self._engine.drgmap[drg]["desc"])

    def mdc(self, drg: str) -> str | None:
        """The major diagnostic category of a DRG; null for those before and outside of the categories."""
        return self._engine.drgmap[drg]["mdc"] or None

    def kind(self, drg: str) -> Literal["medical", "surgical"] | None:
        """Tell medical from surgical DRGs; null for those that are neither."""
        row = self._engine.drgmap[drg]
        if row["is_surgical"]:
            return "surgical"
        return "medical" if row["is_medical"] else None

    def _candidates(self, stay: Stay) -> list[str]:
        """Every DRG whose rules apply, the one to give first."""
        engine = self._engine
        if not self.knows(stay.principal):
            # The package would take the code without its last character instead.
            return []
        # Codes without any rule do not bear on the DRG, and looking them up would grow the package's tables.
        drgs: list[str] = engine.get_drg_all(
            [stay.principal, *(code for code in stay.secondaries if code in engine.dxmap or code in engine.ccmap)],
            [code for code in stay.procedures if code in engine.prmap or code in engine.orpcsmap],
            stay.sex,
            stay.discharge_status != DIED,
            dict(stay.present_on_admission),
            stay.discharge_status,
        )
        return drgs


@lru_cache(maxsize=_VERSIONS_KEPT)
def load_grouper(version: str) -> Grouper:
    """Load a version's tables: 0.3 s and 90 MB the first time.

    Raises:
        ModuleNotFoundError: The package that holds the tables is not installed.
    """
    try:
        from drgpy.msdrg import DRGEngine
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "the package drgpy with the MS-DRG tables is not installed; "
            'install it with: pip install "chartloop[clinical-coding]"'
        ) from None

    class Engine(DRGEngine):  # type: ignore[misc]  # the package has no types
        """The package's grouper, with the one rule of category 25 that it lacks."""

        def get_features(self, *arguments: Any, **named: Any) -> Any:
            # Every principal diagnosis that may go with HIV, pneumonia for one, is marked for category 25. Without
            # HIV itself it does not lie there, or an unrelated operation would be grouped to 969 or 970.
            features = super().get_features(*arguments, **named)
            if not features[_HIV]:
                features.pop("_MDC25", None)
            return features

    return Grouper(Engine(version=version))
