"""The one door to the edits: an encounter and its codes in, findings out."""

from collections.abc import Sequence

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import Code
from clinical_coding.documentation import ReadNote
from clinical_coding.edits.case import make_case
from clinical_coding.edits.necessity import MedicalNecessity
from clinical_coding.edits.organisation import policy_findings
from clinical_coding.edits.policy import Policy
from clinical_coding.edits.rules import Rule, find
from clinical_coding.edits.table import RULES
from clinical_coding.findings import Finding
from clinical_coding.records import Encounter

__all__ = ["check"]


def check(
    encounter: Encounter,
    codes: Sequence[Code],
    *,
    systems: CodeSystems,
    policy: Policy,
    notes: Sequence[ReadNote] = (),
    necessity: MedicalNecessity | None = None,
    rules: Sequence[Rule] = RULES,
) -> tuple[Finding, ...]:
    """Find what coding rules have to say about the codes of an encounter.

    Args:
        encounter: Its setting, dates, age and sex; a rule that needs what is not known stays silent.
        codes: What stands on it; adjudicated rejections are passed over. Where a diagnosis has no sequence, rules on
            the principal diagnosis and on order do not apply.
        systems: The held releases; codes are judged by the one in force on the date of coding.
        policy: The organisation's rules and severities; ``Policy()`` for none.
        notes: What the documentation says, for rules that read it.
        necessity: Which diagnoses support which procedures, where the organisation has a table.
        rules: Which built-in rules to apply.

    Returns:
        Findings in the order of the rules, those of the policy last; empty when there is nothing to say.
    """
    case = make_case(encounter, codes, systems=systems, policy=policy, notes=notes, necessity=necessity)
    return (*find(case, rules), *policy_findings(case))
