"""Small files in the official layouts, made by code."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import openpyxl
import pytest

from clinical_coding.code_systems import CodeSystems, ReleasedSystem
from clinical_coding.code_systems.importing import Imported, import_release
from clinical_coding.data_directory import DataDirectory

PCS = [("001", 0, "Central Nervous System, Bypass"), ("0016070", 1, "Bypass Ventricle to Nasopharynx, Open Approach")]
CM = [
    ("I21", 0, "Acute myocardial infarction"),
    ("I214", 1, "Non-ST elevation (NSTEMI) myocardial infarction"),
    ("I219", 1, "Acute myocardial infarction, unspecified"),
    ("J45", 0, "Asthma"),
    ("J459", 0, "Other and unspecified asthma"),
    ("J4590", 0, "Unspecified asthma"),
    ("J45909", 1, "Unspecified asthma, uncomplicated"),
]
PTP_TITLE = "CPT only copyright 2025 American Medical Association. All rights reserved.\n\n"
PTP_HEADING = (
    "Column 1\tColumn 2\t*=in existence prior to 1996\tEffective Date\tDeletion Date *=no data\t"
    "Modifier 0=not allowed 1=allowed 9=not applicable\tPTP Edit Rationale\n"
)


@dataclass(frozen=True)
class Official:
    """Writes files in the official layouts, and imports them."""

    folder: Path
    directory: DataDirectory

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def order(self, name: str, rows: Sequence[tuple[str, int, str]] = CM) -> Path:
        lines = (
            f"{number:05} {code:<7} {valid} {words[:60]:<60} {words}"
            for number, (code, valid, words) in enumerate(rows, 1)
        )
        return self.write(name, "".join(line + "\r\n" for line in lines))

    def tabular(self, name: str, body: str, version: int = 2027) -> Path:
        """A tabular list of one chapter and one block."""
        return self.write(
            name,
            f'<?xml version="1.0" encoding="utf-8"?><ICD10CM.tabular><version>{version}</version>'
            "<chapter><name>9</name><desc>Diseases of the circulatory system (I00-I99)</desc>"
            f'<section id="I20-I25"><desc>Ischemic heart diseases (I20-I25)</desc>{body}</section>'
            "</chapter></ICD10CM.tabular>",
        )

    def anweb(self, name: str, records: Sequence[tuple[str, str, str, str, str, str]]) -> Path:
        """Records of code, kind, long description, date added, date of action, date of termination."""
        lines = []
        for number, (code, kind, words, added, acted, ended) in enumerate(records, start=1):
            place = f"{code:<5}" if len(code) == 5 else f"{code:>5}"
            head = f"{place}{number * 100:05}{kind}{words:<80}{words[:28] if kind in '37' else '':<28}"
            dates = f"{added:<8}{acted:<8}{ended:<8}N" if kind in "37" else ""
            lines.append(f"{f'{head:<268}{dates}':<320}\r\n")
        return self.write(name, "".join(lines))

    def workbook(self, name: str, rows: Sequence[Sequence[object]]) -> Path:
        book = openpyxl.Workbook()
        for row in rows:
            book.worksheets[0].append(list(row))
        book.save(self.folder / name)
        return self.folder / name

    def archive(self, name: str, *members: Path) -> Path:
        with zipfile.ZipFile(self.folder / name, "w") as opened:
            for member in members:
                opened.write(member, f"Some Folder/{member.name}")
        return self.folder / name

    def import_(
        self, system: str, *files: Path, start: str, end: str | None = None, name: str | None = None
    ) -> Imported:
        return import_release(
            ReleasedSystem(system),
            files,
            name=name or start[:7],
            effective_from=date.fromisoformat(start),
            effective_to=None if end is None else date.fromisoformat(end),
            directory=self.directory,
        )

    def systems(self) -> CodeSystems:
        return CodeSystems.open(self.directory.code_systems)


@pytest.fixture
def official(tmp_path: Path) -> Official:
    (tmp_path / "files").mkdir()
    return Official(tmp_path / "files", DataDirectory.locate(tmp_path / "data"))
