"""Tables of Medicare that speak of codes: pairs not paid together, most units likely, weights of groups.

They are looked up by edits and grouping; how they were read from the official files is the importers' business.
Source: National Correct Coding Initiative (PTP and MUE tables), CMS Table 5 of the IPPS final rule.
"""

import json
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final, Self

__all__ = ["Pair", "PairEdit", "PairEdits", "UnitLimit", "UnitLimits"]

Pair = tuple[str, str, date, date | None, int, str]
"""Column 1, column 2, effective, deleted, modifier indicator (0, 1 or 9), rationale."""

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OPEN: Final = 99_991_231
"""Deletion date of an edit that is not deleted, as year, month and day in one number."""
_CODES: Final = len(_ALPHABET) ** 5


@dataclass(frozen=True, slots=True)
class PairEdit:
    """Two procedures that are not paid together: column 2 is denied beside column 1."""

    column1: str
    column2: str
    modifier_allowed: bool
    """True when a modifier that the note supports (59, XE and so on) makes both payable."""
    effective: date
    deleted: date | None
    """Last day, where the edit was deleted."""
    rationale: str
    """NCCI's own reason, such as ``Standards of medical / surgical practice``."""


@dataclass(frozen=True, slots=True)
class PairEdits:
    """All pairs of one table, as sorted columns, looked up by bisection: 50 MB for two million pairs, no objects."""

    _keys: Sequence[int]
    _effective: Sequence[int]
    _deleted: Sequence[int]
    _modifiers: Sequence[int]
    _reasons: Sequence[int]
    _rationales: tuple[str, ...]
    _day: int
    """The day that is asked about, as year, month and day in one number."""

    def __len__(self) -> int:
        return len(self._keys)

    def on(self, day: date | None) -> Self:
        """The same table as of a day; null: of edits that are not deleted."""
        number = _OPEN if day is None else _number(day)
        return type(self)(
            self._keys, self._effective, self._deleted, self._modifiers, self._reasons, self._rationales, number
        )

    def between(self, code1: str, code2: str) -> PairEdit | None:
        """Find the edit on two codes, in either order, that is in force on the day.

        Args:
            code1: A CPT or HCPCS code.
            code2: Another.
        """
        return self._find(code1, code2) or self._find(code2, code1)

    def _find(self, column1: str, column2: str) -> PairEdit | None:
        key = _key(column1, column2)
        row = bisect_left(self._keys, key)
        while row < len(self._keys) and self._keys[row] == key:
            effective, deleted = self._effective[row], self._deleted[row]
            # An edit that is deleted as of its first day never was.
            if effective <= self._day <= deleted and effective != deleted:
                return PairEdit(
                    column1=column1,
                    column2=column2,
                    modifier_allowed=self._modifiers[row] == 1,
                    effective=_date(effective),
                    deleted=None if deleted == _OPEN else _date(deleted),
                    rationale=self._rationales[self._reasons[row]],
                )
            row += 1
        return None

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Self:
        """Build the table; millions of pairs never exist as objects all at once.

        Raises:
            ValueError: One pair has two edits from the same day.
        """
        keys, effective, deleted = array("Q"), array("I"), array("I")
        modifiers, reasons = array("B"), array("H")
        rationales: dict[str, int] = {}
        for column1, column2, start, end, modifier, rationale in pairs:
            keys.append(_key(column1, column2))
            effective.append(_number(start))
            deleted.append(_OPEN if end is None else _number(end))
            modifiers.append(modifier)
            reasons.append(rationales.setdefault(rationale, len(rationales)))
        order = sorted(range(len(keys)), key=lambda row: (keys[row], effective[row]))
        for row, following in pairwise(order):
            if keys[row] == keys[following] and effective[row] == effective[following]:
                raise ValueError(
                    f"the pair {_codes(keys[row])}, effective {_date(effective[row])}, stands there twice; "
                    "name each part of the table once"
                )
        in_order = [
            array(column.typecode, map(column.__getitem__, order))
            for column in (keys, effective, deleted, modifiers, reasons)
        ]
        return cls(in_order[0], in_order[1], in_order[2], in_order[3], in_order[4], tuple(rationales), _OPEN)

    def to_bytes(self) -> bytes:
        """Write a head of one line of JSON, padded so that numbers align, and the columns behind it."""
        columns = [array(kind, column) for kind, column in zip("QIIHB", self._columns, strict=True)]
        if sys.byteorder == "big":
            for column in columns:
                column.byteswap()
        head = json.dumps({"rows": len(self), "rationales": self._rationales}).encode()
        return head + b" " * (-(len(head) + 1) % 8) + b"\n" + b"".join(column.tobytes() for column in columns)

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read what :meth:`to_bytes` wrote, without copying it."""
        length = body.index(b"\n") + 1
        head = json.loads(body[:length])
        rows, place = int(head["rows"]), length
        columns: list[Sequence[int]] = []
        for kind in "QIIHB":
            end = place + rows * array(kind).itemsize
            columns.append(_column(memoryview(body)[place:end], kind))
            place = end
        keys, effective, deleted, reasons, modifiers = columns
        return cls(keys, effective, deleted, modifiers, reasons, tuple(head["rationales"]), _OPEN)

    @property
    def _columns(self) -> tuple[Sequence[int], ...]:
        return self._keys, self._effective, self._deleted, self._reasons, self._modifiers


@dataclass(frozen=True, slots=True)
class UnitLimit:
    """The most units of one code that are likely for one patient on one day."""

    units: int
    indicator: int
    """1: by claim line; 2: by day, absolute, from policy; 3: by day, from clinical data."""
    rationale: str


@dataclass(frozen=True, slots=True)
class UnitLimits:
    """One table of medically unlikely edits."""

    rows: dict[str, UnitLimit]

    def limit(self, code: str) -> int | None:
        """The most units that are likely; null where none is set."""
        row = self.rows.get(code)
        return None if row is None else row.units

    def get(self, code: str) -> UnitLimit | None:
        """The limit with its kind and reason."""
        return self.rows.get(code)

    def to_json(self) -> bytes:
        """Write the table."""
        rows = {code: [row.units, row.indicator, row.rationale] for code, row in self.rows.items()}
        return json.dumps(rows, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls({code: UnitLimit(*row) for code, row in json.loads(body).items()})


def _key(column1: str, column2: str) -> int:
    return int(column1, 36) * _CODES + int(column2, 36)


def _codes(key: int) -> str:
    """The two codes of a key, for messages."""
    text = ""
    for _ in range(10):
        key, digit = divmod(key, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return f"{text[:5]} and {text[5:]}"


def _number(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


def _date(number: int) -> date:
    return date(number // 10_000, number // 100 % 100, number % 100)


def _column(body: memoryview, kind: str) -> Sequence[int]:
    if sys.byteorder == "little":
        # Typed as a view of bytes; a cast view gives whole numbers.
        return body.cast(kind)  # type: ignore[call-overload,no-any-return]
    column = array(kind, body.tobytes())
    column.byteswap()
    return column
