"""The compliance linter: what makes a query one that must not be sent.

It judges the words, the form and the indicators of a query; whether the question is worth asking is the rules'
business. Source: Guidelines for Achieving a Compliant Query Practice (AHIMA and ACDIS, 2022 update), in our own
words, and in one point more strict: a choice needs two supported answers beside the two that are always there.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from clinical_coding.physician_queries import OTHER, UNABLE_TO_DETERMINE, PhysicianQuery, QueryForm
from clinical_coding.queries import wording
from clinical_coding.queries.rules import Indicator, Option, Purpose, QueryRule

__all__ = ["YES_NO_OPTIONS", "Basis", "Fault", "faults_of", "faults_of_rule", "offered"]

YES_NO_OPTIONS: Final = ("Yes", "No")
_ALWAYS_OFFERED: Final = (OTHER, UNABLE_TO_DETERMINE)
_MIN_SUPPORTED_OPTIONS: Final = 2
_MIN_QUESTION_WORDS: Final = 6
_MAX_QUESTION_WORDS: Final = 80


class Fault(StrEnum):
    """What can be wrong with a query."""

    LEADING = "leading"
    """The words direct to an answer."""
    NEW_DIAGNOSIS_IN_TITLE = "new-diagnosis-in-title"
    """The title names a diagnosis that no cited indicator documents."""
    NEW_DIAGNOSIS_IN_QUESTION = "new-diagnosis-in-question"
    """So does the question."""
    NEW_DIAGNOSIS_IN_INDICATOR = "new-diagnosis-in-indicator"
    """An indicator is called by a diagnosis that the words it looks for do not name."""
    FINANCE = "finance"
    """Payment, grouping, severity scores, quality measures or the payer are mentioned."""
    CODE_NUMBER = "code-number"
    """A code is mentioned: the physician is asked about the patient."""
    PRIOR_ENCOUNTER = "prior-encounter"
    """Another encounter is mentioned."""
    UNCLEAR = "unclear"
    """Not exactly one question, or one that is too short or too long to be understood."""
    TOO_FEW_OPTIONS = "too-few-options"
    """Fewer than two answers beside "other" and "unable to determine"."""
    OTHER_MISSING = "other-missing"
    """No "other" as the last but one answer."""
    UNABLE_MISSING = "unable-to-determine-missing"
    """No "unable to determine" as the last answer."""
    UNSUPPORTED_OPTION = "unsupported-option"
    """No cited indicator supports an answer."""
    WEIGHTED_OPTIONS = "weighted-options"
    """An answer is emphasised over others."""
    REPEATED_OPTION = "repeated-option"
    """An answer stands twice."""
    OPTIONS_ON_OPEN_ENDED = "options-on-open-ended"
    """An open-ended question has answers to choose from."""
    YES_NO_OPTIONS = "yes-no-options"
    """A yes/no question has answers other than those four."""
    YES_NO_NOT_ALLOWED = "yes-no-not-allowed"
    """Yes or no would make a diagnosis that is not documented yet."""
    FOREIGN_INDICATOR = "foreign-indicator"
    """An indicator is not of this encounter's notes."""
    MISQUOTED_INDICATOR = "misquoted-indicator"
    """An indicator's words are not the words of the note at its place."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a query may rest on."""

    purpose: Purpose
    notes: Mapping[str, str]
    """Text by note id, of this encounter alone."""
    support: Mapping[str, frozenset[str]]
    """By answer, names of the indicators of which one must be cited; none: any indicator supports it."""

    @classmethod
    def of_rule(cls, rule: QueryRule, *, notes: Mapping[str, str]) -> "Basis":
        """The basis of a query that a rule gives rise to."""
        return cls(rule.purpose, notes, {option.text: frozenset(option.needs) for option in rule.options})


def faults_of(query: PhysicianQuery, *, basis: Basis) -> tuple[Fault, ...]:
    """What is wrong with a query.

    Args:
        query: As it would be sent.
        basis: What it may rest on.

    Returns:
        In the order of ``Fault``; none for a compliant query.
    """
    # A diagnosis is documented where the notes say it, or where the indicator that was found is called by it:
    # "CHF" documents heart failure.
    documented = [text for indicator in query.indicators for text in (indicator.name, indicator.text)]
    found = {
        *_faults_of_wording(query.title, query.question, query.options, documented=documented),
        *_faults_of_form(query.form, query.options, purpose=basis.purpose),
        *_faults_of_support(query, basis=basis),
    }
    return tuple(fault for fault in Fault if fault in found)


def faults_of_rule(rule: QueryRule) -> tuple[Fault, ...]:
    """What would be wrong with the queries of a rule, whatever the notes say.

    Args:
        rule: Judged by the least that it can cite: the indicators that it always requires.

    Returns:
        In the order of ``Fault``; none when its queries are compliant in words and form.
    """
    certain = [indicator for indicator in rule.indicators if indicator.name in rule.certain]
    options = offered(rule, [option.text for option in rule.options])
    found = {
        *_faults_of_wording(rule.title, rule.question, options, documented=_documented_by(certain, rule=rule)),
        *_faults_of_form(rule.form, options, purpose=rule.purpose),
    }
    if any(_misnamed(indicator) for indicator in rule.indicators):
        found.add(Fault.NEW_DIAGNOSIS_IN_INDICATOR)
    if any(wording.FINANCE.search(indicator.name) for indicator in rule.indicators):
        found.add(Fault.FINANCE)
    if rule.form is QueryForm.MULTIPLE_CHOICE and sum(_surely_offered(rule)) < _MIN_SUPPORTED_OPTIONS:
        found.add(Fault.TOO_FEW_OPTIONS)
    return tuple(fault for fault in Fault if fault in found)


def offered(rule: QueryRule, answers: Collection[str]) -> tuple[str, ...]:
    """All answers to choose from, with those that every query of this form offers."""
    if rule.form is QueryForm.OPEN_ENDED:
        return tuple(answers)
    return (*(YES_NO_OPTIONS if rule.form is QueryForm.YES_NO else ()), *answers, *_ALWAYS_OFFERED)


def _faults_of_wording(
    title: str, question: str, options: Collection[str], *, documented: Collection[str]
) -> Iterator[Fault]:
    asked = f"{title}\n{question}"
    everything = "\n".join([asked, *options])
    patterns = (
        (Fault.LEADING, wording.LEADING, asked),
        (Fault.FINANCE, wording.FINANCE, everything),
        (Fault.CODE_NUMBER, wording.CODE_NUMBER, everything),
        (Fault.PRIOR_ENCOUNTER, wording.PRIOR_ENCOUNTER, everything),
        (Fault.WEIGHTED_OPTIONS, wording.EMPHASIS, "\n".join(options)),
    )
    yield from (fault for fault, pattern, text in patterns if pattern.search(text))
    if wording.undocumented(title, documented=documented):
        yield Fault.NEW_DIAGNOSIS_IN_TITLE
    if wording.undocumented(question, documented=documented):
        yield Fault.NEW_DIAGNOSIS_IN_QUESTION
    if not title.strip() or not _clear(question):
        yield Fault.UNCLEAR


def _clear(question: str) -> bool:
    words = len(question.split())
    asks_once = question.count("?") == 1 and question.rstrip().endswith("?")
    requests_once = "?" not in question and question.startswith("Please ") and question.rstrip().endswith(".")
    return _MIN_QUESTION_WORDS <= words <= _MAX_QUESTION_WORDS and (asks_once or requests_once)


def _faults_of_form(form: QueryForm, options: tuple[str, ...], *, purpose: Purpose) -> Iterator[Fault]:
    if form is QueryForm.OPEN_ENDED:
        if options:
            yield Fault.OPTIONS_ON_OPEN_ENDED
        return
    if len({option.casefold() for option in options}) != len(options):
        yield Fault.REPEATED_OPTION
    if OTHER not in options[-2:-1]:
        yield Fault.OTHER_MISSING
    if UNABLE_TO_DETERMINE not in options[-1:]:
        yield Fault.UNABLE_MISSING
    own = [option for option in options if option not in _ALWAYS_OFFERED]
    if form is QueryForm.MULTIPLE_CHOICE and len(own) < _MIN_SUPPORTED_OPTIONS:
        yield Fault.TOO_FEW_OPTIONS
    if form is QueryForm.YES_NO:
        if tuple(own) != YES_NO_OPTIONS:
            yield Fault.YES_NO_OPTIONS
        if purpose is Purpose.DIAGNOSIS:
            yield Fault.YES_NO_NOT_ALLOWED


def _faults_of_support(query: PhysicianQuery, *, basis: Basis) -> Iterator[Fault]:
    cited = {indicator.name for indicator in query.indicators}
    for indicator in query.indicators:
        text = basis.notes.get(indicator.note_id)
        if text is None:
            yield Fault.FOREIGN_INDICATOR
        elif text[indicator.start : indicator.end] != indicator.text:
            yield Fault.MISQUOTED_INDICATOR
        if wording.FINANCE.search(indicator.name):
            yield Fault.FINANCE
    if query.form is not QueryForm.MULTIPLE_CHOICE:
        return
    for option in query.options:
        if option not in _ALWAYS_OFFERED and not _supported(basis.support.get(option), cited):
            yield Fault.UNSUPPORTED_OPTION


def _supported(needs: frozenset[str] | None, cited: Collection[str]) -> bool:
    return needs is not None and (not needs or not needs.isdisjoint(cited))


def _documented_by(indicators: Collection[Indicator], *, rule: QueryRule) -> list[str]:
    """The words that surely stand on the record: of indicators always cited, and of groups whose members agree."""
    names = {indicator.name for indicator in rule.indicators}
    shared = [_shared_diagnoses(group.of) for group in rule.requires if set(group.of) <= names]
    return [*(indicator.name for indicator in indicators), *(name for group in shared for name in group)]


def _shared_diagnoses(names: Collection[str]) -> list[str]:
    named = [set(wording.diagnoses_in(name)) for name in names]
    return sorted(set.intersection(*named)) if named else []


def _misnamed(indicator: Indicator) -> bool:
    """Whether an indicator's name says a diagnosis that its own words do not."""
    if indicator.codes or indicator.exact_codes or indicator.titles:
        return False
    return bool(wording.undocumented(indicator.name, documented=indicator.terms))


def _surely_offered(rule: QueryRule) -> Iterator[bool]:
    """Of each answer, whether it is offered whatever combination of indicators gave rise to the query."""
    for option in rule.options:
        yield _is_sure(option, rule)


def _is_sure(option: Option, rule: QueryRule) -> bool:
    needs = set(option.needs)
    # Of a group of which n are required, those that this answer does not need must be fewer than n.
    return not needs or any(len(set(group.of) - needs) < group.at_least for group in rule.requires)
