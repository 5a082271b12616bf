"""Decisions in bulk, from JSON Lines (stage 8).

Each line is stored under its own idempotency key, some hundred lines in one durable transaction. So a
file that broke in the middle, or an import that was killed, is simply given again: what is there
already is answered as before, and nothing is stored twice. Memory does not grow with the file.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import ValidationError
from sqlalchemy import Engine

from clinical_coding.artefact import Artefact, describe_errors
from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import Decision
from clinical_coding.readers.rejects import Rejects
from feedback.decisions import RecordedDecision, record_decisions
from feedback.errors import FeedbackError
from feedback.settings import FeedbackSettings, ReasonCodes
from ledger.principals import Principal

__all__ = ["DecisionLine", "ImportReport", "import_decisions"]

# As many share one flush of the disk; other writers wait for some tenth of a second at most.
BATCH_LINES: Final = 200
# A decision of the most codes has a tenth of it. What is longer is not kept in memory whole.
MAX_LINE_BYTES: Final = 1 << 20
_UTF8_MARK: Final = b"\xef\xbb\xbf"


class DecisionLine(Artefact):
    """One line of the file."""

    idempotency_key: str
    """1 to 128 printable characters, the line's own for all time."""
    decision: Decision
    """As it is sent over HTTP."""


@dataclass(slots=True)
class ImportReport:
    """What became of the lines."""

    num_stored: int = 0
    num_repeated: int = 0
    """There already, from an earlier import or over HTTP."""
    num_rejected: int = 0
    num_overrides: int = 0
    """Of the decisions stored now."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    raw: str
    read: DecisionLine | None
    reason: str | None
    """Why it could not be read."""


def import_decisions(
    engine: Engine,
    path: Path,
    *,
    principal: Principal,
    settings: FeedbackSettings,
    reasons: ReasonCodes,
    systems: CodeSystems,
    rejects: Rejects,
    advance: Callable[[int], None],
) -> ImportReport:
    """Store the decisions of a file.

    Args:
        engine: A migrated database.
        path: UTF-8, one ``{"idempotency_key": "…", "decision": {…}}`` a line; blank lines say nothing.
        principal: Whose decisions they become.
        settings: Shares drawn for audit, and places in the queue.
        reasons: The reasons that can be given.
        systems: The releases that judge codes.
        rejects: Takes lines that cannot be read, or whose decision is refused.
        advance: Told how many lines are done, each time some are durable.

    Returns:
        How many lines were stored, were there already, and were rejected.

    Raises:
        ForbiddenError: The principal's role may not decide.
        ValueError: The file cannot be opened, or too many lines are rejected. What was stored before stays.
    """
    report = ImportReport()
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ValueError(f"file {path} cannot be read ({error.strerror}); name another") from None
    with stream:
        lines = _read(stream)
        while batch := list(islice(lines, BATCH_LINES)):
            asked = [(line.read.idempotency_key, line.read.decision) for line in batch if line.read is not None]
            outcomes = record_decisions(
                engine, asked, principal=principal, settings=settings, reasons=reasons, systems=systems
            )
            # Counted only now, when they are durable; and before a reject too many may end it all.
            _count(outcomes, report=report)
            _reject(batch, outcomes, path=path, rejects=rejects, report=report)
            advance(len(batch))
    return report


def _count(outcomes: Sequence[RecordedDecision | FeedbackError], *, report: ImportReport) -> None:
    for outcome in outcomes:
        if isinstance(outcome, RecordedDecision) and outcome.is_repeated:
            report.num_repeated += 1
        elif isinstance(outcome, RecordedDecision):
            report.num_stored += 1
            report.num_overrides += len(outcome.overrides)


def _reject(
    batch: Sequence[_Line],
    outcomes: Sequence[RecordedDecision | FeedbackError],
    *,
    path: Path,
    rejects: Rejects,
    report: ImportReport,
) -> None:
    remaining = iter(outcomes)
    for line in batch:
        reason = line.reason
        if line.read is not None:
            outcome = next(remaining)
            reason = str(outcome) if isinstance(outcome, FeedbackError) else None
        if reason is not None:
            report.num_rejected += 1
            rejects.add(path, line=line.number, reason=reason, raw=line.raw)


def _read(stream: BinaryIO) -> Iterator[_Line]:
    for number, raw in enumerate(_raw_lines(stream), start=1):
        if number == 1:
            raw = raw.removeprefix(_UTF8_MARK)
        if not raw.strip():
            continue
        text = raw.decode(errors="replace").rstrip("\r\n")
        try:
            if len(raw) > MAX_LINE_BYTES:
                raise ValueError(f"the line holds more than {MAX_LINE_BYTES:,} bytes; expected one decision")
            yield _Line(number, text, DecisionLine.model_validate_json(raw), None)
        except ValidationError as error:
            yield _Line(number, text, None, describe_errors(error))
        except ValueError as error:
            yield _Line(number, text, None, str(error))


def _raw_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines, of which one that is too long comes cut, one byte over the limit."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        yield line
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES + 1)
