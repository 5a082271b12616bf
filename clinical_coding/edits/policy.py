"""The organisation's and payers' own rules, in the same form of finding as the built-in ones.

A policy rule says when it applies (dates, payers, settings, specialties), which codes set it off, and which
codes answer it. A policy also sets the severity of built-in rules. It does not know which codes exist; that is
judged where the file is read, in ``policy_file``.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from clinical_coding.codes import Code
from clinical_coding.edits.code_sets import CodeSet, CodeSpan, parse_codes
from clinical_coding.findings import Severity
from clinical_coding.records import Encounter, Setting

__all__ = ["CodeCondition", "Policy", "PolicyRule"]

_MODEL = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True)

Codes = Annotated[CodeSet, BeforeValidator(parse_codes)]


class CodeCondition(BaseModel):
    """What must be among the codes; every field that is given must hold."""

    model_config = _MODEL

    any: Codes = CodeSet(())
    """At least one code lies in one of these codes and ranges."""
    all: Codes = CodeSet(())
    """Each of these codes and ranges holds a code."""
    first: Codes = CodeSet(())
    """The principal or first-listed diagnosis lies in one of these; it fails where the sequence is not known."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.any.spans or self.all.spans or self.first.spans):
            raise ValueError("a condition needs codes under any, all or first")
        return self

    @property
    def spans(self) -> tuple[CodeSpan, ...]:
        """All codes and ranges that it names."""
        return (*self.any.spans, *self.all.spans, *self.first.spans)

    def met_by(self, codes: Sequence[Code], first: Code | None) -> tuple[str, ...]:
        """Find the codes that meet it.

        Args:
            codes: All codes of the encounter.
            first: The principal or first-listed diagnosis, where it is known.

        Returns:
            Label keys; empty when it is not met.
        """
        parts = [[code for code in codes if _lies_in(code, (span,))] for span in self.all.spans]
        if self.any.spans:
            parts.append([code for code in codes if _lies_in(code, self.any.spans)])
        if self.first.spans:
            parts.append([first] if first is not None and _lies_in(first, self.first.spans) else [])
        if not all(parts):
            return ()
        return tuple(dict.fromkeys(code.key for part in parts for code in part))


class PolicyRule(BaseModel):
    """One rule of the organisation or of a payer."""

    model_config = _MODEL

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
    """Names it in findings, such as ``sepsis-organism``."""
    effective_from: date
    effective_to: date | None = None
    """Last day; null while it holds."""
    payers: tuple[str, ...] = ()
    """As encounters name them; empty for all."""
    settings: tuple[Setting, ...] = ()
    specialties: tuple[str, ...] = ()
    when: CodeCondition
    """What sets it off."""
    unless: CodeCondition | None = None
    """What answers it."""
    severity: Severity
    explanation: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]
    """Why the organisation has the rule; for those who keep the policy."""
    source: Annotated[str, Field(min_length=1)]
    fix: str | None = None

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.effective_to is not None and self.effective_to < self.effective_from:
            raise ValueError(f"rule {self.id}: effective_to is before effective_from; correct one of the two")
        return self

    @property
    def spans(self) -> tuple[CodeSpan, ...]:
        """All codes and ranges that it names."""
        return self.when.spans + (self.unless.spans if self.unless else ())

    def applies(self, encounter: Encounter, on: date | None) -> bool:
        """Tell whether it holds for an encounter; an unknown date is taken for one on which it does."""
        return (
            (on is None or (self.effective_from <= on <= (self.effective_to or on)))
            and (not self.payers or encounter.payer in self.payers)
            and (not self.settings or encounter.setting in self.settings)
            and (not self.specialties or encounter.specialty in self.specialties)
        )


class Policy(BaseModel):
    """All rules of the organisation; without any, the built-in rules alone."""

    model_config = _MODEL

    severities: dict[str, Severity] = {}
    """Severity of built-in rules, by name, where it differs from their own."""
    rules: tuple[PolicyRule, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        ids = [rule.id for rule in self.rules]
        if repeated := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"rules: the id {', '.join(repeated)} is given twice; every rule needs its own")
        return self

    def codes_named(self) -> Mapping[str, tuple[str, ...]]:
        """The codes and ranges that each rule names, as it writes them: ``icd10cm:E08-E13``."""
        return {rule.id: tuple(dict.fromkeys(f"{span.system}:{span}" for span in rule.spans)) for rule in self.rules}


def _lies_in(code: Code, spans: Iterable[CodeSpan]) -> bool:
    return any(span.system is code.system and span.holds(code.code) for span in spans)
