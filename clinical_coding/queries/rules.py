"""Query rules: which gaps in the documentation are asked about, by which indicators, in which words.

A rule says what must be in the notes (``requires``), what makes the question needless (``unless``), and what
is asked. Rules are values of ``configs/queries.yaml``; ``loading`` makes them ready for use. A rule knows no
note: ``chart`` looks for its indicators, ``asking`` puts the query together.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact
from clinical_coding.physician_queries import QueryForm
from clinical_coding.queries.measures import Bounds, Measure
from clinical_coding.records import Setting

__all__ = ["Example", "Examples", "Group", "Indicator", "Option", "Purpose", "QueryRule", "RulesFile", "Unless"]

Terms = tuple[str, ...]


class Purpose(StrEnum):
    """Why a query is asked; it decides which forms are allowed."""

    DIAGNOSIS = "diagnosis"
    """Indicators, findings or treatment without a diagnosis that explains them."""
    SPECIFICITY = "specificity"
    """A documented diagnosis lacks type, acuity, stage, side or the like."""
    CAUSE_AND_EFFECT = "cause-and-effect"
    """Whether two documented conditions, or a condition and a substance or procedure, are linked."""
    CONFLICT = "conflict"
    """The documentation contradicts itself."""
    PRESENT_ON_ADMISSION = "present-on-admission"
    """Whether a documented condition was there when the patient was admitted."""


class Indicator(Artefact):
    """Something to be found in this encounter; any one of its sources will do."""

    name: Annotated[str, Field(min_length=3, max_length=80)]
    """As the physician reads it; a diagnosis in it must be among the terms."""
    terms: Terms = ()
    """Words whose affirmed mention is the indicator."""
    past: bool = False
    """Mentions of the past count as well: of a procedure done, say."""
    measure: str | None = None
    """Name of a measure, read by ``bounds``."""
    bounds: Bounds | None = None
    codes: tuple[str, ...] = ()
    """ICD-10-CM codes, or beginnings of codes, among the encounter's; their evidence is cited."""
    exact_codes: tuple[str, ...] = ()
    """Like ``codes``, but whole."""
    titles: tuple[str, ...] = ()
    """Words, in lower case, of the official titles of codes among the encounter's; their evidence is cited."""
    findings: tuple[str, ...] = ()
    """Names of finding rules; the evidence of the finding is cited."""
    other_side: bool = False
    """What the evidence of the finding names, affirmed of the other side of the body."""

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if (self.measure is None) != (self.bounds is None):
            raise ValueError(f"indicator {self.name!r}: measure and bounds go together")
        coded = self.codes or self.exact_codes or self.titles
        if not (self.terms or self.measure or coded or self.findings or self.other_side):
            raise ValueError(f"indicator {self.name!r} needs terms, a measure, codes or findings")
        return self


class Group(Artefact):
    """A part of what a rule requires."""

    of: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of indicators."""
    at_least: Annotated[int, Field(ge=1)] = 1
    """How many of them."""


class Unless(Artefact):
    """What makes the question needless."""

    stated: Terms = ()
    """Words that settle it whether affirmed, uncertain or negated."""
    codes: tuple[str, ...] = ()
    """ICD-10-CM codes, or beginnings of codes, among the encounter's."""
    indicators: tuple[str, ...] = ()
    """Names of the rule's indicators that belong to another question."""


class Option(Artefact):
    """One answer to choose from."""

    text: Annotated[str, Field(min_length=2, max_length=120)]
    needs: tuple[str, ...] = ()
    """Indicators of which one must be there for this answer to be offered; none: the requirement is support enough."""


class Example(Artefact):
    """A small encounter by which a rule shows what it does."""

    setting: Setting
    note: Annotated[str, Field(min_length=1)]
    age: Annotated[int, Field(ge=0, le=130)] | None = None
    codes: dict[str, str] = Field(default_factory=dict)
    """ICD-10-CM code, and the words of the note that it rests on."""
    findings: dict[str, str] = Field(default_factory=dict)
    """Finding rule, and the words of the note that it rests on."""

    @model_validator(mode="after")
    def _quoted(self) -> Self:
        for name, words in (self.codes | self.findings).items():
            if not words or words not in self.note:
                raise ValueError(f"the words that {name} rests on must be words of the example's note")
        return self


class Examples(Artefact):
    """What a rule asks about and what it leaves alone."""

    asks: tuple[Example, ...] = ()
    silent: tuple[Example, ...] = ()


class QueryRule(Artefact):
    """One gap in the documentation and the question it gives rise to."""

    topic: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: str
    purpose: Purpose
    form: QueryForm
    settings: Annotated[tuple[Setting, ...], Field(min_length=1)]
    age_from: int | None = None
    """Years; an encounter of unknown age is asked about."""
    indicators: Annotated[tuple[Indicator, ...], Field(min_length=1)]
    requires: Annotated[tuple[Group, ...], Field(min_length=1)]
    """All of these."""
    unless: Unless = Unless()
    question: str
    options: tuple[Option, ...] = ()
    """Without ``OTHER`` and ``UNABLE_TO_DETERMINE``, which every query but an open-ended one offers."""
    codes: tuple[str, ...] = ()
    """ICD-10-CM codes that an answer bears on."""
    source: str
    examples: Examples = Examples()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        names = [indicator.name for indicator in self.indicators]
        if len(set(names)) != len(names):
            raise ValueError(f"query rule {self.topic}: indicators must have distinct names")
        named = {name for group in self.requires for name in group.of} | {
            name for option in self.options for name in option.needs
        }
        named.update(self.unless.indicators)
        if unknown := sorted(named - set(names)):
            raise ValueError(f"query rule {self.topic} names the indicator {unknown[0]!r}, which it does not define")
        for group in self.requires:
            if group.at_least > len(group.of):
                raise ValueError(f"query rule {self.topic}: at_least {group.at_least} of {len(group.of)} cannot be met")
        if not self.examples.asks or not self.examples.silent:
            raise ValueError(
                f"query rule {self.topic} is an indicator without examples; "
                "give one encounter at least under each of examples.asks and examples.silent"
            )
        return self

    @property
    def certain(self) -> frozenset[str]:
        """Names of the indicators that every query of this rule cites."""
        return frozenset(name for group in self.requires if group.at_least == len(group.of) for name in group.of)

    def terms(self) -> Terms:
        """Every term that the rule looks for, repetitions included."""
        own = tuple(term for indicator in self.indicators for term in indicator.terms)
        return own + self.unless.stated


class RulesFile(Artefact):
    """What ``configs/queries.yaml`` holds."""

    lists: dict[str, Terms] = Field(default_factory=dict)
    """Terms that several rules share; ``@name`` among a rule's terms stands for all of them."""
    measures: dict[str, Measure] = Field(default_factory=dict)
    rules: Annotated[tuple[QueryRule, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _spread_lists(cls, values: object) -> object:
        if isinstance(values, dict) and isinstance(values.get("lists", {}), dict):
            return values | {"rules": _spread(values.get("rules"), values.get("lists", {}))}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        topics = [rule.topic for rule in self.rules]
        if repeated := sorted({topic for topic in topics if topics.count(topic) > 1}):
            raise ValueError(f"topic {repeated[0]} has two rules; give each its own topic")
        for rule in self.rules:
            for indicator in rule.indicators:
                if indicator.measure is not None and indicator.measure not in self.measures:
                    raise ValueError(
                        f"query rule {rule.topic} names the measure {indicator.measure!r}, which is not under measures"
                    )
        return self


def _spread(value: object, lists: dict[str, object]) -> object:
    """Put the terms of a list in the place of its name, wherever it stands."""
    if isinstance(value, dict):
        return {key: _spread(item, lists) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    spread: list[object] = []
    for item in value:
        if isinstance(item, str) and item.startswith("@"):
            terms = lists.get(item[1:])
            if not isinstance(terms, list):
                raise ValueError(f"{item} names no list; lists are {', '.join(sorted(lists)) or 'none'}")
            spread.extend(terms)
        else:
            spread.append(_spread(item, lists))
    return spread
