"""A record under the hammer, as the ways to break it see it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from clinical_coding.code_library import CodeLibrary
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.edits.facts import DiagnosisFacts, facts_of
from clinical_coding.records import Encounter, Setting

__all__ = ["Draft"]


@dataclass
class Draft:
    """A record: its diagnoses in order, everything else apart."""

    rng: Random
    encounter: Encounter
    diagnoses: list[Code]
    others: list[Code]
    library: CodeLibrary

    def facts(self, code: Code) -> DiagnosisFacts:
        """What the release knows of a diagnosis."""
        return facts_of(self.library, code.code)

    def pick(self, test: Callable[[Code], bool]) -> int | None:
        """The place of a diagnosis that fits, if any does."""
        places = [place for place, code in enumerate(self.diagnoses) if test(code)]
        return self.rng.choice(places) if places else None

    def rewrite(self, place: int, code: str) -> str:
        """Put another number in a place; give its label key."""
        self.diagnoses[place] = self.diagnoses[place].model_copy(update={"code": code})
        return f"icd10cm:{code}"

    def insert(self, place: int, code: str) -> str:
        """Put a further diagnosis before a place; give its label key."""
        indicator = "Y" if self.encounter.setting is Setting.INPATIENT else None
        self.diagnoses.insert(
            place, Code(system=CodeSystem.ICD10CM, code=code, sequence=1, present_on_admission=indicator)
        )
        return f"icd10cm:{code}"

    def set(self, place: int, **changes: object) -> str:
        """Change fields of a diagnosis; give its label key."""
        self.diagnoses[place] = self.diagnoses[place].model_copy(update=changes)
        return self.diagnoses[place].key

    def has(self, *beginnings: str) -> bool:
        """Tell whether a diagnosis begins so."""
        return any(code.code.startswith(beginnings) for code in self.diagnoses)
