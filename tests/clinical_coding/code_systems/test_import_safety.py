"""What is held stays whole: imports that are killed, repeated, made at once or cut short, and damage done later."""

import threading
from typing import Any

import pytest

from clinical_coding.code_systems import Standing
from clinical_coding.code_systems.store import RELEASE_FILE
from clinical_coding.codes import CodeSystem

Official = Any

CM = CodeSystem.ICD10CM
PCS_ROWS = [("001", 0, "Nervous System, Bypass"), ("0016070", 1, "Bypass Ventricle, Open Approach")]


def test_the_same_release_again_changes_nothing(official: Official) -> None:
    order = official.order("icd10cm_order_2027.txt")
    first = official.import_("icd10cm", order, start="2026-10-01")
    stored = {path: path.stat().st_mtime_ns for path in official.directory.code_systems.rglob("*")}
    again = official.import_("icd10cm", order.rename(order.with_name("icd10cm-order-2027.txt")), start="2026-10-01")
    assert not again.is_new and again.release == first.release
    assert {path: path.stat().st_mtime_ns for path in official.directory.code_systems.rglob("*")} == stored
    with pytest.raises(ValueError, match=r"held already as icd10cm 2026-10 .*2026-10"):
        official.import_("icd10cm", order.with_name("icd10cm-order-2027.txt"), start="2026-10-02")


def test_overlaps_are_refused_with_both_releases_and_the_remedy(official: Official) -> None:
    order = official.order("order.txt")
    with pytest.raises(ValueError, match=r"2026-05 .*overlaps icd10cm 2026-04 .*--effective-from 2026-10-01 or later"):
        official.import_("icd10cm", order, start="2026-05-01")
    official.import_("icd10cm", order, start="2026-10-01")
    other = official.order("other.txt", [("I21", 0, "Acute"), ("I214", 1, "NSTEMI")])
    with pytest.raises(ValueError, match="one release starts on a day"):
        official.import_("icd10cm", other, start="2026-10-01", end="2027-03-31")
    official.import_("icd10cm", other, start="2027-04-01")
    ends = [str(release.effective_to) for release in official.systems().releases(CM)]
    assert ends == ["2026-09-30", "2027-03-31", "None"]


def test_an_import_that_is_killed_leaves_what_was_held(official: Official, monkeypatch: pytest.MonkeyPatch) -> None:
    official.import_("icd10cm", official.order("order.txt"), start="2026-10-01")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clinical_coding.code_systems.importing.publish_folder", die)
    other = official.order("other.txt", [("I21", 0, "Acute"), ("I214", 1, "NSTEMI")])
    with pytest.raises(KeyboardInterrupt):
        official.import_("icd10cm", other, start="2027-04-01")
    # What a killed process leaves behind is hidden, and read by nobody.
    (official.directory.code_systems / "icd10cm" / ".importing-x").mkdir()
    (official.directory.code_systems / "icd10cm" / ".importing-x" / RELEASE_FILE).write_text("{")
    assert [release.name for release in official.systems().releases(CM)] == ["2026-04", "2026-10"]


def test_two_imports_at_once_keep_one_release(official: Official) -> None:
    order = official.order("order.txt")
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(official.import_("icd10cm", order, start="2026-10-01").is_new))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, True]
    assert [release.name for release in official.systems().releases(CM)] == ["2026-04", "2026-10"]


@pytest.mark.parametrize("damage", ["changed", "removed", "release"])
def test_a_damaged_release_is_told_with_its_file(official: Official, damage: str) -> None:
    rows = [("001", 0, "Nervous System, Bypass"), ("0016070", 1, "Bypass Ventricle, Open Approach")]
    official.import_("icd10pcs", official.order("icd10pcs_order_2027.txt", rows), start="2026-10-01")
    codes = next(official.directory.code_systems.rglob("codes.json"))
    if damage == "changed":
        codes.write_text(codes.read_text().replace("Open", "Shut"))
    elif damage == "removed":
        codes.unlink()
    else:
        codes.with_name(RELEASE_FILE).write_text('{"system": "icd10pcs"}')
    expected = (
        "release.json: name: Field required" if damage == "release" else "codes.json (does not have|cannot be read)"
    )
    with pytest.raises(ValueError, match=rf"{expected}.*import the release again"):
        official.systems().standing(CodeSystem.ICD10PCS, "0016070")


@pytest.mark.parametrize("damage", ["changed", "removed", "release"])
def test_a_damaged_release_is_replaced_when_it_is_imported_again(official: Official, damage: str) -> None:
    order = official.order("icd10pcs_order_2027.txt", PCS_ROWS)
    official.import_("icd10pcs", order, start="2026-10-01")
    codes = next(official.directory.code_systems.rglob("codes.json"))
    if damage == "changed":
        codes.write_text("{}")
    else:
        (codes if damage == "removed" else codes.with_name(RELEASE_FILE)).unlink()
    again = official.import_("icd10pcs", order, start="2026-10-01")
    assert again.is_new and "was damaged, and is replaced" in again.remarks[0]
    assert official.systems().standing(CodeSystem.ICD10PCS, "0016070") is Standing.VALID


def test_a_release_that_lost_its_index_card_is_not_passed_over(official: Official) -> None:
    official.import_("icd10pcs", official.order("icd10pcs_order_2027.txt", PCS_ROWS), start="2026-10-01")
    next(official.directory.code_systems.rglob(RELEASE_FILE)).unlink()
    with pytest.raises(ValueError, match=r"the release in .* is damaged: .*release\.json cannot be read .*; remove"):
        official.systems()


def test_a_damaged_search_index_is_told_with_the_right_remedy(official: Official) -> None:
    official.import_("icd10cm", official.order("order.txt"), start="2026-10-01")
    path = next(official.directory.code_systems.rglob("search.db"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"does not have the SHA-256 .*; remove the folder .* and import the release"):
        official.systems().index(CM)


def test_what_killed_imports_left_is_swept_by_the_next(official: Official) -> None:
    left = official.directory.code_systems / "icd10cm" / ".importing-x"
    left.mkdir(parents=True)
    (left / "large").write_bytes(b"0" * 1000)
    official.import_("icd10cm", official.order("order.txt"), start="2026-10-01")
    assert not left.exists()


def test_characters_at_which_splitlines_splits_part_no_line(official: Official) -> None:
    rows = [("001", 0, "Nervous System, Bypass"), ("0016070", 1, "Bypass\x0bVentricle\x85 Open\u2028Approach")]
    imported = official.import_("icd10pcs", official.order("order.txt", rows), start="2026-10-01")
    assert imported.release.counts["codes"] == 1


def test_an_order_file_without_the_end_of_its_last_line_is_refused(official: Official) -> None:
    order = official.order("order.txt", PCS_ROWS)
    order.write_bytes(order.read_bytes().rstrip()[:-4])
    with pytest.raises(ValueError, match=r"order\.txt line 2: the last line has no line end, .* perhaps cut short"):
        official.import_("icd10pcs", order, start="2026-10-01")


def test_a_list_without_a_last_line_end_is_read(official: Official) -> None:
    path = official.write("cpt.txt", "99213\tA visit\n99214\tA longer visit")
    assert official.import_("cpt", path, start="2026-01-01").release.counts["codes"] == 2


def test_an_end_before_the_start_is_told_with_both_days(official: Official) -> None:
    with pytest.raises(ValueError, match=r"effective-to 2026-09-30 is before effective-from 2026-10-01; give"):
        official.import_("icd10cm", official.order("order.txt"), start="2026-10-01", end="2026-09-30")
