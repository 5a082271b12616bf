"""Breaks sound records on purpose, each in one way, and says which rule has to find it.

The kind of break that was made least goes first; a record that it cannot break goes to the next kind.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from clinical_coding.code_library import CodeLibrary, load_icd10cm
from clinical_coding.codes import Code
from clinical_coding.records import CodedRecord, Encounter, Note
from scripts.broken_records.breaks import CM, KINDS, Breaker
from scripts.broken_records.draft import Draft

__all__ = ["Broken", "break_records"]


@dataclass(frozen=True)
class Broken:
    """A record with one thing wrong."""

    record_id: str
    kind: str
    rule: str
    """The rule that has to find it."""
    key: str
    """A code that the finding has to name."""
    encounter: Encounter
    codes: tuple[Code, ...]
    notes: tuple[Note, ...]


def break_records(records: Iterable[CodedRecord], *, num: int, seed: int) -> Iterator[Broken]:
    """Break records until there are enough.

    Args:
        records: Sound ones; each is broken at most once.
        num: How many broken ones to give.
        seed: Of what is drawn.
    """
    rng, library = Random(seed), load_icd10cm()
    made = dict.fromkeys(KINDS, 0)
    for record in records:
        if sum(made.values()) == num:
            return
        # The kind that was made least goes first, since many records have nothing that the rare kinds break.
        for kind in sorted(KINDS, key=made.__getitem__):
            rule, breaker = KINDS[kind]
            broken = _break(record, breaker, rng=rng, library=library)
            if broken is not None:
                key, draft = broken
                codes = (*_sequenced(draft.diagnoses), *draft.others)
                yield Broken(record.record_id, kind, rule, key, draft.encounter, codes, record.notes)
                made[kind] += 1
                break


def _break(record: CodedRecord, breaker: Breaker, *, rng: Random, library: CodeLibrary) -> tuple[str, Draft] | None:
    draft = Draft(
        rng=rng,
        encounter=record.encounter,
        diagnoses=[code for code in record.codes if code.system is CM],
        others=[code for code in record.codes if code.system is not CM],
        library=library,
    )
    key = breaker(draft)
    return None if key is None else (key, draft)


def _sequenced(codes: Sequence[Code]) -> list[Code]:
    return [code.model_copy(update={"sequence": place}) for place, code in enumerate(codes, start=1)]
