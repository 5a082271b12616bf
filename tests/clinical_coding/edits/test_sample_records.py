"""Sound sample records raise nothing that blocks; broken ones are found out, each by its own rule."""

from collections import Counter

from clinical_coding.code_systems import CodeSystems
from clinical_coding.documentation import read_note
from clinical_coding.edits import Policy, check
from clinical_coding.findings import Severity
from clinical_coding.readers import read_records
from scripts.broken_records.breaking import break_records
from scripts.broken_records.breaks import KINDS

SYSTEMS = CodeSystems.embedded


def test_sound_records_raise_nothing_that_blocks() -> None:
    blocking = Counter(
        (finding.rule, finding.codes)
        for record in read_records("sample:2000?seed=11")
        for finding in check(record.encounter, record.codes, systems=SYSTEMS(), policy=Policy())
        if finding.severity is Severity.BLOCKING
    )
    assert blocking == {}


def test_every_break_is_found_by_the_rule_that_it_breaks() -> None:
    broken = list(break_records(read_records("sample:1500?seed=12"), num=1000, seed=5))
    missed = []
    for one in broken:
        notes = [read_note(note) for note in one.notes]
        findings = check(one.encounter, one.codes, systems=SYSTEMS(), policy=Policy(), notes=notes)
        if not any(finding.rule == one.rule and one.key in finding.codes for finding in findings):
            missed.append((one.record_id, one.kind, one.key))
    assert missed == []
    assert len(broken) == 1000
    assert min(Counter(one.kind for one in broken)[kind] for kind in KINDS) >= 5
