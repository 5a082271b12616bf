"""Medical necessity tables: both forms say the same, and a wrong row is named."""

from datetime import date
from pathlib import Path

import pytest

from clinical_coding.codes import CodeSystem
from clinical_coding.edits import load_necessity

CSV = """procedure,diagnoses,payer,source,effective_from,effective_to
cpt:93880,"I63, I65-I66",medicare,Synthetic coverage 1,2026-01-01,2026-06-30
hcpcs:G0121,Z12.11,*,Synthetic coverage 2,,
"""
YAML = """coverage:
  - {procedure: "cpt:93880", diagnoses: "I63, I65-I66", payer: medicare, source: Synthetic coverage 1,
     effective_from: 2026-01-01, effective_to: 2026-06-30}
  - {procedure: "hcpcs:G0121", diagnoses: [Z12.11], source: Synthetic coverage 2}
"""


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(CSV, encoding="utf-8-sig")
    (tmp_path / "table.yaml").write_text(YAML)
    assert load_necessity(tmp_path / "table.csv") == load_necessity(tmp_path / "table.yaml")


@pytest.mark.parametrize(
    ("procedure", "payer", "on", "num"),
    [
        ("93880", "medicare", date(2026, 6, 30), 1),
        ("93880", "medicare", date(2026, 7, 1), 0),
        ("93880", "medicare", date(2025, 12, 31), 0),
        ("93880", "medicare", None, 1),
        ("93880", "medicaid", date(2026, 6, 30), 0),
        ("93880", None, date(2026, 6, 30), 0),
        ("93306", "medicare", date(2026, 6, 30), 0),
    ],
)
def test_rows_bind_by_procedure_payer_and_date(
    tmp_path: Path, procedure: str, payer: str | None, on: date | None, num: int
) -> None:
    (tmp_path / "table.csv").write_text(CSV)
    table = load_necessity(tmp_path / "table.csv")
    assert len(table.of(CodeSystem.CPT, procedure, payer=payer, on=on)) == num
    assert len(table.of(CodeSystem.HCPCS, "G0121", payer=payer, on=on)) == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("table.csv", "procedure,payer\ncpt:93880,medicare\n", "the columns diagnoses are missing"),
        ("table.csv", CSV.replace("cpt:93880", "cpt:938"), "table.csv, line 2: procedure"),
        ("table.csv", CSV.replace("Z12.11", "screening"), "table.csv, line 3: diagnoses"),
        ("table.csv", CSV.replace("2026-06-30", "30.06.2026"), "line 2: effective_to"),
        ("table.csv", CSV.replace(",effective_to", ",until"), "line 2: until"),
        ("table.yaml", "coverage:\n  - {procedure: cpt:93880}\n", "table.yaml"),
        ("table.yaml", "coverage: [", "table.yaml"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match="table") as caught:
        load_necessity(tmp_path / name)
    assert told in str(caught.value)


def test_a_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        load_necessity(tmp_path / "none.csv")


def test_a_table_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(CSV.replace("Synthetic", "Synth\u00e9tic").encode("latin-1"))
    with pytest.raises(ValueError, match="not CSV in UTF-8"):
        load_necessity(tmp_path / "table.csv")
