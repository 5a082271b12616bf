from typing import Any

import pytest

from clinical_coding.code_systems import CodeSystems
from clinical_coding.code_systems.changes import ReleaseDiff, compare
from clinical_coding.codes import CodeSystem

Official = Any

CM = CodeSystem.ICD10CM
OLD = [
    ("I21", 0, "Acute myocardial infarction"),
    ("I214", 1, "NSTEMI"),
    ("I219", 1, "Unspecified"),
    ("J45", 0, "Asthma"),
    ("J4590", 1, "Unspecified asthma"),
]
NEW = [
    ("I21", 0, "Acute myocardial infarction"),
    ("I214", 0, "NSTEMI"),
    ("I2141", 1, "NSTEMI, type 1"),
    ("I219", 1, "Acute myocardial infarction, unspecified"),
    ("J45", 0, "Asthma"),
    ("J459", 0, "Other asthma"),
    ("J4590", 1, "Unspecified asthma"),
]


def tabular(note: str, term: str) -> str:
    return (
        f"<diag><name>I21</name><desc>Infarction</desc><excludes1><note>{note}</note></excludes1>"
        f"<diag><name>I21.4</name><desc>NSTEMI</desc><inclusionTerm><note>{term}</note></inclusionTerm></diag></diag>"
    )


def found(official: Official) -> ReleaseDiff:
    systems: CodeSystems = official.systems()
    old, new = systems.named(CM, "2027-01"), systems.named(CM, "2027-04")
    assert old is not None and new is not None
    return compare(systems, old, new)


@pytest.fixture
def difference(official: Official) -> ReleaseDiff:
    official.import_("icd10cm", official.order("old.txt", OLD), start="2027-01-01")
    official.import_("icd10cm", official.order("new.txt", NEW), start="2027-04-01")
    return found(official)


def test_every_kind_of_change_is_named(difference: ReleaseDiff) -> None:
    assert [(change.code, change.is_leaf) for change in difference.added] == [("I21.41", True), ("J45.9", False)]
    assert difference.deleted == ()
    assert [(change.code, change.before, change.after, change.parts) for change in difference.revised] == [
        ("I21.9", "Unspecified", "Acute myocardial infarction, unspecified", ("description",))
    ]
    assert [(change.code, change.before, change.after) for change in difference.reparented] == [
        ("J45.90", "J45", "J45.9")
    ]
    assert [(change.code, change.is_leaf) for change in difference.leaf_changed] == [("I21.4", False)]


def test_label_keys_are_touched_by_what_happens_to_their_codes(difference: ReleaseDiff) -> None:
    keys = ["icd10cm:I21.4", "icd10cm:I21.9", "icd10cm:J45", "cpt:99214", "icd10cm:J45.90"]
    assert difference.touched(keys) == {
        "icd10cm:I21.4": ("leaf changed",),
        "icd10cm:I21.9": ("revised",),
        "icd10cm:J45.90": ("re-parented",),
    }


def test_terms_and_notes_are_compared_too(official: Official) -> None:
    rows = [("I21", 0, "Infarction"), ("I214", 1, "NSTEMI")]
    for start, note, term in (("2027-01-01", "chest pain (I21.4)", "one"), ("2027-04-01", "other (I21.4)", "two")):
        order = official.order(f"order-{start}.txt", rows)
        version = 2027
        official.import_(
            "icd10cm", order, official.tabular(f"t-{start}.xml", tabular(note, term), version), start=start
        )
    assert {change.code: change.parts for change in found(official).revised} == {"I21": ("notes",), "I21.4": ("terms",)}


def test_flat_systems_are_compared_by_words_and_dates(official: Official) -> None:
    first = [("A0021", "3", "Ambulance", "20200101", "20200101", ""), ("J1885", "3", "Ketorolac", "20200101", "", "")]
    second = [
        ("A0021", "3", "Ambulance", "20200101", "20200101", "20270630"),
        ("J1886", "3", "New", "20270401", "", ""),
    ]
    official.import_("hcpcs", official.anweb("a.txt", first), start="2027-01-01")
    official.import_("hcpcs", official.anweb("b.txt", second), start="2027-04-01")
    systems = official.systems()
    difference = compare(systems, *systems.releases(CodeSystem.HCPCS))
    assert difference.changes() == {"J1886": ("new",), "J1885": ("deleted",), "A0021": ("revised",)}
    assert difference.revised[0].parts == ("dates",)


@pytest.mark.parametrize("names", [("2027-04", "2027-01"), ("2027-01", "2027-01")])
def test_releases_are_compared_from_the_earlier_to_the_later(
    difference: ReleaseDiff, official: Official, names: tuple[str, str]
) -> None:
    systems: CodeSystems = official.systems()
    old, new = (systems.named(CM, name) for name in names)
    assert old is not None and new is not None
    with pytest.raises(ValueError, match="name the earlier release first and a later one second"):
        compare(systems, old, new)


def test_releases_of_two_systems_are_not_compared(official: Official) -> None:
    official.import_("cpt", official.write("c.txt", "99214\n"), start="2027-01-01")
    systems = official.systems()
    with pytest.raises(ValueError, match=r"icd10cm 2026-04 .* and cpt 2027-01 .* cannot be compared"):
        compare(systems, systems.releases(CM)[0], systems.releases(CodeSystem.CPT)[0])
