from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.code_systems import Standing
from clinical_coding.codes import CodeSystem
from clinical_coding.tabular.instructions import InstructionKind

Official = Any
CM = CodeSystem.ICD10CM
TABULAR = (
    "<diag><name>I21</name><desc>Acute myocardial infarction</desc>"
    "<excludes1><note>other acute chest pain (J45.-)</note></excludes1>"
    "<diag><name>I21.4</name><desc>Non-ST elevation (NSTEMI) myocardial infarction</desc>"
    "<inclusionTerm><note>Nontransmural myocardial infarction NOS</note></inclusionTerm></diag>"
    "<diag><name>I21.9</name><desc>Acute myocardial infarction, unspecified</desc></diag></diag>"
    "<diag><name>J45</name><desc>Asthma</desc><diag><name>J45.9</name><desc>Other and unspecified asthma</desc>"
    "<diag><name>J45.90</name><desc>Unspecified asthma</desc>"
    "<diag><name>J45.909</name><desc>Unspecified asthma, uncomplicated</desc></diag></diag></diag></diag>"
)
INDEX = (
    '<?xml version="1.0" encoding="utf-8"?><ICD10CM.index><version>2027</version><letter><title>H</title>'
    "<mainTerm><title>Heart attack</title><code>I21.9</code>"
    "<term level='1'><title>without Q waves</title><code>I21.4</code></term>"
    "<term level='1'><title>old</title><see>Infarct</see></term></mainTerm></letter></ICD10CM.index>"
)
HCPCS = [
    ("A0021", "3", "Ambulance service, outside state per", "19900101", "20250101", ""),
    ("A0021", "4", "mile, transport", "", "", ""),
    ("J1885", "3", "Injection, ketorolac tromethamine, per 15 mg", "19900101", "20260101", "20260630"),
    ("C9999", "3", "A device that begins in April", "20260401", "20260401", ""),
    ("LT", "7", "Left side", "19900101", "19980101", ""),
]
DRG_HEADING = (
    "MS-DRG \tFY 2027 Final Post-Acute DRG\tFY 2027 Final Special Pay DRG\tMDC\tTYPE\tMS-DRG Title\t"
    "Weights - Before Cap\tWeights - 10% Cap Applied\tGeometric mean LOS\tArithmetic mean LOS\n"
)
DRG_TABLE = '"TABLE 5.-LIST OF MS-DRGS,\nAND MEAN LENGTH OF STAY-FY 2027 Final Rule"\t\t\t\t\t\t\t\t\t\n' + DRG_HEADING
MUE_HEADING = "HCPCS/CPT Code,Practitioner Services MUE Values,MUE Adjudication Indicator,MUE Rationale\n"
PTP = (
    "CPT only copyright 2025 American Medical Association.\n\nColumn 1\tColumn 2\t*=in existence prior to 1996\t"
    "Effective Date\tDeletion Date *=no data\tModifier 0=not allowed 1=allowed 9=not applicable\tPTP Edit Rationale\n"
)


def test_icd10cm_with_tabular_list_and_index(official: Official) -> None:
    imported = official.import_(
        "icd10cm",
        official.order("icd10cm_order_2027.txt"),
        official.tabular("icd10cm_tabular_2027.xml", TABULAR),
        official.write("icd10cm_index_2027.xml", INDEX),
        start="2026-10-01",
    )
    assert imported.is_new and imported.remarks == ()
    assert imported.release.counts == {"codes": 3, "headings": 4, "notes": 1, "index terms": 2}
    folder = official.directory.root / "code_systems" / "icd10cm" / imported.release.sha256[:16]
    assert {path.name for path in folder.iterdir()} == {*imported.release.files, "release.json"}
    systems = official.systems()
    library = systems.icd10cm(date(2026, 10, 1))
    assert library.release == "2026-10" and library.leaves() == ("I21.4", "I21.9", "J45.909")
    assert [one.note for one in library.instructions("I21.4", InstructionKind.EXCLUDES1)] == [
        "other acute chest pain (J45.-)"
    ]
    index = systems.index(CM)
    assert index is not None
    assert index.search("heart attack without q waves", limit=1)[0].code == "I21.4"
    assert [hit.code for hit in index.search("nontransmural")] == ["I21.4"]


def test_an_order_file_alone_gives_codes_without_notes_and_says_so(official: Official) -> None:
    imported = official.import_("icd10cm", official.order("icd10cm_order_2027.txt"), start="2026-10-01")
    assert "without the tabular XML" in imported.remarks[0] and imported.release.counts["notes"] == 0
    library = official.systems().icd10cm()
    assert library.leaves() == ("I21.4", "I21.9", "J45.909")
    entry = library.get("J45.909")
    assert entry is not None and entry.parent == "J45.90" and entry.description == "Unspecified asthma, uncomplicated"
    assert entry.chapter == "Diseases of the respiratory system (J00-J99)"


def test_icd10pcs(official: Official) -> None:
    rows = [("001", 0, "Nervous System, Bypass"), ("0016070", 1, "Bypass Ventricle, Open Approach")]
    archive = official.archive("2027-icd-10-pcs-order-file.zip", official.order("icd10pcs_order_2027.txt", rows))
    imported = official.import_("icd10pcs", archive, start="2026-10-01")
    assert imported.release.counts == {"codes": 1, "headings": 1}
    assert list(imported.release.sources) == ["2027-icd-10-pcs-order-file.zip/icd10pcs_order_2027.txt"]
    systems = official.systems()
    stands = {code: systems.standing(CodeSystem.ICD10PCS, code) for code in ("0016070", "001", "0016", "0016071")}
    assert list(stands.values()) == [Standing.VALID, Standing.NOT_A_LEAF, Standing.NOT_A_LEAF, Standing.UNKNOWN]
    assert systems.describe(CodeSystem.ICD10PCS, "0016070") == "Bypass Ventricle, Open Approach"


def hcpcs_workbook(official: Official) -> Path:
    heading = ["HCPC", "SEQNUM", "RECID", "LONG DESCRIPTION", "SHORT DESCRIPTION", "ADD DT", "ACT EFF DT", "TERM DT"]
    rows = [
        [code, number * 100, int(kind), words, words[:28], *(int(day) if day else None for day in days)]
        for number, (code, kind, words, *days) in enumerate(HCPCS, 1)
    ]
    return official.workbook("HCPC2026_APR_ANWEB.xlsx", [["HCPCS April 2026"], heading, *rows])


@pytest.mark.parametrize(
    "file",
    [
        lambda official: official.anweb("HCPC2026_APR_ANWEB.txt", HCPCS),
        hcpcs_workbook,
        lambda official: official.archive(
            "april-2026-alpha-numeric-hcpcs-file.zip",
            official.anweb("HCPC2026_APR_ANWEB.txt", HCPCS),
            hcpcs_workbook(official),
            official.write("HCPC2026_recordlayout.txt", "A0021 is a code"),
        ),
    ],
)
def test_hcpcs_as_text_workbook_and_archive(official: Official, file: Callable[[Official], Path]) -> None:
    imported = official.import_("hcpcs", file(official), start="2026-04-01", end="2026-06-30")
    assert imported.release.counts == {"codes": 3, "headings": 0, "modifiers": 1}
    systems = official.systems()
    words = systems.describe(CodeSystem.HCPCS, "A0021")
    assert words == "Ambulance service, outside state per mile, transport"
    for code, day, standing in [
        ("J1885", date(2026, 6, 30), Standing.VALID),
        ("J1885", date(2026, 7, 1), Standing.DELETED),
        ("C9999", date(2026, 3, 31), Standing.NOT_YET),
        ("C9999", date(2026, 4, 1), Standing.VALID),
        ("C9998", date(2026, 4, 1), Standing.UNKNOWN),
    ]:
        assert systems.standing(CodeSystem.HCPCS, code, day) is standing, (code, day)
    assert systems.changed_since(CodeSystem.HCPCS, date(2026, 4, 1)) == {"C9999", "J1885"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LONGULT.txt", "CPT copyright notice of many words\n\n00100\tOur words for it\n99214\tVisit, our words\n"),
        ("MEDU.txt", "00100 Our words for it\n99214 Visit, our words\n"),
        ("codes.csv", 'Code,Description\n00100,Our words for it\n99214,"Visit, our words"\n'),
        ("codes.tsv", "CPT Code\tLong Description\n00100\tOur words for it\n99214\tVisit, our words\n"),
    ],
)
def test_cpt_from_the_licensees_file(official: Official, name: str, text: str) -> None:
    official.import_("cpt", official.write(name, text), start="2026-01-01")
    systems = official.systems()
    assert systems.describe(CodeSystem.CPT, "99214") == "Visit, our words"
    assert systems.standing(CodeSystem.CPT, "99215") is Standing.UNKNOWN


def test_cpt_numbers_alone_are_known_without_descriptors(official: Official) -> None:
    imported = official.import_("cpt", official.write("codes.csv", "Code\n99214\n0001F\n"), start="2026-01-01")
    assert "2 codes have no descriptor" in imported.remarks[0]
    systems = official.systems()
    assert systems.standing(CodeSystem.CPT, "0001F") is Standing.VALID
    assert systems.describe(CodeSystem.CPT, "0001F") is None


def test_drg_weights_take_the_capped_column_and_leave_footnotes(official: Official) -> None:
    rows = (
        "001\tNo\tNo\tPRE\tSURG\tHEART TRANSPLANT WITH MCC\t28.1664\t27.5\t28.5\t38.5\n"
        "999\tNo\tNo\t\t**\tUNGROUPABLE\t.\t.\t.\t.\nNotes: MS-DRG 999 contains cases that could not be grouped\n"
    )
    table = official.write("CMS Table 5.txt", DRG_TABLE + rows)
    official.import_("ms-drg", official.archive("fy-2027-table-5.zip", table), start="2026-10-01", end="2027-09-30")
    systems = official.systems()
    assert systems.drg_weights(date(2026, 10, 1)) == {"001": 27.5}
    assert systems.drg_weights(date(2026, 9, 30)) is None
    assert systems.drg_weights(None) == {"001": 27.5}


def test_pair_edits_of_several_parts_as_text_and_workbook(official: Official) -> None:
    text = official.write("ccipra-f1.TXT", PTP + "29827\t29826\t\t20200101\t*\t1\tDistinct\n")
    heading = [
        ["CPT only copyright"],
        ["Column 1", "Column 2", "*=in existence", "Effective", "Deletion", "Modifier", "PTP Edit Rationale"],
        [None, None, "prior to 1996", "Date", "Date", "0=not allowed", None],
        [None, None, None, None, "*=no data", "1=allowed", None],
    ]
    book = official.workbook("ccipra-f2.xlsx", [*heading, [100, "99213", None, 20200101, "*", 0, "Misuse"]])
    imported = official.import_("ncci-ptp", text, book, start="2026-07-01", end="2026-09-30")
    assert imported.release.counts == {"pairs": 2}
    edits = official.systems().pair_edits(date(2026, 8, 1))
    assert edits is not None
    found = edits.between("99213", "00100")
    assert found is not None and (found.column1, found.modifier_allowed) == ("00100", False)


def test_unit_limits(official: Official) -> None:
    text = '"Copyright notice,\nof two lines",,,\n"HCPCS/\nCPT Code",' + MUE_HEADING.split(",", 1)[1]
    rows = (
        "96372,4,3 Date of Service Edit: Clinical,Clinical: Data\n0001U,1,2 Date of Service Edit: Policy,CMS Policy\n"
    )
    official.import_("ncci-mue", official.write("MCR_MUE_Eff_07-01-2026.csv", text + rows), start="2026-07-01")
    limits = official.systems().unit_limits(date(2026, 8, 1))
    assert limits is not None and (limits.limit("96372"), limits.limit("0001U"), limits.limit("99213")) == (4, 1, None)


WRONG: list[tuple[str, Callable[[Official], list[Path]], str]] = [
    # Another year.
    ("icd10cm", lambda o: [o.order("icd10cm_order_2026.txt")], "of fiscal year 2026, told by its name.* 2027"),
    (
        "icd10cm",
        lambda o: [o.order("order.txt"), o.tabular("tab.xml", TABULAR, version=2026)],
        "tab.xml is of fiscal year 2026, told by its <version>",
    ),
    ("ms-drg", lambda o: [o.write("t5.txt", DRG_TABLE.replace("2027", "2025"))], "fiscal year 2025, told by its title"),
    ("hcpcs", lambda o: [o.anweb("HCPC2025_ANWEB.txt", HCPCS)], "HCPC2025_ANWEB.txt is of year 2025"),
    (
        "hcpcs",
        lambda o: [o.anweb("anweb.txt", [("A0021", "3", "Words", "20300101", "20300101", "")])],
        "anweb.txt is of a later release.*2030-01-01",
    ),
    (
        "ncci-mue",
        lambda o: [o.write("mue.csv", f"Edits effective July 1, 2024\n{MUE_HEADING}96372,4,3 x,y\n")],
        "year 2024, told by its title",
    ),
    # Cut short.
    ("icd10cm", lambda o: [o.write("o.txt", o.order("x").read_text()[:-100])], "o.txt line 7: not a whole line"),
    (
        "icd10cm",
        lambda o: [o.order("o.txt", [("I21", 0, "Acute"), ("I214", 1, "NSTEMI"), ("I22", 0, "S")])],
        "its end is",
    ),
    (
        "icd10cm",
        lambda o: [
            o.write(
                "o.txt",
                "\n".join(o.order("x").read_text().splitlines()[:2] + o.order("x").read_text().splitlines()[3:]),
            )
        ],
        "order number 00004 follows 00002",
    ),
    (
        "icd10cm",
        lambda o: [o.order("o.txt"), o.write("t.xml", o.tabular("x.xml", TABULAR).read_text()[:-90])],
        "is not whole XML",
    ),
    (
        "icd10cm",
        lambda o: [o.order("o.txt"), o.tabular("t.xml", TABULAR.split("<diag><name>J45<")[0])],
        "one and the same",
    ),
    ("hcpcs", lambda o: [o.write("a.txt", o.anweb("x.txt", HCPCS).read_text()[:200])], "a.txt line 1: .*cut short"),
    ("hcpcs", lambda o: [o.anweb("a.txt", [*HCPCS[:1], *HCPCS[2:3], *HCPCS[1:2]])], "its first line is missing"),
    ("ncci-ptp", lambda o: [o.write("p.txt", f"{PTP}29827\t298")], "p.txt line 4: not a pair edit"),
    ("ncci-ptp", lambda o: [o.write("p.txt", PTP)], "holds no pair"),
    ("ncci-mue", lambda o: [o.write("m.csv", f"{MUE_HEADING}96372,4")], "m.csv line 2: not an MUE"),
    (
        "ms-drg",
        lambda o: [o.write("t5.txt", f"{DRG_TABLE}001\tNo\tNo\tPRE\tSURG\tHEART TRANSPLANT\n")],
        "t5.txt line 4: the line has fewer cells than the heading, so that it is cut short",
    ),
    ("cpt", lambda o: [o.write("c.txt", "99214\tOur words\n992")], "c.txt line 2: no CPT code"),
    (
        "icd10pcs",
        lambda o: [
            (o.folder / "p.zip", (o.folder / "p.zip").write_bytes(o.archive("q.zip", o.order("x")).read_bytes()[:-30]))[
                0
            ]
        ],
        "p.zip is not a whole zip archive",
    ),
    (
        "hcpcs",
        lambda o: [(o.folder / "h.xlsx", (o.folder / "h.xlsx").write_bytes(hcpcs_workbook(o).read_bytes()[:-30]))[0]],
        "h.xlsx is not in the layout of HCPCS",
    ),
    # Twice the same.
    (
        "icd10cm",
        lambda o: [o.order("o.txt", [("I21", 0, "A"), ("I214", 1, "B"), ("I214", 1, "B")])],
        "line 3: code I214 stood in line 2",
    ),
    ("hcpcs", lambda o: [o.anweb("a.txt", [HCPCS[2], HCPCS[3], HCPCS[2]])], "line 3: code J1885 stood in line 1"),
    ("cpt", lambda o: [o.write("c.csv", "Code\n99214\n99214\n")], "line 3: code 99214 stood in line 2"),
    ("ncci-mue", lambda o: [o.write("m.csv", f"{MUE_HEADING}96372,4,3 x,y\n96372,5,3 x,y\n")], "96372 stood in line 2"),
    (
        "ncci-ptp",
        lambda o: [o.write(f"{part}.txt", f"{PTP}29827\t29826\t\t20200101\t*\t1\tx\n") for part in "ab"],
        "stands there twice",
    ),
    # Another layout.
    ("icd10cm", lambda o: [o.tabular("t.xml", TABULAR)], "the order file is missing"),
    ("icd10cm", lambda o: [o.order("a.txt"), o.order("b.txt")], "a.txt and b.txt are both the order file"),
    ("hcpcs", lambda o: [o.order("icd10cm_order_2027.txt")], "is not in the layout of HCPCS Level II"),
    ("hcpcs", lambda o: [o.archive("h.zip", o.order("icd10cm_order_2027.txt"))], "h.zip holds no file in the layout"),
    ("icd10pcs", lambda o: [o.folder / "absent.txt"], "absent.txt cannot be read"),
]


@pytest.mark.parametrize(("system", "files", "message"), WRONG)
def test_what_is_wrong_with_files_is_told_and_nothing_is_stored(
    official: Official, system: str, files: Callable[[Official], list[Path]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        official.import_(system, *files(official), start="2026-10-01")
    left = [path for path in official.directory.root.rglob("*") if path.is_file() and path.name != ".code-systems.lock"]
    assert left == []
