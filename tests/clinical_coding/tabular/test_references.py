"""Notes of the April 2026 tabular list, and leaf codes inside and outside of what each of them names."""

import pytest

from clinical_coding.code_library import CodeLibrary
from clinical_coding.tabular.instructions import Instruction, InstructionKind
from clinical_coding.tabular.references import ReferenceReader
from clinical_coding.tabular.tree import CodeTree

E1, E2 = InstructionKind.EXCLUDES1, InstructionKind.EXCLUDES2
FIRST, MORE, ALSO, COVERS = (
    InstructionKind.CODE_FIRST,
    InstructionKind.USE_ADDITIONAL,
    InstructionKind.CODE_ALSO,
    InstructionKind.INCLUDES,
)

CASES = [
    # one code, a category, a subcategory, lists of them
    (E1, "A04", "tuberculous enteritis", "A18.32", "A18.31 A18.39 A04.71"),
    (E1, "A04", "bacterial foodborne intoxications", "A05.0 A05.9", "A04.0 A06.0"),
    (E1, "D44", "neoplasm of uncertain behavior of testis", "D40.10 D40.12", "D40.0 D40.8"),
    (E1, "E16.1", "diabetes with hypoglycemia", "E08.649 E13.649", "E08.641 E11.65 E13.641"),
    (E1, "I37", "pulmonary valve disorder specified as congenital", "Q22.1 Q22.2 Q22.3", "Q22.0 Q22.4"),
    (E1, "J99", "respiratory disorders in: dermatomyositis", "M33.01 M33.11", "M33.00 M33.21"),
    (E1, "E72", "gout", "M1A.00X0 M10.9", "M11.00 M12.00"),
    (E1, "I41", "myocarditis (in): influenzal", "J10.82 J11.82", "J10.81 J11.83"),
    (FIRST, "F48.2", "underlying cause, if known, such as: multiple sclerosis", "G35.A", "G36.0 G37.0"),
    # ranges of categories, of codes, of unequal ends
    (E2, "1", "infectious and parasitic diseases specific to the perinatal period", "P35.0 P39.9", "P29.0 P50.0"),
    (E1, "4", "transitory endocrine and metabolic disorders", "P70.0 P74.9", "P61.0 P76.0"),
    (
        E1,
        "J39.3",
        "hypersensitivity reaction of upper respiratory tract, such as: pneumoconiosis",
        "J60 J67.9",
        "J68.0",
    ),
    (E1, "Q61.4", "polycystic kidney disease", "Q61.11 Q61.19 Q61.2 Q61.3", "Q61.02 Q61.4"),
    (
        E1,
        "R87.7",
        "carcinoma in situ (histologically confirmed) of female genital organs",
        "D06.0 D07.30",
        "D05.90 D07.4",
    ),
    (E1, "M47.1", "vertebral subluxation", "M43.3 M43.4 M43.5X2 M43.5X9", "M43.28 M43.6"),
    (E2, "L98.4", "varicose ulcer", "I83.001 I83.93", "I82.90 I85.00"),
    (FIRST, "D63.8", "underlying disease, such as: malaria", "B50.0 B54", "B49 B55.0"),
    (E1, "E72", "disorders of: branched-chain amino-acid metabolism", "E71.0 E71.2", "E71.30 E70.0"),
    (E1, "Y04", "assault by: use of weapon", "X93.XXXA X95.9XXS X99.9XXA Y00.XXXD", "X92.0XXA X96.0XXA"),
    (MORE, "E66", "code to identify body mass index", "Z68.1 Z68.45 Z68.51", "Z67.90 Z69.010"),
    (FIRST, "Z3A", "obstetric condition", "O09.00 O60.00 O80 O82 O94 O9A.52", "O08.0 O61.0 O85"),
    # "and below" inside, before and after a range's dash
    (E1, "R32", None, "N39.3 N39.41 N39.498", "N39.0 N39.8"),
    (E1, "I73.9", "atherosclerosis of the extremities", "I70.201 I70.799", "I70.1 I70.8"),
    (E1, "M48.4", None, "S12.000A S12.390S S22.000A S32.000A", "S12.400A S22.20XA"),
    (E1, "P28.2", None, "P28.30 P28.49", "P28.2 P28.5"),
    (E1, "Q70.4", None, "Q70.00 Q70.33", "Q70.9 Q71.00"),
    (E2, "T42", "drug dependence", "F10.10 F19.99", "F20.0 F09"),
    (E1, "Z72.4", None, "F98.21 F98.3", "F98.1 F98.4"),
    (FIRST, "E08", "the underlying condition, such as: pancreatitis", "K85.00 K86.9", "K83.9 K87"),
    (ALSO, "S14", None, "S12.000A S12.691S", "S12.8XXA S12.9XXA"),
    # written carelessly
    (E1, "I00", None, "I01.0 I01.9", "I00 I02.0"),
    (E1, "P24.0", None, "P03.82 P96.83", "P03.810 P96.82"),
    (E1, "K63.0", None, "K50.014 K50.914", "K50.013 K50.919"),
    (E1, "Z47.33", None, "Z89.521 Z89.529", "Z89.511 Z89.611"),
    (ALSO, "R11.16", "manifestations, such as: electrolyte imbalance", "E87.8", "E87.70 E87.6"),
    (ALSO, "I16.1", "(I60.-. I61.-, I62.-)", "I60.00 I61.9 I62.9", "I63.9 I52"),
    (ALSO, "D81.82", "J20-J22", "J00 J06.9 J20.0 J22", "J09.X1 J18.9"),
    (FIRST, "M05.A", None, "M05.00 M05.89", "M05.9 M06.00"),
    (E1, "Z00.0", "general health check-up of infant or child", "Z00.121 Z00.129", "Z00.110 Z00.2"),
    (E1, "F06.7", "cognitive deficits following", "I69.010 I69.119 I69.918", "I69.020 I69.10 I69.198 I69.90"),
    # outside brackets
    (E1, "Q67", None, "Q87.0 Q87.89", "Q86.0 Q89.01"),
    (E1, "E72.20", "hyperammonemia-hyperornithinemia", "E72.4", "E72.20 E72.3"),
    (E1, "M65.2", None, "M75.00 M77.9", "M72.0 M79.0"),
    (E1, "S06.0", None, "S06.1X0A S06.6X9S S06.810A S06.890A", "S06.0X0A S06.9X0A S06.A0XA"),
    (E1, "S06.9", None, "S06.0X0A S06.890A", "S06.9X0A S07.0XXA"),
    (E1, "Y93.A9", None, "Y93.01 Y93.79", "Y93.81 Y93.A1"),
    (E2, "W00-W19", None, "Z91.81", "Z91.82"),
    (MORE, "O99.32", "code(s) from F11-F16 and F18-F19", "F11.10 F16.99 F18.10 F19.99", "F10.10 F17.200"),
    (MORE, "T20-T25", "code from category T31", "T31.0 T32.99", "T30.0 T33.011A"),
    (COVERS, "I12", "any condition in N18 and N26", "N18.1 N18.9 N26.9", "N17.9 N25.0"),
    (MORE, "D59.6", "code (Chapter 20)", "V00.01XA Y99.9", "T88.9XXA Z00.00"),
    (E2, "L00-L08", "local infections of skin classified in Chapter 1", "A00.0 B99.9", "C00.0 L00"),
    # what a bracket or the words around it add that is no reference
    (E1, "A15-A19", "pneumoconiosis associated with tuberculosis, any type in A15", "J65", "A15.0 J64"),
    (E1, "D55.0", None, "D75.A", "D55.0 D75.9"),
    (FIRST, "G32.0", "underlying disease, such as: other dietary vitamin B12", "D51.3", "D51.0"),
    # with characters of the code
    (E1, "M14", "arthropathy in: diabetes mellitus", "E08.610 E10.618 E13.610", "E08.620 E11.69 E11.9"),
    (E1, "G63", "polyneuropathy (in): diabetes mellitus", "E08.42 E13.42", "E08.41 E11.40"),
    (E1, "G63", "polyneuropathy (in): infectious mononucleosis", "B27.01 B27.91", "B27.00 B27.99"),
    (E1, "I73.8", None, "E08.51 E10.52 E13.52", "E11.59 E11.49"),
    (E1, "J17", None, "A37.01 A37.91", "A37.00 A37.90"),
    (E1, "F80.81", None, "I69.023 I69.923", "I69.022 I69.928"),
    (E1, "R47.01", "aphasia following cerebrovascular disease", "I69.020 I69.920", "I69.20 I69.021"),
    (E2, "F06.0", None, "F10.151 F19.951", "F10.150 F10.180"),
    (E2, "E87.0", None, "E08.00 E11.01 E13.01", "E10.10 E11.10"),
    (E1, "R44", "hallucinations in drug psychosis", "F11.151 F19.951", "F11.150 F10.151"),
    (E1, "S23.0", None, "M51.04 M51.84", "M51.05 M51.06"),
    (E2, "T21", None, "T22.041A T22.159S", "T22.021A T22.30XA"),
    (E1, "Z85.6", None, "C91.01 C95.91", "C91.00 C90.01 C91.02"),
    (ALSO, "E87.20", None, "J96.02 J96.92", "J96.00 J96.01"),
    (E1, "V00.118", None, "V01.01XA V06.91XS", "V01.02XA V10.0XXA"),
    # the intent of a poisoning is the last character before the 7th, wherever it stands
    (FIRST, "D64.2", None, "T36.0X1A T45.511A T50.A14S T65.94XA", "T36.0X5A T45.515A T50.A16A T66.XXXA"),
    (MORE, "D46", None, "T36.0X5A T45.515A T41.45XA T50.995S", "T45.511A T45.521A T51.0X1A"),
    (FIRST, "G93.7", None, "T39.011A T39.094S", "T39.015A T39.1X1A"),
    (FIRST, "Z91.12", None, "T36.0X6A T45.516A", "T36.0X5A T65.1X1A"),
    (ALSO, "Z91.1", None, "T36.0X6A T50.996S", "T36.0X5A"),
    (FIRST, "J84.89", "if applicable: poisoning due to drug or toxin", "T51.0X1A T65.94XS", "T50.901A T66.XXXA"),
    # with a 7th character
    (E1, "F07.81", None, "S06.0X0A S06.0X9A", "S06.0X0D S06.1X0A"),
    (E1, "S01", "open skull fracture", "S02.0XXB S02.101B", "S02.0XXA S02.0XXD"),
    (E2, "S41", None, "S42.001B S42.92XB", "S42.001A S42.001D"),
    (E1, "S51", None, "S52.001B S52.001C S52.001F", "S52.001A S52.001D S52.001S"),
    # with words of the title
    (E1, "E87.2", "diabetic acidosis", "E08.10 E10.11 E13.10", "E11.00 E11.65 E10.9"),
]


READER_CASES = [
    ("nothing named", []),
    ("a code that is not here (A02)", []),
    ("one here, one not (A00, A02)", []),
    ("one backwards (B00-A00)", []),
    ("a restriction that nothing meets (A00 with 7th character Z)", []),
    ("vitamin B12 and trouble", []),
    ("a name (A00 virus)", ["A00"]),
    ("any in A00 (B00)", ["B00"]),
    ("spelled with placeholders (A00.0XX)", ["A00.0"]),
    ("any type (any in A00-A01)", ["A00-A01"]),
    ("not the code XA00 or A00B", []),
]


def find(library: CodeLibrary, kind: InstructionKind, owner: str, words: str | None) -> list[Instruction]:
    blocks = [block for block in library.note_blocks(kind) if block.owner == owner]
    return [one for block in blocks for one in block.instructions if words is None or words in one.note]


@pytest.mark.parametrize(("kind", "owner", "words", "inside", "outside"), CASES)
def test_a_note_names_the_codes_that_it_writes_and_no_others(
    library: CodeLibrary, kind: InstructionKind, owner: str, words: str | None, inside: str, outside: str
) -> None:
    found = find(library, kind, owner, words)
    assert found and (words is None or len(found) == 1)
    assert all(library.is_valid(code) for code in f"{inside} {outside}".split())
    named = {code: any(library.names(one, code) for one in found) for code in f"{inside} {outside}".split()}
    assert [code for code, is_named in named.items() if is_named] == inside.split()


@pytest.fixture
def reader() -> ReferenceReader:
    codes = ["A00", "A00.0", "A00.1", "A01", "B00"]
    tree = CodeTree(codes, parents=[-1, 0, 0, -1, -1], stops=[3, 2, 3, 4, 5])
    return ReferenceReader(
        tree,
        title_of=lambda row: f"title {row}",
        base_of=lambda row: codes[row].replace(".", ""),
        chapters={"1": (0, 4)},
    )


@pytest.mark.parametrize(("line", "named"), READER_CASES)
def test_what_the_release_does_not_hold_is_never_guessed(reader: ReferenceReader, line: str, named: list[str]) -> None:
    codes = reader.tree.codes
    ends = [(codes[start], codes[reader.tree.last_of(start, stop)]) for start, stop in reader.read(line)]
    assert [first if first == last else f"{first}-{last}" for first, last in ends] == named


def test_a_chapter_is_its_codes(reader: ReferenceReader) -> None:
    assert reader.read("infections classified in Chapter 1") == [(0, 4)]
    assert reader.read("infections classified in Chapter 9") == reader.read("body system-related chapters") == []
