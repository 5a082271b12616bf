"""Makes query rules ready for use: read, checked against the code library, linted, their terms filed.

Everything that a rule can have wrong is found here, before any note is read.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clinical_coding.code_library import CodeLibrary, load_icd10cm
from clinical_coding.codes import CodeSystem, normalise_code
from clinical_coding.queries.compliance import faults_of_rule
from clinical_coding.queries.measures import Measure
from clinical_coding.queries.phrases import PhraseIndex
from clinical_coding.queries.rules import QueryRule, RulesFile
from clinical_coding.settings_file import load_settings

__all__ = ["QueryRules", "load_query_rules"]


@dataclass(frozen=True, slots=True)
class QueryRules:
    """Query rules, ready for use."""

    rules: tuple[QueryRule, ...]
    """In the order of the file, which is the order of the queries."""
    measures: Mapping[str, Measure]
    index: PhraseIndex
    """Of the terms of all rules and measures."""
    library: CodeLibrary
    """By which the titles of codes are known."""


def load_query_rules(path: Path) -> QueryRules:
    """Read query rules.

    Args:
        path: Of a file such as ``configs/queries.yaml``.

    Raises:
        ValueError: The file cannot be read, a field is missing, wrong or unknown, a rule has no examples, names a
            code that the library does not know, or would give rise to queries that are not compliant.
    """
    file = load_settings(path, RulesFile)
    library = load_icd10cm()
    for rule in file.rules:
        _check(rule, path=path, library=library)
    try:
        index = PhraseIndex(_terms(file))
    except ValueError as error:
        raise ValueError(f"query rules {path}: {error}") from None
    return QueryRules(file.rules, file.measures, index, library)


def _terms(file: RulesFile) -> Iterator[str]:
    for rule in file.rules:
        yield from rule.terms()
    for measure in file.measures.values():
        yield from measure.terms


def _check(rule: QueryRule, *, path: Path, library: CodeLibrary) -> None:
    for code in _codes_named(rule):
        if normalise_code(CodeSystem.ICD10CM, code) != code or library.get(code) is None:
            raise ValueError(
                f"query rules {path}: {rule.topic} names {code!r}, which is not in ICD-10-CM {library.release}; "
                "give a category or a code of it, such as I50 or I50.9"
            )
    if faults := faults_of_rule(rule):
        raise ValueError(
            f"query rules {path}: {rule.topic} would ask queries that are not compliant: {', '.join(faults)}; "
            "mend its title, question, options or purpose"
        )


def _codes_named(rule: QueryRule) -> Iterable[str]:
    yield from rule.codes
    yield from rule.unless.codes
    for indicator in rule.indicators:
        yield from indicator.codes
        yield from indicator.exact_codes
