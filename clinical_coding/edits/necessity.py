"""Medical necessity: which diagnoses support a procedure, by payer, as the organisation's own table says.

The table comes from coverage determinations and contracts; none is shipped, since they are local. A procedure
that the table does not name needs no support. Source: 42 U.S.C. 1395y(a)(1)(A).
"""

import csv
from collections.abc import Iterable
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator

from clinical_coding.artefact import describe_errors
from clinical_coding.codes import CodeSystem
from clinical_coding.edits.code_sets import CodeSet, CodeSpan, parse_codes
from clinical_coding.settings_file import load_settings

__all__ = ["Coverage", "MedicalNecessity", "load_necessity"]

ANY_PAYER: Final = "*"
_COLUMNS: Final = ("procedure", "diagnoses", "payer", "source", "effective_from", "effective_to")
_MODEL: Final = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Coverage(BaseModel):
    """Diagnoses that support a procedure in the eyes of a payer."""

    model_config = _MODEL

    procedure: Annotated[CodeSpan, BeforeValidator(CodeSpan.parse)]
    """Label key, such as ``cpt:93306``."""
    diagnoses: Annotated[CodeSet, BeforeValidator(parse_codes)]
    """Codes and ranges of ICD-10-CM."""
    payer: str = ANY_PAYER
    """As encounters name it; ``*`` for every payer."""
    source: str
    """The coverage determination or contract."""
    effective_from: date | None = None
    effective_to: date | None = None
    """Last day."""

    @field_validator("effective_from", "effective_to", mode="before")
    @classmethod
    def _no_date(cls, value: Any) -> Any:
        return None if value == "" else value

    def holds(self, payer: str | None, on: date | None) -> bool:
        """Tell whether it binds a payer on a date; an unknown date is taken for one on which it does."""
        if self.payer not in (ANY_PAYER, payer):
            return False
        return on is None or ((self.effective_from or on) <= on <= (self.effective_to or on))


class MedicalNecessity(BaseModel):
    """The whole table."""

    model_config = _MODEL

    coverage: tuple[Coverage, ...]

    @cached_property
    def _by_procedure(self) -> dict[tuple[CodeSystem, str], list[Coverage]]:
        found: dict[tuple[CodeSystem, str], list[Coverage]] = {}
        for row in self.coverage:
            found.setdefault((row.procedure.system, row.procedure.first), []).append(row)
        return found

    def of(self, system: CodeSystem, procedure: str, *, payer: str | None, on: date | None) -> list[Coverage]:
        """What binds a payer on a date for a procedure; nothing where the procedure needs no support."""
        return [row for row in self._by_procedure.get((system, procedure), ()) if row.holds(payer, on)]


def load_necessity(path: Path) -> MedicalNecessity:
    """Read a table: YAML with a list ``coverage``, or CSV with the same fields as columns.

    Raises:
        ValueError: The file cannot be read, or a row is wrong; it names the line.
    """
    if path.suffix.lower() != ".csv":
        return load_settings(path, MedicalNecessity)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in _COLUMNS[:2] if name not in (reader.fieldnames or ())]:
                raise ValueError(
                    f"{path}: the columns {' and '.join(missing)} are missing; expected {', '.join(_COLUMNS)}"
                )
            return MedicalNecessity(coverage=tuple(_rows(reader, path=path)))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); name another file") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{path} is not CSV in UTF-8; save it as such") from None


def _rows(reader: "csv.DictReader[str]", *, path: Path) -> Iterable[Coverage]:
    for row in reader:
        try:
            yield Coverage.model_validate(row)
        except ValidationError as error:
            raise ValueError(f"{path}, line {reader.line_num}: {describe_errors(error)}") from None
