"""Small releases in the official layouts, whole and broken."""

from pathlib import Path

import pytest

from clinical_coding.code_library import CodeLibrary
from clinical_coding.tabular.instructions import InstructionKind
from clinical_coding.tabular.official_files import read_code_list, read_tabular_list

TABULAR = Path(__file__).with_name("small_release.xml").read_text()
ORDER = [
    ("A00", 0), ("A000", 1), ("A001", 1), ("A01", 0), ("A012", 0), ("A012XXA", 1), ("A012XXD", 1), ("B00", 1)
]  # fmt: skip


def order_file(lines: list[tuple[str, int]]) -> str:
    return "".join(
        f"{number:05} {code:<7} {valid} {'short title':<60} a longer title\n"
        for number, (code, valid) in enumerate(lines, start=1)
    )


def test_a_release_is_read_from_its_official_files(files: tuple[Path, Path]) -> None:
    library = CodeLibrary.from_files(*files, release="2030")
    assert library.release == "2030"
    assert library.leaves() == ("A00.0", "A00.1", "A01.2XXA", "A01.2XXD", "B00")
    entry = library.get("A01.2XXD")
    assert entry is not None and entry.description == "Ache of fall from bed, later visit/any later"
    assert (entry.parent, entry.chapter) == ("A01.2", "Aches (A00-A09)")
    assert library.seventh_characters("A01.2") == {"A": "first visit", "D": "later visit/any later"}
    found = library.excludes1("B00", "A01.2XXA")
    assert found is not None and found.owner == "1"
    (line,) = library.instructions("A01.2XXA", InstructionKind.CODE_FIRST)
    assert (line.owner, [one.first for one in line.ranges]) == ("A01.2", ["A00.0"])


def test_a_plain_list_names_chapters_blocks_and_dotted_codes_too(files: tuple[Path, Path]) -> None:
    tabular, order = files
    order.write_text("1\nA00-A09\n" + "".join(f"{code}\n" for code, _ in ORDER) + "2\nB00\n")
    assert CodeLibrary.from_files(tabular, order, release="2030").leaves()[-1] == "B00"
    order.write_text(order.read_text().replace("A000", "A00.0"))
    assert CodeLibrary.from_files(tabular, order, release="2030").is_valid("A00.0")


def test_the_code_list_tells_which_7th_characters_make_codes(files: tuple[Path, Path]) -> None:
    tabular, order = files
    order.write_text(order_file([line for line in ORDER if line[0] != "A012XXD"]))
    assert CodeLibrary.from_files(tabular, order, release="2030").leaves_below("A01") == ("A01.2XXA",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</ICD10CM.tabular>", "", r"tabular\.xml is not whole XML .* fetch the file anew"),
        ("ICD10CM.tabular", "ICD10PCS.tabular", r"root element <ICD10PCS\.tabular>, expected <ICD10CM\.tabular>"),
        ("<name>A00.1<", "<name>A00.0<", r"tabular\.xml: code A00\.0 stands there twice"),
        (
            "<name>A00.1<",
            "<name>A00.2<",
            r"1 codes .* are in tabular\.xml and not in icd10cm_order_2030\.txt, such as A002",
        ),
        ("<name>A00.1</name>", "", r"a <diag> has no <name>"),
        ("<desc>Sharp ache</desc>", "", r"a <diag> has no <desc>"),
    ],
)
def test_a_broken_tabular_list_is_refused(files: tuple[Path, Path], old: str, new: str, message: str) -> None:
    tabular, order = files
    tabular.write_text(TABULAR.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_tabular_list(tabular, read_code_list(order))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"order\.txt holds no code"),
        (order_file([*ORDER, ("A001", 1)]), r"order\.txt line 9: code A001 stands there twice"),
        ("A000\nA000\n", r"order\.txt line 2: code A000 stands there twice"),
        (order_file(ORDER[:3]) + "00004 A01", r"order\.txt line 4: not a line of a code list"),
        ("code,title\nA000,Ache\n", r"order\.txt line 1: not a line of a code list; expected the CMS order file"),
    ],
)
def test_a_broken_code_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "order.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_code_list(path)


def test_a_packed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "order.zip"
    path.write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ValueError, match=r"order\.zip is not UTF-8 text; unpack it"):
        read_code_list(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*ORDER, ("B01", 1)], r"1 codes .* are in icd10cm_order_2030\.txt and not in tabular\.xml, such as B01"),
        (ORDER[:-1], r"1 codes .* are in tabular\.xml and not in icd10cm_order_2030\.txt, such as B00"),
        ([(code, 0) if code == "A000" else (code, valid) for code, valid in ORDER], r"such as A000"),
        (ORDER[:5] + ORDER[7:], r"such as A012"),
    ],
)
def test_files_of_two_releases_are_refused(
    files: tuple[Path, Path], lines: list[tuple[str, int]], message: str
) -> None:
    tabular, order = files
    order.write_text(order_file(lines))
    with pytest.raises(
        ValueError, match=message + r".*; give the tabular XML and the code list of one and the same release"
    ):
        CodeLibrary.from_files(tabular, order, release="2030")
