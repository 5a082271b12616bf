"""``chartloop codes check``: what coding rules have to say about the codes of an encounter."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from scripts.held_releases import held_releases
from scripts.options import CONFIGS, DEFAULT_DATA_DIR, AsJson, DataDir, print_json

if TYPE_CHECKING:
    from clinical_coding.codes import Code
    from clinical_coding.documentation import ReadNote
    from clinical_coding.findings import Finding
    from scripts.encounter_files import CodedEncounter

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Put the command on the ``codes`` commands."""
    app.command("check")(check_codes)


def check_codes(
    file: Annotated[
        Path, typer.Argument(help="JSON, or JSONL, with encounter, codes and, for some rules, notes: a coded record.")
    ],
    policy: Annotated[Path, typer.Option(help="The organisation's rules and severities.")] = CONFIGS / "policy.yaml",
    necessity: Annotated[
        Path | None, typer.Option(help="Which diagnoses support which procedures: YAML or CSV.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Check the codes of encounters: validity, notes of the tabular list, sequence, patient, documentation, payers.

    Exit code 1 when a finding is blocking, 2 when a file cannot be read.
    """
    from clinical_coding.documentation import read_note
    from clinical_coding.edits import check, load_necessity, load_policy
    from clinical_coding.findings import Severity
    from scripts.encounter_files import read_encounters
    from serving.finding_display import render_findings

    systems = held_releases(data_dir)
    rules = load_policy(policy, systems)
    table = None if necessity is None else load_necessity(necessity)
    is_blocked, console = False, Console()
    for one in read_encounters(file):
        notes = {note.note_id: read_note(note) for note in one.notes}
        findings = (
            *_unsupported(one, notes),
            *check(
                one.encounter, one.codes, systems=systems, policy=rules, notes=tuple(notes.values()), necessity=table
            ),
        )
        is_blocked |= any(finding.severity is Severity.BLOCKING for finding in findings)
        if as_json:
            found = [finding.model_dump(mode="json") for finding in findings]
            print_json({"record_id": one.record_id, "findings": found})
        else:
            console.print(f"{escape(one.record_id or 'encounter')}: {_summarise(one.codes, findings)}", highlight=False)
            if findings:
                console.print(render_findings(findings))
    if is_blocked:
        raise typer.Exit(1)


def _unsupported(one: "CodedEncounter", notes: "Mapping[str, ReadNote]") -> "Iterator[Finding]":
    """Codes whose every evidence speaks against them, where the notes are given."""
    from clinical_coding.codes import CodeState
    from clinical_coding.documentation import finding_of, support

    for code in one.codes if notes else ():
        found = support(code.key, code.evidence, notes, setting=one.encounter.setting)
        if code.state is not CodeState.NEGATIVE and not found.stands:
            yield finding_of(code.key, found, code.evidence)


def _summarise(codes: "Sequence[Code]", findings: "Sequence[Finding]") -> str:
    if not findings:
        return f"nothing found ({len(codes)} codes)"
    counts = Counter(finding.severity.value for finding in findings)
    return ", ".join(f"{counts[severity]} {severity}" for severity in ("blocking", "warning", "info"))
