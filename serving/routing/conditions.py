"""What a routing rule can ask of an encounter. Each field that a rule states must hold; no field, always.

Where an input may be missing, the rule says whether ``unknown`` meets it.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clinical_coding.findings import Severity
from clinical_coding.records import Complexity, Setting
from serving.routing.facts import RoutingFacts

__all__ = ["CodeRange", "Condition"]

Unknown = Literal["unknown"]
CodeRange = Annotated[str, Field(pattern=r"^(icd10cm|icd10pcs|cpt|hcpcs):[0-9A-Z.]+(-[0-9A-Z.]+)?$")]
"""``icd10cm:T80-T88``, every code that begins with one of these or lies between, or ``icd10cm:Z00.6``."""
Phrase = Annotated[str, Field(min_length=3, pattern=r"^[a-z][a-z -]+[a-z]$")]


class Condition(BaseModel):
    """All of what is stated must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    settings: frozenset[Setting] | None = None
    specialties: frozenset[str] | None = None
    complexities: frozenset[Complexity | Unknown] | None = None
    emergency_levels: frozenset[Annotated[int, Field(ge=1, le=5)] | Unknown] | None = None
    """Of the encounter, or of the suggested visit code, whichever is higher."""
    procedures: frozenset[Literal["none", "one", "several"]] | None = None
    """How many procedures are suggested."""
    flags: frozenset[str] | None = None
    """One of these stands on the encounter."""
    codes: tuple[CodeRange, ...] | None = None
    """One of the suggested codes lies in one of these."""
    phrases: frozenset[Phrase] | None = None
    """A note says one of these, in lower case: not denied, and not of a relative."""
    codes_changed: Literal[True] | None = None
    """A release changed one of the suggested codes within the policy's ``changed_within_days``."""
    severities: frozenset[Severity] | None = None
    """A finding has one of these."""
    code_withheld: Literal[True] | None = None
    """The documentation does not support a code that the model would suggest."""
    documentation_gap: Literal[True] | None = None
    """There is a question to the physician."""
    drgs: frozenset[Annotated[str, Field(pattern=r"^\d{3}$")]] | None = None
    """The encounter's DRG or the working one is among these."""
    drg_weight_above: Annotated[float, Field(gt=0)] | None = None
    """Relative weight; one that is not known is not above."""
    drg_weight: Unknown | None = None
    """No relative weight is known, or not that of the DRG that the encounter names."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("when must state at least one condition; a rule that always fires routes nothing")
        return self

    def holds(self, facts: RoutingFacts) -> bool:
        """Whether everything that is stated holds of an encounter."""
        stated = ((name, getattr(self, name)) for name in type(self).model_fields)
        return all(_TESTS[name](value, facts) for name, value in stated if value is not None)


def _num_procedures(facts: RoutingFacts) -> str:
    return ("none", "one", "several")[min(facts.num_procedures, 2)]


def _lies_in(code: str, first: str, last: str) -> bool:
    # CPT's categories differ by the last letter, which a range of 0001T to 9999T means.
    if len(first) == len(code) and first[-1].isalpha() and not code.endswith(first[-1]):
        return False
    # A range of categories holds what lies below them: T88.7XXA begins with T88.
    return first <= code[: len(first)] and code[: len(last)] <= last


def _in_ranges(ranges: tuple[str, ...], facts: RoutingFacts) -> bool:
    for text in ranges:
        system, _, span = text.partition(":")
        first, _, last = span.partition("-")
        if any(code.system == system and _lies_in(code.code, first, last or first) for code in facts.suggested):
            return True
    return False


_TESTS: Final[Mapping[str, Callable[..., bool]]] = {
    "settings": lambda value, facts: facts.encounter.setting in value,
    "specialties": lambda value, facts: facts.encounter.specialty in value,
    "complexities": lambda value, facts: (facts.encounter.complexity or "unknown") in value,
    "emergency_levels": lambda value, facts: (facts.emergency_level or "unknown") in value,
    "procedures": lambda value, facts: _num_procedures(facts) in value,
    "flags": lambda value, facts: not value.isdisjoint(facts.encounter.flags),
    "codes": _in_ranges,
    "phrases": lambda value, facts: not value.isdisjoint(facts.affirmed_words),
    "codes_changed": lambda _, facts: bool(facts.changed),
    "severities": lambda value, facts: not value.isdisjoint(facts.severities),
    "code_withheld": lambda _, facts: facts.num_withheld > 0,
    "documentation_gap": lambda _, facts: facts.num_queries > 0,
    "drgs": lambda value, facts: not value.isdisjoint(facts.drgs),
    "drg_weight_above": lambda value, facts: facts.drg_weight is not None and facts.drg_weight > value,
    "drg_weight": lambda _, facts: facts.is_drg_weight_unknown,
}
