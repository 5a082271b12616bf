"""How notes begin: the title, the complaint and the present illness."""

from typing import Final

from clinical_coding.readers.sample.catalogue import Condition
from clinical_coding.readers.sample.draws import chance, pick
from clinical_coding.readers.sample.page import Page
from clinical_coding.readers.sample.writer import Fragment, joined, plain
from clinical_coding.records import Setting

__all__ = ["chief_complaint", "header", "history", "known_conditions"]

ADULT_AGE: Final = 18
HISTORY_ROLES: Final = frozenset({"chronic", "status"})
VOWEL_SOUNDS: Final = ("8", "11", "18", "infant")
REASON_PREFIX: Final = "for "
"""A symptom that begins so is a reason to come rather than a complaint."""


def _person(page: Page) -> str:
    patient = page.case.patient
    if patient.age == 0:
        return "infant girl" if patient.sex == "F" else "infant boy"
    if patient.age < ADULT_AGE:
        return f"{patient.age}-year-old {'girl' if patient.sex == 'F' else 'boy'}"
    word = pick(page.rng, ("woman", "female", "F") if patient.sex == "F" else ("man", "male", "M"))
    return f"{patient.age}{pick(page.rng, ('-year-old ', ' y/o ', ' yo ', ' year old '))}{word}"


def _has_plain_reason(condition: Condition) -> bool:
    """Tell whether the diagnosis is itself the reason to come, as a service or a check is."""
    return condition.role == "preventive" or condition.code.startswith("Z")


def _symptom(page: Page) -> Fragment:
    reason = page.case.reason
    if (reason.role == "symptom" and chance(page.rng, 0.6)) or not reason.symptoms:
        return page.diagnosis(reason)
    return plain(pick(page.rng, reason.symptoms))


def known_conditions(page: Page) -> list[Condition]:
    """The long-term conditions and statuses besides the reason for the encounter."""
    found = (item.condition for item in page.case.findings)
    return [item for item in found if item.role in HISTORY_ROLES and item is not page.case.reason]


def header(page: Page) -> None:
    """The line above everything: kind of note, date, service."""
    case = page.case
    title = pick(page.rng, page.phrases["titles"][case.setting])
    page.line(title, service=case.specialty.name.replace("-", " "), date=case.start.strftime("%m/%d/%Y"))


def chief_complaint(page: Page) -> None:
    """Why the patient came, in a few words."""
    page.heading("cc", is_inline=True)
    reason = page.case.reason
    if _has_plain_reason(reason):
        page.line("{Dx}.", dx=page.diagnosis(reason))
    elif reason.role == "chronic" and page.case.setting is Setting.OUTPATIENT and chance(page.rng, 0.6):
        page.line("Follow up of {dx}.", dx=page.diagnosis(reason))
    else:
        ((text, key),) = _symptom(page)
        page.line("{Symptom}.", symptom=((text.removeprefix(REASON_PREFIX).removeprefix("a "), key),))


def history(page: Page) -> None:
    """The present illness, against the background of what is known."""
    page.heading("hpi")
    reason = page.case.reason
    is_outpatient = page.case.setting is Setting.OUTPATIENT
    known = [item for item in known_conditions(page) if item.role == "chronic"][:2]
    symptom: Fragment = plain("")
    if _has_plain_reason(reason):
        form = "visit"
    elif reason.role == "chronic" and is_outpatient and (not reason.symptoms or chance(page.rng, 0.5)):
        form = "follow_up"
    else:
        symptom = _symptom(page)
        form = "with_history" if known and chance(page.rng, 0.6) else "plain"
        if symptom[0][0].startswith(REASON_PREFIX):
            form = "reason"
    is_steady = form in ("follow_up", "reason", "visit")
    who = _person(page)
    page.fill(
        pick(page.rng, page.phrases["hpi"][form]),
        who=who,
        a="an" if who.startswith(VOWEL_SOUNDS) else "a",
        dx=page.diagnosis(reason) if form in ("follow_up", "visit") else "",
        history=joined([page.diagnosis(item) for item in known]) if form == "with_history" else "",
        symptom=symptom,
        duration=pick(page.rng, page.phrases["durations"][_course(page)]),
        where=pick(page.rng, page.phrases["where"][page.case.setting]),
        worse=pick(page.rng, page.phrases["worse"]["steady" if is_steady else "acute"]),
    )
    page.line(" " + page.phrase("associated") if not is_steady and chance(page.rng, 0.8) else "")


def _course(page: Page) -> str:
    """How long the complaint has lasted: hours to days, days to weeks, or months."""
    is_urgent = page.case.setting in (Setting.EMERGENCY, Setting.INPATIENT)
    if page.case.reason.role == "chronic":
        return "medium" if is_urgent else "long"
    return "short" if is_urgent else "medium"
