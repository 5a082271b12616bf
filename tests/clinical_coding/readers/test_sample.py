import hashlib
import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_coding.code_library import load_icd10cm
from clinical_coding.codes import CodeSystem
from clinical_coding.procedure_words import WORDS
from clinical_coding.readers import assign_split, read_records
from clinical_coding.readers.sample import read_sample
from clinical_coding.readers.sample.catalogue import load_catalogue
from clinical_coding.readers.sample.terms import official_terms
from clinical_coding.records import CodedRecord, Complexity, Setting

# Changes whenever a wording, a weight or a draw does: a version trained on the sample is then another one.
SHA256_OF_FIRST_50 = "9ce85634e02a52a580119ab6e281b943d292261fc45796b8cf85df410f3e3c5d"


def test_the_same_records_come_every_time() -> None:
    digest = hashlib.sha256()
    for record in read_sample(50):
        digest.update(record.model_dump_json().encode())
    assert digest.hexdigest() == SHA256_OF_FIRST_50


@settings(max_examples=8)
@given(st.integers(0, 12), st.integers(0, 40), st.integers(0, 5))
def test_a_record_does_not_depend_on_how_many_are_asked_for(fewer: int, more: int, seed: int) -> None:
    few, many = list(read_sample(fewer, seed=seed)), list(read_sample(fewer + more, seed=seed))
    assert many[:fewer] == few
    assert len(many) == fewer + more


def test_another_seed_gives_other_patients() -> None:
    first, second = (list(read_sample(20, seed=seed)) for seed in (0, 1))
    assert not {record.notes[0].text for record in first} & {record.notes[0].text for record in second}
    assert not {record.patient_id for record in first} & {record.patient_id for record in second}


def test_records_are_made_only_when_asked_for() -> None:
    stream = read_sample(10**12)
    assert next(stream) == next(read_sample(1))


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="num_records -1 must be at least 0"):
        next(read_sample(-1))


def test_the_record_spec_reads_the_sample() -> None:
    assert list(read_records("sample:5?seed=7")) == list(read_sample(5, seed=7))


def test_diagnoses_are_many_and_valid(records: tuple[CodedRecord, ...]) -> None:
    library = load_icd10cm()
    codes = [code for record in records for code in record.codes if code.system is CodeSystem.ICD10CM]
    assert len({code.code for code in codes}) >= 400
    assert all(library.is_valid(code.code) and code.release == library.release for code in codes)


def test_diagnoses_have_a_long_tail(records: tuple[CodedRecord, ...]) -> None:
    counts = Counter(code.key for record in records for code in record.codes if code.system is CodeSystem.ICD10CM)
    ranked = [count for _, count in counts.most_common()]
    assert sum(ranked[:40]) > 0.4 * sum(ranked)
    assert sum(count <= 20 for count in ranked) > 0.3 * len(ranked)


def test_other_systems_are_there_and_have_our_words(records: tuple[CodedRecord, ...]) -> None:
    found = {(code.system, code.code) for record in records for code in record.codes}
    others = {(system, code) for system, code in found if system is not CodeSystem.ICD10CM}
    assert Counter(system for system, _ in others).keys() == set(CodeSystem) - {CodeSystem.ICD10CM}
    assert others <= WORDS.keys()


def test_every_circumstance_occurs(records: tuple[CodedRecord, ...]) -> None:
    encounters = [record.encounter for record in records]
    assert {encounter.setting for encounter in encounters} == set(Setting)
    assert {encounter.complexity for encounter in encounters} == set(Complexity)
    assert len({encounter.payer for encounter in encounters}) == 6
    by_specialty = Counter(encounter.specialty for encounter in encounters)
    assert len(by_specialty) >= 14 and min(by_specialty.values()) >= 60
    assert {encounter.emergency_level for encounter in encounters} == {None, 1, 2, 3, 4, 5}
    providers = defaultdict(set)
    for encounter in encounters:
        providers[encounter.specialty].add(encounter.provider_id)
    assert min(len(found) for found in providers.values()) >= 4


def test_settings_have_what_belongs_to_them(records: tuple[CodedRecord, ...]) -> None:
    for record in records:
        is_inpatient = record.encounter.setting is Setting.INPATIENT
        assert (record.encounter.drg is not None) == is_inpatient
        assert (record.encounter.emergency_level is not None) == (record.encounter.setting is Setting.EMERGENCY)
        for code in record.codes:
            is_diagnosis = code.system is CodeSystem.ICD10CM
            assert (code.present_on_admission is not None) == (is_inpatient and is_diagnosis)
            assert is_inpatient or code.system is not CodeSystem.ICD10PCS
            assert code.provenance.source == "sample"
    states = {code.present_on_admission for record in records for code in record.codes}
    assert states == {None, "Y", "N", "1"}
    assert {code.modifiers for record in records for code in record.codes} == {(), ("25",), ("RT",), ("LT",)}


def test_sequences_count_diagnoses_and_services_apart(records: tuple[CodedRecord, ...]) -> None:
    for record in records:
        for is_diagnosis in (True, False):
            numbers = [code.sequence for code in record.codes if (code.system is CodeSystem.ICD10CM) == is_diagnosis]
            assert numbers == list(range(1, len(numbers) + 1))


def test_patients_return_and_stay_the_same(records: tuple[CodedRecord, ...]) -> None:
    encounters = defaultdict(list)
    for record in records:
        encounters[record.patient_id].append(record)
    returning = [found for found in encounters.values() if len(found) > 1]
    assert len(returning) > 0.4 * len(encounters)
    recurring = 0
    for found in returning:
        assert len({(item.encounter.age, item.encounter.sex, item.encounter.payer) for item in found}) == 1
        stays = [(str(item.encounter.service_start), str(item.encounter.service_end)) for item in found]
        assert all(before[1] < after[0] for before, after in itertools.pairwise(stays))
        assert stays[0][0] >= "2026-04-01" and stays[-1][1] <= "2026-09-30"
        diagnoses = [{key for key in item.keys() if key.startswith("icd10cm")} for item in found]
        recurring += any(first & second for first, second in itertools.pairwise(diagnoses))
    assert recurring > 0.6 * len(returning)


def test_no_patient_crosses_splits(records: tuple[CodedRecord, ...]) -> None:
    assert all(record.split is assign_split(record.patient_id) for record in records)
    shares = Counter(record.split for record in records)
    assert len(shares) == 3 and min(shares.values()) > 0.05 * len(records)


def test_sex_and_age_fit_the_diagnoses(records: tuple[CodedRecord, ...]) -> None:
    conditions = load_catalogue().conditions
    for record in records:
        for code in record.codes:
            if code.system is CodeSystem.ICD10CM:
                assert record.encounter.age is not None and record.encounter.sex is not None
                assert conditions[code.code].suits(record.encounter.age, record.encounter.sex), code.code


def test_records_carry_a_handful_of_codes(records: tuple[CodedRecord, ...]) -> None:
    assert 4 <= sum(len(record.codes) for record in records) / len(records) <= 8


def test_a_code_that_is_no_leaf_is_refused() -> None:
    with pytest.raises(ValueError, match="sample code I50 is not a valid code of release 2026-04"):
        list(official_terms("I50", library=load_icd10cm()))


def test_what_a_diagnosis_brings_along_suits_all_who_have_it() -> None:
    conditions = load_catalogue().conditions
    for condition in conditions.values():
        for codes in filter(
            None, (condition.companions, condition.underlying, *((code,) for code in condition.always))
        ):
            for age in range(condition.ages[0], condition.ages[1] + 1):
                assert any(conditions[code].suits(age, condition.sex or "F") for code in codes), (condition.code, age)
