"""The sections after the opening. Each writes itself onto a page, or nothing where it has nothing to say."""

from typing import Final

from clinical_coding.readers.sample.draws import between, chance, pick
from clinical_coding.readers.sample.opening import known_conditions
from clinical_coding.readers.sample.page import Page, key_of
from clinical_coding.readers.sample.traps import Trap
from clinical_coding.readers.sample.writer import joined

__all__ = [
    "allergies", "assessment", "exam", "family_history", "loose_ends", "medications", "past_history",
    "past_illnesses", "procedures_done", "results", "review", "social_history", "visit_statement", "vitals",
]  # fmt: skip

MIN_WORDS: Final = (160, 260)
"""A note shorter than a number drawn from here is filled up with what notes say whoever the patient is."""
ALLERGY_CODE: Final = "Z88.0"
TOBACCO_GROUP: Final = "tobacco"
SCHOOL_AGE: Final = 5
TEEN_AGE: Final = 13
ADULT_AGE: Final = 18
SENIOR_AGE: Final = 65
UNLISTED_ROLES: Final = frozenset({"status", "external"})
"""Roles that an assessment mostly leaves to other sections."""
YEARS: Final = (2008, 2021)
ANEMIA: Final = ("D5", "D6", "K92", "K25", "O99.01")
KIDNEY_DISEASE: Final = ("N17", "N18")
ELECTROLYTES: Final = ("E87", "E83")


def past_history(page: Page) -> None:
    """The conditions that the patient has had for long."""
    known = [item for item in known_conditions(page) if item.code != ALLERGY_CODE and item.group != TOBACCO_GROUP]
    if not known:
        return
    is_list = chance(page.rng, 0.5)
    page.heading("pmh", is_inline=False if is_list else None)
    named = [page.diagnosis(item) for item in known]
    if not is_list:
        page.line("{known}.", known=joined(named, last=", "))
    else:
        for name in named:
            page.line("- {name}", name=name)


def past_illnesses(page: Page) -> None:
    """Operations and illnesses that are over."""
    traps = page.traps("historical")
    if not traps and chance(page.rng, 0.5):
        return
    page.heading("psh")
    for trap in traps:
        page.line(page.phrase("historical") + ".", dx=page.trap(trap), year=str(between(page.rng, *YEARS)))
    if page.case.patient.age >= 18 and chance(page.rng, 0.7):
        surgery = pick(page.rng, page.phrases["surgeries"][page.case.patient.sex])
        page.line("S/p {surgery} {year}.", surgery=surgery, year=str(between(page.rng, *YEARS)))
    elif not traps:
        page.writer.add("None.\n")


def medications(page: Page) -> None:
    """One drug for each condition that has one."""
    drugs = [pick(page.rng, item.condition.medications) for item in page.case.findings if item.condition.medications]
    page.heading("meds")
    by_name = {drug.partition(" ")[0]: drug for drug in drugs}
    page.line("{drugs}.", drugs=", ".join(by_name.values()) or "none regularly")


def allergies(page: Page) -> None:
    """Drug allergies, which one status code follows from."""
    page.heading("allergies", is_inline=True)
    allergic = [item.condition for item in page.case.findings if item.condition.code == ALLERGY_CODE]
    if allergic:
        page.line("{Dx} (rash).", dx=page.diagnosis(allergic[0]))
    else:
        page.line(pick(page.rng, ("NKDA.", "No known drug allergies.", "None known.")))


def family_history(page: Page) -> None:
    """What relatives have or had."""
    traps = page.traps("family")
    if not traps and chance(page.rng, 0.4):
        return
    page.heading("fh", is_inline=True)
    if not traps:
        page.line(page.phrase("no_family"))
        return
    for index, trap in enumerate(traps):
        page.writer.add("; " if index else "")
        page.fill(page.phrase("family"), dx=page.trap(trap), relative=_relative(page, trap))
    page.writer.add(".\n")


def _relative(page: Page, trap: Trap) -> str:
    found: str = pick(page.rng, page.phrases["relatives"][trap.condition.sex or pick(page.rng, "FM")])
    return found


def social_history(page: Page) -> None:
    """Home, work and tobacco, which one code follows from."""
    page.heading("sh", is_inline=True)
    patient = page.case.patient
    band = "child" if patient.age < ADULT_AGE else "senior" if patient.age >= SENIOR_AGE else "adult"
    page.fill(pick(page.rng, page.phrases["social"][band]))
    tobacco = [item.condition for item in page.case.findings if item.condition.group == TOBACCO_GROUP]
    if tobacco:
        page.line(" {Dx}.", dx=page.diagnosis(tobacco[0]))
    else:
        has_smoked = any(item.group == TOBACCO_GROUP for item in (*patient.chronic, *patient.statuses))
        page.line("" if has_smoked or band == "child" else " Never smoker.")


def review(page: Page) -> None:
    """The review of systems, with what the patient denies."""
    page.heading("ros")
    for trap in page.traps("denied"):
        page.deny(trap)
        page.writer.add(" ")
    page.line(page.phrase("ros"))


def vitals(page: Page) -> None:
    """Pulse, pressure, temperature and the rest."""
    rng = page.rng
    page.heading("vitals", is_inline=True)
    is_small = page.case.patient.age < SCHOOL_AGE
    if not is_small:
        highest = 162 if page.case.patient.age >= ADULT_AGE else 124
        page.writer.add(f"BP {between(rng, 98, highest)}/{between(rng, 58, highest // 2 + 12)}, ")
    pulse = between(rng, 96, 150) if is_small else between(rng, 56, 108)
    breaths = between(rng, 22, 40) if is_small else between(rng, 12, 22)
    temperature = 97.4 + between(rng, 0, 20) / 10
    page.writer.add(f"HR {pulse}, RR {breaths}, T {temperature:.1f} F, SpO2 {between(rng, 92, 100)}% RA.\n")


def exam(page: Page) -> None:
    """The physical examination."""
    page.heading("exam")
    page.fill(page.phrase("exam_child" if page.case.patient.age < TEEN_AGE else "exam"))
    start = between(page.rng, 0, len(page.phrases["exam_more"]) - 1)
    for offset in range(between(page.rng, 2, 4)):
        page.writer.add(" " + page.phrases["exam_more"][(start + offset) % len(page.phrases["exam_more"])])
    page.writer.add("\n")


def results(page: Page) -> None:
    """What was found, what the laboratory says, and what the workup excluded."""
    page.heading("data")
    found = [pick(page.rng, item.condition.findings) for item in page.case.findings[:4] if item.condition.findings]
    if found:
        page.fill("{Found}. ", found="; ".join(found))
    has_salt_disorder = any(item.condition.code.startswith(ELECTROLYTES) for item in page.case.findings)
    panel = page.phrases["labs"][0] if has_salt_disorder else page.phrase("labs")
    page.fill(panel, **_laboratory(page))
    for trap in page.traps("excluded"):
        page.fill(" " + page.phrase("excluded"), dx=page.trap(trap))
    page.writer.add("\n")


def _laboratory(page: Page) -> dict[str, str]:
    """Draw laboratory values that do not contradict anemia or kidney disease."""
    rng = page.rng
    codes = [item.condition.code for item in page.case.findings]
    is_anemic = any(code.startswith(ANEMIA) for code in codes)
    is_renal = any(code.startswith(KIDNEY_DISEASE) for code in codes)
    hemoglobin = between(rng, 78, 106) if is_anemic else between(rng, 116, 158)
    creatinine = between(rng, 16, 48) if is_renal else between(rng, 6, 12)
    return {
        "a": f"{between(rng, 45, 108) / 10:.1f}",
        "b": f"{hemoglobin / 10:.1f}",
        "c": str(between(rng, 150, 390)),
        "d": str(between(rng, 134, 144)),
        "e": f"{between(rng, 35, 50) / 10:.1f}",
        "f": f"{creatinine / 10:.1f}",
        "g": str(between(rng, 78, 168)),
    }


def assessment(page: Page, *, name: str = "ap") -> None:
    """Each diagnosis with its plan, and what remains uncertain."""
    page.heading(name, is_inline=False)
    number = 0
    for finding in page.case.findings:
        condition = finding.condition
        if condition.role in UNLISTED_ROLES and chance(page.rng, 0.7):
            continue
        number += 1
        plan = pick(page.rng, condition.plans or page.phrases["plans"])
        dx = page.diagnosis(condition)
        status = page.phrase("statuses")
        page.line(pick(page.rng, page.items), n=str(number), dx=dx, plan=plan, status=status)
    for trap in page.traps("uncertain"):
        page.line(page.phrase("uncertain"), dx=page.trap(trap))


def procedures_done(page: Page, *, has_heading: bool = True) -> None:
    """What was done and supplied."""
    if page.case.performed and has_heading:
        page.heading("orders")
    for performed in page.case.performed:
        template = pick(page.rng, page.phrases["procedure"][performed.procedure.wording])
        page.line(template, px=page.procedure(performed))


def visit_statement(page: Page) -> None:
    """Time or decision making, from which the level of the visit follows."""
    for visit in page.visits:
        page.visit(visit)


def loose_ends(page: Page, *, is_complete: bool) -> None:
    """Name what no section has named yet, and fill a note that is too short.

    Args:
        page: The note.
        is_complete: The note must support every code of the case.
    """
    if is_complete:
        named = page.cited_keys()
        for finding in page.case.findings:
            if f"icd10cm:{finding.condition.code}" not in named:
                page.line(page.phrase("status_line"), dx=page.diagnosis(finding.condition))
        for performed in page.case.performed:
            if key_of(performed) not in named:
                page.line(
                    pick(page.rng, page.phrases["procedure"][performed.procedure.wording]), px=page.procedure(performed)
                )
    age_band = "filler_child" if page.case.patient.age < ADULT_AGE else "filler_adult"
    fillers = [*page.phrases["filler"], *page.phrases[age_band]]
    num_missing = between(page.rng, *MIN_WORDS) - page.writer.count_words()
    if num_missing > 0:
        page.heading("filler")
    while num_missing > 0 and fillers:
        sentence = fillers.pop(between(page.rng, 0, len(fillers) - 1))
        num_missing -= len(sentence.split())
        page.line(sentence)
