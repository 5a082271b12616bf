"""Files that were cut short: where that can be told, and how it is."""

from pathlib import Path
from typing import Any

import pytest

Official = Any

PCS = [("001", 0, "Nervous System, Bypass"), ("0016070", 1, "Bypass Ventricle, Open Approach")]
HCPCS = [
    ("A0021", "3", "Ambulance service, outside state per", "19900101", "20250101", ""),
    ("A0021", "4", "mile, transport", "", "", ""),
    ("LT", "7", "Left side", "19900101", "19980101", ""),
]
DRG = "MS-DRG\tMDC\tTYPE\tMS-DRG Title\tWeights\tGeometric mean LOS\tArithmetic mean LOS\n001\tPRE\tSURG\tOurs\t27.5"
MUE = "HCPCS/CPT Code,Practitioner Services MUE Values,MUE Adjudication Indicator,MUE Rationale\n96372,4,3 Date"
PTP = (
    "Column 1\tColumn 2\t*=in existence prior to 1996\tEffective Date\tDeletion Date *=no data\t"
    "Modifier 0=not allowed 1=allowed\tPTP Edit Rationale\n29827\t29826\t\t20200101\t*\t1"
)


def cut(path: Path, *, left: int) -> Path:
    """The file without its last bytes."""
    path.write_bytes(path.read_bytes()[:-left])
    return path


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (2, r"o.txt line 2: the last line has no line end"),
        (10, r"o.txt line 2: the last line has no line end"),
        (60, r"o.txt line 2: not a whole line"),
    ],
)
def test_an_order_file_within_its_last_line(official: Official, left: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        official.import_("icd10pcs", cut(official.order("o.txt", PCS), left=left), start="2026-10-01")


def test_the_line_of_a_last_heading_counts_empty_lines(official: Official) -> None:
    order = official.order("o.txt", [*PCS, ("002", 0, "Heart")])
    order.write_text("\n\n" + order.read_text())
    with pytest.raises(ValueError, match=r"o.txt line 5: the file ends with the heading 002"):
        official.import_("icd10pcs", order, start="2026-10-01")


@pytest.mark.parametrize(
    ("num_records", "left", "message"),
    [
        (3, 2, r"a.txt line 3: the last line has no line end"),
        (3, 40, r"a.txt line 3: the record ends at column 282 of 320"),
        (2, 200, r"a.txt line 2: the record ends at column 122 of 320"),
        (2, 301, r"a.txt line 2: the record ends at column 21 of 320"),
    ],
)
def test_hcpcs_within_a_record_or_a_description_that_goes_on(
    official: Official, num_records: int, left: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        official.import_("hcpcs", cut(official.anweb("a.txt", HCPCS[:num_records]), left=left), start="2026-10-01")


@pytest.mark.parametrize(
    ("system", "text", "message"),
    [
        ("ms-drg", f"{DRG}\n", "t.txt line 2: the line has fewer cells"),
        ("ncci-mue", f"{MUE}\n", "t.txt line 2: the line has fewer cells"),
        ("ncci-ptp", f"{PTP}\n", "t.txt line 2: the line has fewer cells"),
    ],
)
def test_tables_within_a_line_that_lacks_cells(official: Official, system: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        official.import_(system, official.write("t.txt", text), start="2026-10-01")


def test_a_tabular_list_is_told_by_the_name_that_was_given(official: Official) -> None:
    note = "<diag><name>I21</name><desc>Infarction</desc><diag><name>I21.4</name><desc>NSTEMI</desc></diag></diag>"
    tabular = cut(official.tabular("of-mine.xml", note), left=40)
    order = official.order("o.txt", [("I21", 0, "Infarction"), ("I214", 1, "NSTEMI")])
    with pytest.raises(ValueError, match=r"^of-mine\.xml is not whole XML"):
        official.import_("icd10cm", order, tabular, start="2026-10-01")
