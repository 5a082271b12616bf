"""The table of rules: every edit there is, in the order in which findings are told.

A rule's severity here is its own; a policy may set another. Blocking are those whose claim is returned or denied
whatever the documentation says, and Excludes1, whose exception for unrelated conditions a person has to establish.
"""

from typing import Final

from clinical_coding.edits import (
    admission,
    documentation,
    overlaps,
    patient,
    procedures,
    sequencing,
    tabular_notes,
    validity,
)
from clinical_coding.edits.rules import Rule
from clinical_coding.findings import Severity

__all__ = ["RULES"]

_BLOCKING: Final = Severity.BLOCKING
_WARNING: Final = Severity.WARNING
_INFO: Final = Severity.INFO

RULES: Final = (
    Rule("code-unknown", _BLOCKING, validity.unknown_codes),
    Rule("code-deleted", _BLOCKING, validity.deleted_codes),
    Rule("code-not-yet-effective", _BLOCKING, validity.not_yet_effective_codes),
    Rule("code-incomplete", _BLOCKING, validity.headings),
    Rule("seventh-character-missing", _BLOCKING, validity.missing_seventh_characters),
    Rule("seventh-character-wrong", _BLOCKING, validity.wrong_seventh_characters),
    Rule("placeholder-missing", _BLOCKING, validity.missing_placeholders),
    Rule("code-repeated", _BLOCKING, overlaps.repeated_codes),
    Rule("excludes1-conflict", _BLOCKING, tabular_notes.excludes1_conflicts),
    Rule("excludes1-part", _WARNING, tabular_notes.excludes1_parts),
    Rule("excludes2-pair", _INFO, tabular_notes.excludes2_pairs),
    Rule("manifestation-first", _BLOCKING, tabular_notes.manifestations_first),
    Rule("code-first-missing", _WARNING, tabular_notes.missing_underlying_codes),
    Rule("code-first-order", _WARNING, tabular_notes.underlying_codes_after),
    Rule("use-additional-code-missing", _WARNING, tabular_notes.missing_additional_codes),
    Rule("use-additional-code-advised", _INFO, tabular_notes.advised_additional_codes),
    Rule("code-also-missing", _INFO, tabular_notes.missing_companions),
    Rule("code-included", _WARNING, overlaps.included_codes),
    Rule("combination-code-due", _WARNING, overlaps.combination_codes_due),
    Rule("symptom-integral", _WARNING, overlaps.integral_symptoms),
    Rule("laterality-conflict", _WARNING, documentation.laterality_conflicts),
    Rule("laterality-unspecified", _WARNING, documentation.open_sides),
    Rule("specificity-missed", _WARNING, documentation.missed_specificity),
    Rule("sex-conflict", _WARNING, patient.sex_conflicts),
    Rule("age-conflict", _WARNING, patient.age_conflicts),
    Rule("mother-and-newborn", _BLOCKING, patient.mixed_records),
    Rule("external-cause-first", _BLOCKING, sequencing.external_causes_first),
    Rule("secondary-only-first", _BLOCKING, sequencing.secondary_only_codes_first),
    Rule("status-first", _WARNING, sequencing.statuses_first),
    Rule("first-only-after", _WARNING, sequencing.first_only_codes_after),
    Rule("sequence-repeated", _BLOCKING, sequencing.repeated_places),
    Rule("present-on-admission-missing", _BLOCKING, admission.missing_indicators),
    Rule("present-on-admission-exempt", _WARNING, admission.misplaced_exemptions),
    Rule("inpatient-system-elsewhere", _BLOCKING, procedures.inpatient_codes_elsewhere),
    Rule("procedure-pair", _BLOCKING, procedures.pair_conflicts),
    Rule("units-exceeded", _WARNING, procedures.exceeded_units),
    Rule("medical-necessity", _WARNING, procedures.unsupported_procedures),
)
"""The rules of the discipline. Those of the organisation are in its policy."""
