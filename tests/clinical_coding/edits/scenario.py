"""Coding scenarios: one line of YAML each, read into an encounter, its codes, and what the rules must say.

A code is written ``[system:]CODE [#place] [=indicator] [+modifier] [xunits] [@words of the note]``; the words after
``@`` are the code's evidence. What must be found is written ``rule severity CODE ...``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clinical_coding.codes import Code, CodeSystem, EvidenceSpan
from clinical_coding.documentation import read_note
from clinical_coding.edits import RULES, MedicalNecessity, Policy, Rule, check
from clinical_coding.findings import Finding
from clinical_coding.records import Encounter, Note

FOLDER = Path(__file__).with_name("scenarios")
ENCOUNTER = {
    "setting": "outpatient",
    "specialty": "family-medicine",
    "service_start": "2026-05-04",
    "service_end": "2026-05-04",
    "age": 50,
}
_FIELDS = {"id", "section", "case", "codes", "note", "find", "never"}
_CODE = re.compile(r"(?P<code>\S+)(?P<marks>(?: [#=+x]\w+)*)(?: @(?P<words>.+))?")


@dataclass(frozen=True)
class Expected:
    rule: str
    severity: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Scenario:
    id: str
    section: str
    encounter: Encounter
    codes: tuple[Code, ...]
    note: Note | None
    find: tuple[Expected, ...]
    never: tuple[str, ...]

    def findings(self, *, systems: Any, necessity: MedicalNecessity, rules: tuple[Rule, ...] = RULES) -> list[Finding]:
        notes = () if self.note is None else (read_note(self.note),)
        found = check(
            self.encounter,
            self.codes,
            systems=systems,
            policy=Policy(),
            notes=notes,
            necessity=necessity,
            rules=rules,
        )
        return list(found)

    def faults(self, findings: list[Finding]) -> list[str]:
        """What is wrong with the findings: expected ones that are missing, and rules that must not have fired."""
        found = {(finding.rule, str(finding.severity), finding.codes) for finding in findings}
        missing = [one for one in self.find if (one.rule, one.severity, one.keys) not in found]
        fired = {finding.rule for finding in findings}
        # A rule that is expected for one code must not fire for another one.
        expected = {one.rule for one in self.find}
        extra = [one for one in found if one[0] in expected and Expected(*one) not in self.find]
        return (
            [f"missing {one}" for one in missing]
            + [f"fired {rule}" for rule in self.never if rule in fired]
            + [f"extra {one}" for one in extra]
        )


def load_scenarios() -> list[Scenario]:
    return [scenario for path in sorted(FOLDER.glob("*.yaml")) for scenario in _read(path)]


def _read(path: Path) -> Iterator[Scenario]:
    for fields in yaml.safe_load(path.read_text(encoding="utf-8")):
        assert fields.keys() <= _FIELDS, (path.name, fields)
        note = Note(note_id="n1", text=fields["note"]) if "note" in fields else None
        yield Scenario(
            id=f"{path.stem}:{fields['id']}",
            section=str(fields["section"]),
            encounter=Encounter.model_validate(ENCOUNTER | _dates(fields.get("case", {}))),
            codes=tuple(_code(str(text), note) for text in fields["codes"]),
            note=note,
            find=tuple(_expected(text) for text in fields.get("find", ())),
            never=tuple(fields.get("never", "").split()),
        )


def _dates(changes: dict[str, Any]) -> dict[str, Any]:
    day = changes.pop("day", None)
    return changes | ({"service_start": day, "service_end": day} if day else {})


def _key(text: str) -> str:
    return text if ":" in text else f"icd10cm:{text}"


def _code(text: str, note: Note | None) -> Code:
    match = _CODE.fullmatch(text)
    assert match, text
    system, _, code = _key(match["code"]).partition(":")
    marks: dict[str, list[str]] = {}
    for mark in (match["marks"] or "").split():
        marks.setdefault(mark[0], []).append(mark[1:])
    evidence = ()
    if match["words"]:
        assert note is not None
        start = note.text.index(match["words"])
        evidence = (EvidenceSpan(note_id=note.note_id, start=start, end=start + len(match["words"])),)
    return Code(
        system=CodeSystem(system),
        code=code,
        sequence=int(marks["#"][0]) if "#" in marks else None,
        present_on_admission=marks["="][0] if "=" in marks else None,
        modifiers=tuple(marks.get("+", ())),
        units=int(marks["x"][0]) if "x" in marks else 1,
        evidence=evidence,
    )


def _expected(text: str) -> Expected:
    rule, severity, *keys = text.split()
    return Expected(rule, severity, tuple(map(_key, keys)))
