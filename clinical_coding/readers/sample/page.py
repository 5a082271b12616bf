"""One note in the making, with its style of headings and lists and the ways to name things in it."""

from random import Random
from typing import Any, Final

from clinical_coding.readers.sample.catalogue import Condition
from clinical_coding.readers.sample.draws import chance, pick, pick_early
from clinical_coding.readers.sample.encounters import Case, Performed
from clinical_coding.readers.sample.traps import Trap
from clinical_coding.readers.sample.visits import Visit
from clinical_coding.readers.sample.writer import Fragment, NoteWriter, cited

__all__ = ["TRAP_PREFIX", "Page", "key_of"]

TRAP_PREFIX: Final = "trap:"
"""Begins the key of a span that a trap lies in; the kind of trap follows. No code system is named so."""

OFFICIAL_TERM_RATE: Final = 0.15
"""How often a diagnosis is written in an official term rather than a usual one."""


def key_of(performed: Performed) -> str:
    """The label key of a procedure or supply."""
    return f"{performed.procedure.system}:{performed.procedure.code}"


def _name(rng: Random, condition: Condition) -> str:
    if len(condition.mentions) > condition.num_usual and chance(rng, OFFICIAL_TERM_RATE):
        return pick(rng, condition.mentions[condition.num_usual :])
    return pick_early(rng, condition.mentions[: condition.num_usual])


class Page:
    """A note's writer together with the case that it tells and the style that it is written in."""

    __slots__ = ("_is_inline", "_is_upper", "case", "items", "phrases", "rng", "visits", "writer")

    def __init__(self, rng: Random, case: Case, phrases: dict[str, Any], visits: list[Visit]) -> None:
        self.rng = rng
        self.case = case
        self.phrases = phrases
        self.visits = visits
        """The visits that this note is to support."""
        self.writer = NoteWriter()
        self.items: list[str] = pick(rng, list(phrases["ap_items"].values()))
        self._is_upper = chance(rng, 0.4)
        self._is_inline = chance(rng, 0.5)

    def phrase(self, name: str) -> str:
        """Draw one wording of a kind."""
        found: str = pick(self.rng, self.phrases[name])
        return found

    def heading(self, name: str, *, is_inline: bool | None = None) -> None:
        """Begin a section."""
        text: str = pick(self.rng, self.phrases["headings"][name])
        inline = self._is_inline if is_inline is None else is_inline
        self.writer.add(f"\n{text.upper() if self._is_upper else text}:{' ' if inline else chr(10)}")

    def fill(self, template: str, **slots: str | Fragment) -> None:
        """Write a sentence."""
        self.writer.fill(template, slots)

    def line(self, template: str, **slots: str | Fragment) -> None:
        """Write a sentence and end the line."""
        self.writer.fill(template, slots)
        self.writer.add("\n")

    def diagnosis(self, condition: Condition) -> Fragment:
        """Name a diagnosis of the record: evidence."""
        return cited(f"icd10cm:{condition.code}", _name(self.rng, condition))

    def trap(self, trap: Trap) -> Fragment:
        """Name a diagnosis that the record does not carry: the same words, marked as what they are, and no evidence."""
        return cited(f"{TRAP_PREFIX}{trap.kind}", _name(self.rng, trap.condition))

    def deny(self, trap: Trap) -> None:
        """Say that the patient does not have it."""
        self.fill(self.phrase("denied_symptom" if trap.condition.role == "symptom" else "denied"), dx=self.trap(trap))

    def procedure(self, performed: Performed) -> Fragment:
        """Name a procedure or supply: evidence."""
        text = pick_early(self.rng, performed.procedure.mentions)
        named = f"{performed.side} {text}" if performed.side and performed.side not in text else text
        return cited(key_of(performed), named)

    def visit(self, visit: Visit) -> None:
        """State what a visit's number follows from: the kind of visit, and the level."""
        if visit.kind:
            self.fill("{Kind}. ", kind=cited(f"cpt:{visit.code}", visit.kind))
        self.line("{Statement}.", statement=cited(f"cpt:{visit.code}", visit.statement))

    def traps(self, *kinds: str) -> list[Trap]:
        """The case's traps of these kinds."""
        return [trap for trap in self.case.traps if trap.kind in kinds]

    def cited_keys(self) -> set[str]:
        """The keys that have evidence in this note so far."""
        return {span.key for span in self.writer.spans}
