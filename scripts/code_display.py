"""All that is known of a code, for people and for programs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from clinical_coding.codes import CodeSystem, normalise_code
from clinical_coding.tabular.instructions import InstructionKind

if TYPE_CHECKING:
    from clinical_coding.code_library import CodeEntry, CodeLibrary
    from clinical_coding.code_systems import CodeSystems, Release, Standing, UnitLimit

__all__ = ["Card", "card_json", "make_card", "print_card"]

_KINDS = tuple(InstructionKind)


@dataclass(frozen=True, slots=True)
class Card:
    """A code as the release of one day has it."""

    system: CodeSystem
    code: str
    description: str | None
    standing: "Standing"
    release: str | None
    """The release that judged it; null when none of its system is held."""
    covers: bool
    """True when that release is in force on the day."""
    history: tuple[tuple["Release", "Standing"], ...]
    """How it stands in every held release."""
    terms: tuple[str, ...] = ()
    parents: tuple["CodeEntry", ...] = ()
    """From the category down."""
    children: tuple[str, ...] = ()
    notes: tuple[tuple[str, str, str], ...] = ()
    """Kind, where it is printed, words."""
    conflicts: tuple[tuple[str, str], ...] = ()
    """Excludes1 notes of other codes that name it: where they are printed, and their words."""
    seventh_characters: Mapping[str, str] | None = None
    units: "UnitLimit | None" = None


def make_card(systems: "CodeSystems", code: str, *, system: CodeSystem | None, on: date | None) -> Card:
    """Gather what is known of a code.

    Args:
        systems: The held releases.
        code: As a person writes it.
        system: Its system; null to tell it by the form, ICD-10-CM first.
        on: Day of service; null: the newest release.

    Raises:
        ValueError: It has the form of no system, or not that of the named one.
    """
    system = system or _told_by_form(code, systems=systems, on=on)
    written = normalise_code(system, code)
    judging = systems.judging(system, on)
    common = Card(
        system=system,
        code=written,
        description=systems.describe(system, written, on),
        standing=systems.standing(system, written, on),
        release=None if judging is None else judging.name,
        covers=systems.in_force(system, on) is not None,
        history=tuple((release, systems.standing_in(release, written)) for release in systems.releases(system)),
    )
    if system is CodeSystem.ICD10CM:
        return _with_tree(common, systems.icd10cm(on))
    limits = systems.unit_limits(on)
    return common if limits is None else replace(common, units=limits.get(written))


def card_json(card: Card) -> dict[str, Any]:
    """The card for a program."""
    return {
        "system": card.system,
        "code": card.code,
        "description": card.description,
        "standing": card.standing,
        "release": card.release,
        "in_force": card.covers,
        "releases": [
            {
                "release": release.name,
                "effective_from": str(release.effective_from),
                "effective_to": release.effective_to and str(release.effective_to),
                "standing": standing,
            }
            for release, standing in card.history
        ],
        "terms": card.terms,
        "parents": [{"code": parent.code, "description": parent.description} for parent in card.parents],
        "children": card.children,
        "notes": [{"kind": kind, "owner": owner, "note": note} for kind, owner, note in card.notes],
        "conflicts": [{"owner": owner, "note": note} for owner, note in card.conflicts],
        "seventh_characters": dict(card.seventh_characters or {}),
        "unit_limit": None if card.units is None else card.units.units,
    }


def print_card(card: Card, *, console: Console) -> None:
    """The card for people."""

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    line(f"[bold]{card.system} {card.code}[/bold]  {escape(card.description or 'no description is known')}")
    in_force = "" if card.covers else " (no held release is in force on that day; the nearest is asked)"
    line(
        f"{card.standing}, by release {card.release}{in_force}" if card.release else "no release of its system is held"
    )
    for release, standing in card.history:
        line(f"  {release.name}  {release.effective_from} to {release.effective_to or 'the next release'}: {standing}")
    for parent in card.parents:
        line(f"above: {parent.code}  {escape(parent.description)}")
    if card.children:
        line(f"below: {', '.join(card.children)}")
    for term in card.terms:
        line(f"includes: {escape(term)}")
    for character, words in (card.seventh_characters or {}).items():
        line(f"7th character {character}: {escape(words)}")
    for kind, owner, note in card.notes:
        line(f"{kind} ({escape(owner)}): {escape(note)}")
    for owner, note in card.conflicts:
        line(f"excluded by {escape(owner)}: {escape(note)}")
    if card.units is not None:
        line(
            f"at most {card.units.units} units a day or line "
            f"(MUE {card.units.indicator}): {escape(card.units.rationale)}"
        )


def _told_by_form(code: str, *, systems: "CodeSystems", on: date | None) -> CodeSystem:
    """The system whose form fits; of several, the one that knows the code."""
    fitting = []
    for system in CodeSystem:
        try:
            written = normalise_code(system, code)
        except ValueError:
            continue
        fitting.append((system, written))
    if not fitting:
        raise ValueError(
            f"{code[:12]!r} has the form of no code of {', '.join(CodeSystem)}; check it, or search for words"
        )
    known = [system for system, written in fitting if systems.describe(system, written, on) is not None]
    return known[0] if known else fitting[0][0]


def _with_tree(card: Card, library: "CodeLibrary") -> Card:
    entry = library.get(card.code)
    if entry is None:
        return card
    notes = [
        (kind.value, instruction.owner, instruction.note)
        for kind in _KINDS
        for instruction in library.instructions(card.code, kind)
    ]
    parents: list[CodeEntry] = []
    above = entry
    while above.parent is not None:
        found = library.get(above.parent)
        assert found is not None, "parents are entries of their library"
        parents.insert(0, above := found)
    return replace(
        card,
        terms=entry.inclusion_terms,
        parents=tuple(parents),
        children=library.children(card.code),
        notes=tuple(dict.fromkeys(notes)),
        conflicts=tuple(
            (instruction.owner, instruction.note)
            for block in library.note_blocks(InstructionKind.EXCLUDES1)
            for instruction in block.instructions
            if library.names(instruction, card.code)
        ),
        seventh_characters=library.seventh_characters(card.code),
    )
