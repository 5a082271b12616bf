"""Adjudicated suggestions as the ledger holds them, page after page in order of their ids (stage 10).

One row here is everything that a training record is made of. What it teaches, and whether it may
enter a training set, is decided elsewhere (``labels``, ``training_set``).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select

from clinical_coding.code_systems import CodeSystems, Standing, date_of_coding
from clinical_coding.codes import Code, CodeState, CodeSystem
from clinical_coding.decisions import Adjudication, Decision
from clinical_coding.records import Unlisted, hash_notes
from clinical_coding.suggestions import SuggestionRequest
from feedback.adjudication import adjudications_of_suggestions
from feedback.labels import Labels, labels_of
from feedback.tables import adjudications, decisions
from ledger.suggestions import suggestion_contents, suggestions

__all__ = ["Adjudicated", "asked_again", "pages"]

# Verdicts and decisions on this many suggestions are in memory at once, and the notes of as many as the second.
PAGE: Final = 400
PAGE_OF_NOTES: Final = 100
# Picks the suggestions to read, given a column that holds their ids.
_Which = Callable[[ColumnElement[str]], ColumnElement[bool]]


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True)

    system: CodeSystem
    code: str


class _SuggestedCodes(BaseModel):
    """A stored suggestion's codes alone; it was validated whole when it was stored."""

    model_config = ConfigDict(frozen=True)

    codes: tuple[_Named, ...]


@dataclass(frozen=True, slots=True)
class Adjudicated:
    """One suggestion on which supervisors gave a verdict."""

    suggestion_id: str
    patient_id: str | None
    request: SuggestionRequest | None
    """Null when the content was purged."""
    labels: Labels
    """Without codes that readers would refuse."""
    num_foreign_codes: int
    """How many those were."""

    @property
    def notes_sha256(self) -> str | None:
        """Tells whether two requests carried the same notes; null when they were purged."""
        return hash_notes(self.request.notes) if self.request is not None else None


def pages(connection: Connection, *, systems: CodeSystems) -> Iterator[tuple[Adjudicated, ...]]:
    """Read every adjudicated suggestion, in order of suggestion ids.

    What a verdict says is small and its notes are not, so that the pages of the two differ in size.

    Args:
        connection: In a transaction that sees one moment of the ledger throughout.
        systems: The releases that judge codes, by each encounter's date of coding.
    """
    after = ""
    while True:
        query = (
            select(adjudications.c.suggestion_id)
            .where(adjudications.c.suggestion_id > after)
            .distinct()
            .order_by(adjudications.c.suggestion_id)
            .limit(PAGE)
        )
        ids = connection.execute(query).scalars().all()
        if not ids:
            return
        said = adjudications_of_suggestions(connection, ids)
        decided = _decided(connection, _adjudicated_within(ids))
        for start in range(0, len(ids), PAGE_OF_NOTES):
            contents = _contents(connection, _adjudicated_within(ids[start : start + PAGE_OF_NOTES]))
            yield tuple(_adjudicated(row, said[row.id], decided[row.id], systems=systems) for row in contents)
        after = ids[-1]


def asked_again(connection: Connection, page: Sequence[Adjudicated], *, systems: CodeSystems) -> frozenset[str]:
    """Find the suggestions of a page whose encounter was asked again later, adjudicated, and teaches something.

    Args:
        connection: As of ``pages``.
        page: Suggestions of one page.
        systems: As of ``pages``.

    Returns:
        Their ids. Same encounter: same record id, patient and notes.
    """
    later_of: defaultdict[str, list[str]] = defaultdict(list)
    for earlier, later in _later_askings(connection, [item.suggestion_id for item in page]):
        later_of[later].append(earlier)
    earlier_ids = {earlier for ids in later_of.values() for earlier in ids}
    notes = {item.suggestion_id: item.notes_sha256 for item in page if item.suggestion_id in earlier_ids}
    found = set[str]()
    remaining = iter(sorted(later_of))
    while ids := list(islice(remaining, PAGE_OF_NOTES)):
        for item in _load(connection, ids, systems=systems):
            if item.request is not None and item.labels.teaches:
                digest = item.notes_sha256
                found |= {earlier for earlier in later_of[item.suggestion_id] if notes[earlier] == digest}
    return frozenset(found)


def _later_askings(connection: Connection, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of a suggestion and a later adjudicated one of the same record id and patient."""
    later = suggestions.alias("later")
    is_later = or_(
        later.c.stored_at > suggestions.c.stored_at,
        and_(later.c.stored_at == suggestions.c.stored_at, later.c.id > suggestions.c.id),
    )
    is_same = and_(later.c.record_id == suggestions.c.record_id, later.c.patient_id == suggestions.c.patient_id)
    is_adjudicated = select(adjudications.c.id).where(adjudications.c.suggestion_id == later.c.id).exists()
    query = (
        select(suggestions.c.id, later.c.id)
        .join(later, and_(is_same, is_later))
        .where(suggestions.c.id.in_(ids), is_adjudicated)
    )
    return [(earlier_id, later_id) for earlier_id, later_id in connection.execute(query)]


def _load(connection: Connection, ids: Sequence[str], *, systems: CodeSystems) -> tuple[Adjudicated, ...]:
    """Read the suggestions of some ids, in order of ids."""
    said = adjudications_of_suggestions(connection, ids)
    decided = _decided(connection, lambda column: column.in_(ids))
    contents = _contents(connection, lambda column: column.in_(ids))
    return tuple(_adjudicated(row, said[row.id], decided[row.id], systems=systems) for row in contents)


def _adjudicated_within(ids: Sequence[str]) -> _Which:
    """Pick neighbours by the first and the last of their ids: a list of all would cost as much as reading them."""

    def is_within(column: ColumnElement[str]) -> ColumnElement[bool]:
        is_adjudicated = select(adjudications.c.id).where(adjudications.c.suggestion_id == column).exists()
        return and_(column.between(ids[0], ids[-1]), is_adjudicated)

    return is_within


def _contents(connection: Connection, which: _Which) -> list[Row[Any]]:
    query = (
        select(
            suggestions.c.id,
            suggestions.c.patient_id,
            suggestion_contents.c.request,
            suggestion_contents.c.suggestion,
        )
        .outerjoin(suggestion_contents, suggestion_contents.c.suggestion_id == suggestions.c.id)
        .where(which(suggestions.c.id))
        .order_by(suggestions.c.id)
    )
    return [*connection.execute(query)]


def _decided(connection: Connection, which: _Which) -> defaultdict[str, set[str]]:
    """By suggestion, the label keys that coders put in the place of suggested ones, or added."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    query = select(decisions.c.suggestion_id, decisions.c.body).where(
        which(decisions.c.suggestion_id), decisions.c.outcome == "decided"
    )
    for row in connection.execute(query):
        for code in Decision.model_validate_json(row.body).codes:
            found[row.suggestion_id] |= {f"{code.system}:{number}" for number in (code.code, code.to) if number}
    return found


def _adjudicated(
    row: Row[Any], said: Sequence[Adjudication], decided: set[str], *, systems: CodeSystems
) -> Adjudicated:
    suggested = _SuggestedCodes.model_validate_json(row.suggestion).codes if row.suggestion is not None else ()
    labels = labels_of(said, named=decided | {f"{code.system}:{code.code}" for code in suggested})
    request = SuggestionRequest.model_validate_json(row.request) if row.request is not None else None
    on = date_of_coding(request.encounter) if request is not None else None
    readable = _readable(labels, on=on, systems=systems)
    return Adjudicated(
        suggestion_id=row.id,
        patient_id=row.patient_id,
        request=request,
        labels=readable,
        num_foreign_codes=len(labels.codes) - len(readable.codes),
    )


def _readable(labels: Labels, *, on: date | None, systems: CodeSystems) -> Labels:
    """Leave out codes that the release they are judged by does not hold.

    A version that learnt from another release suggests such codes, and readers refuse them. A record
    that loses anything but a negative is no longer complete.
    """
    foreign = [code for code in labels.codes if _is_foreign(code, on=on, systems=systems)]
    if not foreign:
        return labels
    is_incomplete = any(code.state is not CodeState.NEGATIVE for code in foreign)
    return replace(
        labels,
        codes=tuple(code for code in labels.codes if code not in foreign),
        unlisted=Unlisted.UNKNOWN if is_incomplete else labels.unlisted,
    )


def _is_foreign(code: Code, *, on: date | None, systems: CodeSystems) -> bool:
    """Whether its stated release does not have it, or, where it states none, that of the date of coding."""
    if code.release is None:
        return systems.standing(code.system, code.code, on) not in (Standing.VALID, Standing.NOT_HELD)
    release = systems.named(code.system, code.release)
    return release is not None and systems.standing_in(release, code.code, on) is not Standing.VALID
