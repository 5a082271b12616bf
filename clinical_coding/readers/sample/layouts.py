"""The kinds of notes by setting: which sections, in which order, and which visits they support."""

from random import Random
from typing import Any

from clinical_coding.readers.sample import opening, sections
from clinical_coding.readers.sample.diagnoses import Finding
from clinical_coding.readers.sample.draws import between, chance, pick
from clinical_coding.readers.sample.encounters import Case
from clinical_coding.readers.sample.page import Page
from clinical_coding.readers.sample.visits import (
    Visit,
    discharge_visit,
    emergency_visit,
    hospital_visit,
    office_visit,
    preventive_visit,
)
from clinical_coding.readers.sample.writer import joined
from clinical_coding.records import Setting

__all__ = ["WrittenNote", "write_notes"]


class WrittenNote:
    """A finished page with its type and visits."""

    __slots__ = ("page", "type", "visits")

    def __init__(self, page: Page, kind: str) -> None:
        self.page = page
        self.type = kind
        self.visits = page.visits


def write_notes(rng: Random, case: Case, phrases: dict[str, Any]) -> list[WrittenNote]:
    """Write all notes of an encounter.

    The first one names every diagnosis of the record, and every procedure.
    """
    if case.setting is Setting.OUTPATIENT:
        return [_office_note(rng, case, phrases)]
    if case.setting is Setting.EMERGENCY:
        return [_emergency_note(rng, case, phrases)]
    if case.setting is Setting.SAME_DAY_SURGERY:
        notes = [_operative_note(rng, case, phrases)]
        return [*notes, _history_note(rng, case, phrases, [])] if chance(rng, 0.25) else notes
    notes = [_discharge_summary(rng, case, phrases)]
    if chance(rng, 0.4):
        visit = hospital_visit(rng, complexity=case.complexity, is_initial=True)
        notes.append(_history_note(rng, case, phrases, [visit]))
    elif chance(rng, 0.4):
        visit = hospital_visit(rng, complexity=case.complexity, is_initial=False)
        notes.append(_progress_note(rng, case, phrases, [visit]))
    return notes


def _background(page: Page) -> None:
    """The middle sections, which notes leave out now and then."""
    sections.past_history(page)
    sections.past_illnesses(page)
    sections.medications(page)
    sections.allergies(page)
    if chance(page.rng, 0.9):
        sections.social_history(page)
    sections.family_history(page)


def _office_note(rng: Random, case: Case, phrases: dict[str, Any]) -> WrittenNote:
    if case.reason.role == "preventive":
        visit: Visit = preventive_visit(rng, age=case.patient.age, is_new=case.is_new)
    else:
        visit = office_visit(rng, complexity=case.complexity, is_new=case.is_new)
    page = Page(rng, case, phrases, [visit])
    opening.header(page)
    opening.chief_complaint(page)
    opening.history(page)
    _background(page)
    sections.review(page)
    sections.vitals(page)
    sections.exam(page)
    sections.results(page)
    sections.procedures_done(page)
    sections.assessment(page)
    page.line(page.phrase("follow_up"))
    sections.loose_ends(page, is_complete=True)
    sections.visit_statement(page)
    return WrittenNote(page, "office-visit")


def _emergency_note(rng: Random, case: Case, phrases: dict[str, Any]) -> WrittenNote:
    page = Page(rng, case, phrases, [emergency_visit(rng, complexity=case.complexity)])
    opening.header(page)
    opening.chief_complaint(page)
    opening.history(page)
    sections.review(page)
    _background(page)
    sections.vitals(page)
    sections.exam(page)
    page.heading("edcourse")
    sections.procedures_done(page, has_heading=False)
    page.line(page.phrase("ed_course"))
    sections.results(page)
    sections.assessment(page)
    page.line(page.phrase("ed_disposition"))
    sections.loose_ends(page, is_complete=True)
    sections.visit_statement(page)
    return WrittenNote(page, "emergency-note")


def _operative_note(rng: Random, case: Case, phrases: dict[str, Any]) -> WrittenNote:
    page = Page(rng, case, phrases, [])
    opening.header(page)
    for name in ("preop", "postop"):
        page.heading(name, is_inline=True)
        page.line("{Dx}.", dx=page.diagnosis(case.reason))
    page.heading("procedures", is_inline=True)
    page.line("{Px}.", px=page.procedure(case.performed[0]))
    page.heading("anesthesia", is_inline=True)
    page.line(page.phrase("anesthesia"))
    page.heading("ebl", is_inline=True)
    page.line(pick(rng, ("Minimal.", "Less than 5 mL.", "10 mL.", "25 mL.")))
    opening.history(page)
    sections.past_history(page)
    sections.past_illnesses(page)
    sections.allergies(page)
    sections.family_history(page)
    for trap in page.traps("denied", "excluded"):
        page.deny(trap)
        page.writer.add("\n")
    page.heading("technique")
    _technique(page)
    for trap in page.traps("uncertain"):
        page.line(page.phrase("uncertain"), dx=page.trap(trap))
    sections.loose_ends(page, is_complete=True)
    return WrittenNote(page, "operative-note")


def _technique(page: Page) -> None:
    for step in page.phrases["technique_before"]:
        page.writer.add(step + " " if chance(page.rng, 0.8) else "")
    page.fill("{Px} was then carried out.", px=page.procedure(page.case.performed[0]))
    for step in page.phrases["technique_after"]:
        page.writer.add(" " + step if chance(page.rng, 0.8) else "")
    page.writer.add("\n")


def _diagnosis_line(page: Page, finding: Finding, number: int) -> None:
    dx = page.diagnosis(finding.condition)
    if finding.is_uncertain:
        page.line(f"{number}. " + page.phrase("uncertain_coded") + ".", dx=dx)
    elif finding.is_acquired:
        page.line(
            f"{number}. " + page.phrase("acquired") + ".",
            dx=dx,
            day=str(between(page.rng, 2, (page.case.end - page.case.start).days)),
        )
    else:
        page.line(f"{number}. " + "{Dx}", dx=dx)


def _discharge_summary(rng: Random, case: Case, phrases: dict[str, Any]) -> WrittenNote:
    page = Page(rng, case, phrases, [discharge_visit(rng, complexity=case.complexity)])
    opening.header(page)
    page.line("Admitted {start}, discharged {end}.", start=case.start.strftime("%m/%d/%Y"),
              end=case.end.strftime("%m/%d/%Y"))  # fmt: skip
    page.heading("principal", is_inline=False)
    _diagnosis_line(page, case.findings[0], 1)
    if case.findings[1:]:
        page.heading("secondary", is_inline=False)
    for number, finding in enumerate(case.findings[1:], start=2):
        _diagnosis_line(page, finding, number)
    opening.history(page)
    sections.past_illnesses(page)
    sections.family_history(page)
    _hospital_course(page)
    sections.results(page)
    sections.medications(page)
    page.heading("discharge")
    page.line(page.phrase("discharge"))
    sections.loose_ends(page, is_complete=True)
    sections.visit_statement(page)
    return WrittenNote(page, "discharge-summary")


def _hospital_course(page: Page) -> None:
    page.heading("course")
    for finding in page.case.findings[:3]:
        if finding.condition.plans:
            plan = pick(page.rng, finding.condition.plans)
            page.fill(page.phrase("course") + " ", dx=page.diagnosis(finding.condition), plan=plan)
    sections.procedures_done(page, has_heading=False)
    for trap in page.traps("denied"):
        page.deny(trap)
        page.writer.add(" ")
    for trap in page.traps("uncertain"):
        page.fill(page.phrase("dismissed") + " ", dx=page.trap(trap))
    page.line(page.phrase("hospital_end"))


def _history_note(rng: Random, case: Case, phrases: dict[str, Any], visits: list[Visit]) -> WrittenNote:
    """The history and physical examination at admission, or before an operation."""
    page = Page(rng, case, phrases, visits)
    page.line("History and Physical, {date}", date=case.start.strftime("%m/%d/%Y"))
    opening.chief_complaint(page)
    opening.history(page)
    _background(page)
    sections.vitals(page)
    sections.exam(page)
    page.heading("ap")
    named = [page.diagnosis(finding.condition) for finding in case.findings[:2] if not finding.is_acquired]
    page.line("Plan discussed for {dx}. Proceed as scheduled.", dx=joined(named))
    sections.loose_ends(page, is_complete=False)
    sections.visit_statement(page)
    return WrittenNote(page, "history-and-physical")


def _progress_note(rng: Random, case: Case, phrases: dict[str, Any], visits: list[Visit]) -> WrittenNote:
    page = Page(rng, case, phrases, visits)
    page.line("Progress Note, hospital day {day}", day=str(between(rng, 2, 3)))
    page.heading("hpi")
    page.line(page.phrase("overnight"))
    sections.vitals(page)
    sections.exam(page)
    sections.medications(page)
    sections.assessment(page)
    sections.loose_ends(page, is_complete=False)
    sections.visit_statement(page)
    return WrittenNote(page, "progress-note")
