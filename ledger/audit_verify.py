"""Check the audit log: is every entry as it was written, in its place, and none missing?

The log is read once, in order, in one snapshot, with flat memory. A fault does not end the check;
after one, the link of the next entry is not judged, as the fault has been told already. A chain that
was rewritten as a whole, head included, is faultless in itself: only an anchor, a head that was kept
elsewhere, tells. It does not know what the actions mean, and changes nothing.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import BLOB, ColumnElement, Connection, Engine, Row, cast, select

from ledger.audit_log import GENESIS, HEAD_ID, audit_head, audit_log, chain

__all__ = ["Fault", "FaultKind", "Verification", "head", "verify"]

PAGE_ROWS: Final = 2_000
MAX_FAULTS: Final = 1_000


class FaultKind(StrEnum):
    """What is wrong."""

    CHANGED = "changed"
    """Entry, hash or previous hash of this row are not those that were written together."""
    REMOVED = "removed"
    """Rows are missing here."""
    MOVED = "moved"
    """The row was written in another place."""
    BROKEN = "broken"
    """The row does not follow the one before it: one of the two was rewritten with a new hash."""
    COLUMNS = "columns"
    """The row's action or subject differs from that of its entry."""
    HEAD = "head"
    """The head is not the last row: rows were cut off at the end or added, or the head was changed."""
    ANCHOR = "anchor"
    """The chain does not hold the anchor: it was rewritten, or cut off before it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where."""

    seq: int
    """Of the first row concerned."""
    kind: FaultKind
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check found."""

    num_rows: int
    head_seq: int
    """0 of an empty log, or where the head row is gone."""
    head_hash: str
    faults: tuple[Fault, ...]
    """The first thousand."""
    num_faults: int

    @property
    def is_whole(self) -> bool:
        """Nothing is wrong."""
        return self.num_faults == 0


class _Stored(NamedTuple):
    """A row but for its number."""

    action: str
    subject: str
    entry: str
    previous_hash: str
    hash: str


class _Chain:
    """What was read so far."""

    def __init__(self, anchor: tuple[int, str] | None) -> None:
        self._anchor = anchor
        self.has_anchor = anchor is None or anchor == (0, GENESIS)
        self.num_rows = 0
        self.last_seq = 0
        self.last_hash: str | None = GENESIS
        # None after a fault: nothing can be said of the next link.
        self._follows: str | None = GENESIS
        self.faults: list[Fault] = []
        self.num_faults = 0

    def add(self, seq: int, kind: FaultKind, detail: str) -> None:
        self.num_faults += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(seq, kind, detail))

    def read(self, row: Row[Any]) -> None:
        self.num_rows += 1
        seq = row[0]
        if type(seq) is not int or seq <= self.last_seq:
            self.add(self.last_seq, FaultKind.MOVED, "a row without a number of its own follows this one")
            return
        if seq > self.last_seq + 1:
            self.add(self.last_seq + 1, FaultKind.REMOVED, f"{seq - self.last_seq - 1} rows are missing")
            self._follows = None
        stored = _Stored(*map(_text, row[1:]))
        self._follows = stored.hash if self._is_sound(seq, stored) else None
        self.last_seq, self.last_hash = seq, stored.hash
        if self._anchor == (seq, stored.hash):
            self.has_anchor = True

    def _is_sound(self, seq: int, stored: _Stored) -> bool:
        written = _parse(stored)
        if written is None:
            self.add(seq, FaultKind.CHANGED, "entry and hashes do not belong together")
            return False
        if written.get("seq") != seq:
            self.add(seq, FaultKind.MOVED, f"the row was written as number {written.get('seq')!r:.20}")
            return False
        if self._follows is not None and stored.previous_hash != self._follows:
            self.add(seq, FaultKind.BROKEN, "the row does not follow the one before it; one of the two was rewritten")
            return False
        for name, value in (("action", stored.action), ("subject", stored.subject)):
            if written.get(name) != value:
                # Entry and links are sound, so the next link can be judged.
                self.add(seq, FaultKind.COLUMNS, f"the column {name} differs from the entry")
        return True


def verify(
    engine: Engine, *, anchor: tuple[int, str] | None = None, progress: Callable[[int], None] | None = None
) -> Verification:
    """Check the whole audit log.

    Args:
        engine: A migrated database; others may go on writing.
        anchor: Number and hash of a row, kept elsewhere (``head``); the chain must hold it.
        progress: Is told every few thousand rows how many were read.

    Returns:
        What was found. It goes on after a fault.
    """
    read = _Chain(anchor)
    with _snapshot(engine) as connection:
        heads = connection.execute(select(audit_head.c.id, audit_head.c.seq, audit_head.c.hash)).all()
        for page in _pages(connection):
            for row in page:
                read.read(row)
            if progress is not None:
                progress(read.num_rows)
    head_seq, head_hash = _judge_head(read, heads)
    if anchor is not None and not read.has_anchor:
        read.add(anchor[0], FaultKind.ANCHOR, "the chain does not hold the anchor: it was rewritten, or cut off before")
    return Verification(read.num_rows, head_seq, head_hash, tuple(read.faults), read.num_faults)


def head(engine: Engine) -> tuple[int, str]:
    """Number and hash of the last entry, to be kept elsewhere as an anchor."""
    with engine.connect() as connection:
        row = connection.execute(select(audit_head.c.seq, audit_head.c.hash).where(audit_head.c.id == HEAD_ID)).one()
    return row.seq, row.hash


def _judge_head(read: _Chain, heads: Sequence[Any]) -> tuple[int, str]:
    if [row.id for row in heads] != [HEAD_ID]:
        read.add(read.last_seq, FaultKind.HEAD, f"there are {len(heads)} heads, expected one")
        return 0, GENESIS
    seq, digest = heads[0].seq, heads[0].hash
    if seq > read.last_seq:
        read.add(read.last_seq + 1, FaultKind.HEAD, f"rows up to {seq} were cut off at the end")
    elif seq < read.last_seq:
        read.add(seq + 1, FaultKind.HEAD, f"rows up to {read.last_seq} were added after the head")
    elif digest != read.last_hash:
        read.add(seq, FaultKind.HEAD, "the hash of the head is not that of the last row")
    return seq, digest


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    # What is appended while we read must not look like a head that runs ahead of its rows.
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def _pages(connection: Connection) -> Iterator[Any]:
    columns: list[ColumnElement[Any]] = [audit_log.c[name] for name in _Stored._fields]
    if connection.dialect.name == "sqlite":
        # Bytes, as SQLite keeps what is no text in columns of text, and the driver would stop there.
        columns = [cast(column, BLOB) for column in columns]
    statement = select(audit_log.c.seq, *columns).order_by(audit_log.c.seq)
    return connection.execution_options(yield_per=PAGE_ROWS).execute(statement).partitions()


def _text(value: Any) -> str:
    # Bytes that are no text stay different from all text.
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _parse(stored: _Stored) -> dict[str, Any] | None:
    """Read an entry; None when it is not what its hash was made of."""
    try:
        if chain(stored.previous_hash, stored.entry) != stored.hash:
            return None
        written = json.loads(stored.entry)
    except ValueError:
        return None
    return written if isinstance(written, dict) else None
