"""Groups that every inpatient coder knows, and what is said where the encounter does not say enough."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.code_systems import CodeSystems, ReleasedSystem
from clinical_coding.code_systems.importing import import_release
from clinical_coding.codes import Code, CodeState, CodeSystem
from clinical_coding.data_directory import DataDirectory
from clinical_coding.grouping import Grouping, group
from clinical_coding.records import Setting

GroupStay = Callable[..., Grouping]

# Published MS-DRGs of fiscal year 2026 (CMS Table 5): diagnoses, procedures, DRG.
KNOWN = {
    "heart failure with MCC": ("I50.23 J96.01", "", "291"),
    "hypertensive heart disease with acute heart failure": ("I11.0 I50.23", "", "291"),
    "heart failure with CC": ("I50.23 N17.9", "", "292"),
    "heart failure": ("I50.9", "", "293"),
    "infarction with MCC": ("I21.4 J96.01", "", "280"),
    "infarction with CC": ("I21.4 N17.9", "", "281"),
    "infarction": ("I21.4", "", "282"),
    "hip replacement for arthrosis with MCC": ("M16.11 J96.01", "0SR90JZ", "469"),
    "hip replacement for arthrosis": ("M16.11", "0SR90JZ", "470"),
    "hip replacement for fracture with MCC": ("S72.001A J96.01", "0SR90JZ", "521"),
    "hip replacement for fracture": ("S72.001A", "0SR90JZ", "522"),
    "pneumonia with MCC": ("J18.9 J96.01", "", "193"),
    "pneumonia with CC": ("J18.9 N17.9", "", "194"),
    "pneumonia": ("J18.9", "", "195"),
    "sepsis with long ventilation": ("A41.9 J96.01", "5A1955Z", "870"),
    "sepsis with MCC": ("A41.9 R65.21", "", "871"),
    "sepsis": ("A41.9", "", "872"),
    "cesarean with CC": ("O34.211 O72.1 Z37.0", "10D00Z1", "787"),
    "cesarean": ("O34.211 Z3A.39 Z37.0", "10D00Z1", "788"),
    "vaginal delivery with CC": ("O70.1 O72.1 Z37.0", "10E0XZZ", "806"),
    "vaginal delivery": ("O80 Z3A.39 Z37.0", "10E0XZZ", "807"),
    "respiratory failure": ("J96.01", "", "189"),
    "stroke with MCC": ("I63.50 J96.01", "", "064"),
    "stroke with CC": ("I63.50 N17.9", "", "065"),
    "stroke": ("I63.50", "", "066"),
    "gastroenteritis with MCC": ("K52.9 J96.01", "", "391"),
    "constipation": ("K59.00", "", "392"),
    "kidney injury with MCC": ("N17.9 J96.01", "", "682"),
    "kidney injury with CC": ("N17.9 E87.1", "", "683"),
    "kidney injury": ("N17.9", "", "684"),
    "diabetes with CC": ("E11.65 E87.1", "", "638"),
    "obstructive lung disease with MCC": ("J44.1 J96.01", "", "190"),
    "cellulitis": ("L03.115", "", "603"),
    "syncope": ("R55", "", "312"),
    "chest pain": ("R07.9", "", "313"),
    "stent with MCC": ("I21.4 J96.01", "027034Z", "321"),
    "stent": ("I25.10", "027034Z", "322"),
    "tracheostomy with long ventilation": ("J96.01", "0B113F4 5A1955Z", "004"),
    "normal newborn": ("Z38.00", "", "795"),
    "HIV with a related condition that is no MCC beside it": ("B20 B59", "", "976"),
    "HIV with an operation": ("B20", "0SR90JZ", "970"),
    "HIV alone": ("B20", "", "977"),
    "an operation unrelated to the principal diagnosis": ("J18.9", "0SR90JZ", "983"),
}


@pytest.mark.parametrize("case", KNOWN)
def test_well_known_groups(case: str, group_stay: GroupStay) -> None:
    diagnoses, procedures, drg = KNOWN[case]
    grouping = group_stay(diagnoses, procedures)
    assert grouping.drg == drg
    assert (grouping.grouper_version, grouping.is_version_of_date) == ("v43.1", True)
    assert (grouping.principal, grouping.is_working) == (f"icd10cm:{diagnoses.split()[0]}", False)


def test_a_grouping_says_what_it_is(group_stay: GroupStay) -> None:
    grouping = group_stay("J18.9 J96.01 N17.9")
    assert grouping.description == "Simple Pneumonia and Pleurisy with MCC"
    assert (grouping.mdc, grouping.kind, grouping.relative_weight) == ("04", "medical", None)
    assert (grouping.drg_without_complications, grouping.remarks) == ("195", ())
    assert Grouping.model_validate_json(grouping.model_dump_json()) == grouping


@pytest.mark.parametrize(
    ("discharged", "version", "drg"),
    [
        (date(2019, 11, 1), "v37", "247"),
        (date(2022, 10, 1), "v40", "247"),
        (date(2023, 10, 1), "v41", "322"),
        (date(2025, 9, 30), "v42.1", "322"),
    ],
)
def test_the_discharge_date_chooses_the_version(
    discharged: date, version: str, drg: str, group_stay: GroupStay
) -> None:
    grouping = group_stay("I25.10", "027034Z", stay={"service_start": discharged, "service_end": discharged})
    assert (grouping.grouper_version, grouping.drg) == (version, drg)


def test_a_date_after_the_last_version_is_told(group_stay: GroupStay) -> None:
    grouping = group_stay("J18.9", stay={"service_end": date(2026, 10, 1)})
    assert (grouping.drg, grouping.is_version_of_date) == ("195", False)
    assert grouping.remarks[0].startswith("no version held is in force on the discharge date 2026-10-01; v43.1")


def test_no_drg_elsewhere_or_without_principal(make_stay: Any, make_codes: Any) -> None:
    systems, codes = CodeSystems.embedded(), make_codes("J18.9 J96.01", "0B113F4")
    for setting in Setting:
        grouping = group(make_stay(setting=setting), codes, systems=systems)
        assert (grouping is not None) == (setting is Setting.INPATIENT)
    unsequenced = [code.model_copy(update={"sequence": None}) for code in codes]
    assert group(make_stay(), unsequenced, systems=systems) is None


def test_a_working_drg_takes_the_principal_that_is_proposed(make_stay: Any, make_codes: Any) -> None:
    codes = [code.model_copy(update={"sequence": None}) for code in make_codes("J96.01 J18.9")]
    grouping = group(make_stay(), codes, systems=CodeSystems.embedded(), principal="icd10cm:J18.9")
    assert grouping is not None
    assert (grouping.drg, grouping.is_working, grouping.principal) == ("193", True, "icd10cm:J18.9")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"principal": "icd10cm:I10"}, "principal 'icd10cm:I10' is none of the encounter's diagnoses"),
        ({"principal": "icd10pcs:0B113F4"}, "is none of the encounter's diagnoses"),
        ({"discharge_status": "dead"}, "discharge_status 'dead' must have two digits"),
    ],
)
def test_what_cannot_be_grouped_by_is_refused(told: dict[str, str], message: str, group_stay: GroupStay) -> None:
    with pytest.raises(ValueError, match=message):
        group_stay("J18.9", "0B113F4", **told)


def test_rejected_repeated_and_professional_codes_do_not_count(make_stay: Any, make_codes: Any) -> None:
    standing = make_codes("J18.9 N17.9")
    codes = [
        *standing,
        Code(system=CodeSystem.ICD10CM, code="J96.01", state=CodeState.NEGATIVE),
        Code(system=CodeSystem.CPT, code="99223"),
        standing[1],
    ]
    grouping = group(make_stay(), codes, systems=CodeSystems.embedded())
    assert grouping is not None
    assert [effect.key for effect in grouping.effects] == ["icd10cm:J18.9", "icd10cm:N17.9"]
    assert grouping.drg == "194"


@pytest.mark.parametrize("principal", ["V43.52XA", "E11", "Z99.999", "N40.0"])
def test_a_principal_without_rule_is_ungroupable(principal: str, group_stay: GroupStay) -> None:
    grouping = group_stay(f"{principal} J96.01")
    assert (grouping.drg, grouping.kind, grouping.mdc) == ("999", None, None)
    assert "no rule that starts from this principal diagnosis in a female patient" in grouping.remarks[0]


@pytest.mark.parametrize("sex", [None, "X"])
def test_an_unknown_sex_is_told_only_where_it_matters(sex: str | None, group_stay: GroupStay) -> None:
    assert group_stay("J18.9", stay={"sex": sex}).remarks == ()
    prostate = group_stay("N40.0", stay={"sex": sex})
    assert prostate.drg == "726"
    assert "grouped as for a male patient; for a female patient the DRG would be 999" in prostate.remarks[0]


def test_an_unknown_discharge_status_is_told_only_where_it_matters(group_stay: GroupStay) -> None:
    assert group_stay("J18.9").remarks == ()
    infarction = group_stay("I21.4")
    assert (infarction.drg, len(infarction.remarks)) == ("282", 1)
    assert "for a patient who died the DRG would be 285" in infarction.remarks[0]
    died = group_stay("I21.4", discharge_status="20")
    assert (died.drg, died.remarks) == ("285", ())
    assert "left against medical advice the DRG would be 894" in group_stay("F10.239").remarks[0]


def test_newborns_who_may_have_been_transferred_are_told(group_stay: GroupStay) -> None:
    assert "DRG 789" in group_stay("Z38.00").remarks[0]


def test_hiv_that_is_not_principal_is_told(group_stay: GroupStay) -> None:
    assert "major diagnostic category 25" in group_stay("J18.9 B20").remarks[0]
    assert group_stay("B20 J18.9").remarks == ()


TABLE_5 = """TABLE 5.--LIST OF MEDICARE SEVERITY DIAGNOSIS-RELATED GROUPS (MS-DRGS), FY 2026
MS-DRG\tMDC\tTYPE\tMS-DRG Title\tWeights\tGeometric mean LOS\tArithmetic mean LOS
193\t04\tMED\tSimple Pneumonia and Pleurisy with MCC\t1.3107\t3.9\t4.9
999\t\t**\tUngroupable\t0.0000\t0.0\t0.0
"""


def test_the_weight_is_that_of_the_table_of_the_day(make_stay: Any, make_codes: Any, tmp_path: Path) -> None:
    table = tmp_path / "fy2026-table-5.txt"
    table.write_text(TABLE_5, encoding="utf-8")
    directory = DataDirectory(tmp_path / "data")
    start, end = date(2025, 10, 1), date(2026, 9, 30)
    import_release(
        ReleasedSystem.MS_DRG, [table], name="2025-10", effective_from=start, effective_to=end, directory=directory
    )
    systems = CodeSystems.open(directory.code_systems)

    def weight(diagnoses: str, discharged: date) -> float | None:
        grouping = group(make_stay(service_end=discharged), make_codes(diagnoses), systems=systems)
        assert grouping is not None
        return grouping.relative_weight

    assert weight("J18.9 J96.01", date(2026, 5, 4)) == 1.3107
    assert weight("J18.9", date(2026, 5, 4)) is None
    assert weight("J18.9 J96.01", date(2025, 9, 30)) is None
    assert weight("J18.9 J96.01", date(2026, 10, 1)) is None


def test_the_weights_of_another_year_are_not_taken(
    make_stay: Any, make_codes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last version, a table of the day is one of other groups under the same numbers."""
    monkeypatch.setattr(CodeSystems, "drg_weights", lambda self, on: {"195": 0.7})
    systems = CodeSystems.embedded()
    weights = {}
    for discharged in (date(2026, 9, 30), date(2026, 10, 1)):
        grouping = group(make_stay(service_end=discharged), make_codes("J18.9"), systems=systems)
        assert grouping is not None
        weights[discharged.month] = grouping.relative_weight
    assert weights == {9: 0.7, 10: None}
