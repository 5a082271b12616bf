"""Sets of codes as people write them in tables and policies: ``icd10cm:E08-E13``, ``icd10cm:S72.-``, ``cpt:99214``.

A set is told by its written form alone. Whether the codes exist in a release is judged by whoever reads the
table, at the time of reading.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from clinical_coding.codes import CodeSystem, normalise_code

__all__ = ["CodeSet", "CodeSpan", "parse_codes"]


@dataclass(frozen=True, slots=True)
class CodeSpan:
    """One entry of a set: a code with everything below it, or all that lies from one code to another."""

    system: CodeSystem
    first: str
    last: str
    """The same as ``first`` unless a range is written."""

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read one entry.

        Args:
            written: ``system:CODE``, ``system:CODE.-`` or ``system:CODE-CODE``; without a system, ICD-10-CM.

        Raises:
            ValueError: The system is none of ours, an end is no code of it, or the ends are out of order.
        """
        name, marked, codes = written.strip().rpartition(":")
        if marked and name not in set(CodeSystem):
            raise ValueError(
                f"codes {written[:40]!r} name a code system {name[:16]!r}; expected one of {[*CodeSystem]}"
            )
        system = CodeSystem(name) if marked else CodeSystem.ICD10CM
        first, _, last = codes.rstrip("-").rstrip(".").partition("-")
        first = normalise_code(system, first)
        last = normalise_code(system, last) if last else first
        if last < first:
            raise ValueError(f"codes {written[:40]!r} end before they begin; write the lower code first")
        return cls(system, first, last)

    def holds(self, code: str) -> bool:
        """Tell whether a code of the same system lies in it."""
        return self.first <= code[: len(self.first)] and code[: len(self.last)] <= self.last

    def __str__(self) -> str:
        return self.first if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class CodeSet:
    """Some codes of any systems."""

    spans: tuple[CodeSpan, ...]

    def holds(self, system: CodeSystem, code: str) -> bool:
        """Tell whether a code lies in the set."""
        return any(span.system is system and span.holds(code) for span in self.spans)

    def __str__(self) -> str:
        return ", ".join(map(str, self.spans))


def parse_codes(written: str | Iterable[str]) -> CodeSet:
    """Read a set from its entries, or from one text of entries separated by white space or commas.

    Raises:
        ValueError: An entry cannot be read; it says which.
    """
    entries = written.replace(",", " ").split() if isinstance(written, str) else written
    return CodeSet(tuple(map(CodeSpan.parse, entries)))
