import difflib
import hashlib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_coding.code_library import load_icd10cm
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.procedure_words import WORDS
from clinical_coding.readers import assign_split, read_records
from clinical_coding.readers.sample import read_sample
from clinical_coding.readers.sample.catalogue import load_catalogue
from clinical_coding.readers.sample.terms import official_terms
from clinical_coding.readers.sample.writer import TYPO_RATE, NoteWriter, cited
from clinical_coding.records import CodedRecord, Complexity, Setting

# Changes whenever a wording, a weight or a draw does: a version trained on the sample is then another one.
SHA256_OF_FIRST_50 = "37f5b6c59a93ca481d2030dfbb5f14218cba147ce7ca048cc060adf5a87aaea2"
MIN_SIMILARITY = 0.7
"""Of a mention with one typo in each of two short words, at worst."""

MINUTES = {
    "new patient": (15, 30, 45, 60),
    "established": (10, 20, 30, 40),
    "initial": (40, 55, 75),
    "subsequent": (25, 35, 50),
}
"""The least minutes of each level, by kind of visit."""
DECISIONS = ("straightforward", "low", "moderate", "high")
TRAP_SENTENCES = {
    "denied": r"(?:signs or symptoms of|There is no evidence of|Patient does not have|Denies) ([^.]+)\.",
    "uncertain": r"(?:Rule out|Cannot exclude|Suspected) (.+?)(?:\.| at this time|, not confirmed)",
    "historical": r"(?:Remote|Had) (.+?) (?:\(\d{4}\)|in \d{4}), (?:no active|treated)",
    "family": r"(?:[Mm]other|[Ff]ather|[Ss]ister|[Bb]rother) (?:with|had) ([^.;]+)[.;]",
    "excluded": r"(?:Imaging showed no evidence of|Initially concerning for) (.+?)(?:\.|, which was ruled out)",
}


@pytest.fixture(scope="module")
def records() -> tuple[CodedRecord, ...]:
    return tuple(read_sample(5_000))


@pytest.fixture(scope="module")
def mentions() -> dict[str, tuple[str, ...]]:
    """Ways to write each diagnosis, procedure and supply, in small letters."""
    catalogue = load_catalogue()
    known = {f"icd10cm:{code}": item.mentions for code, item in catalogue.conditions.items()}
    known |= {f"{item.system}:{item.code}": item.mentions for each in catalogue.procedures.values() for item in each}
    operations = itertools.chain.from_iterable(specialty.operations for specialty in catalogue.specialties)
    known |= {f"cpt:{item.code}": item.mentions for item in operations}
    return {key: tuple(text.lower() for text in texts) for key, texts in known.items()}


def evidence(record: CodedRecord, code: Code) -> list[str]:
    texts = {note.note_id: note.text for note in record.notes}
    return [texts[span.note_id][span.start : span.end] for span in code.evidence]


def visit_codes(records: tuple[CodedRecord, ...]) -> Iterator[tuple[CodedRecord, Code]]:
    for record in records:
        for code in record.codes:
            if code.system is CodeSystem.CPT and code.code.startswith("99"):
                yield record, code


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


def test_every_code_has_evidence_that_says_it(
    records: tuple[CodedRecord, ...], mentions: dict[str, tuple[str, ...]]
) -> None:
    num_misspelt = 0
    for record in records:
        for code in record.codes:
            found = [text.lower() for text in evidence(record, code)]
            assert found, code.key
            for text in found if code.key in mentions else ():
                # A side is written before the name of a procedure that has one.
                plain = {text, re.sub(r"^(right|left) ", "", text)}
                if not plain & set(mentions[code.key]):
                    num_misspelt += 1
                    assert difflib.get_close_matches(text, mentions[code.key], 1, MIN_SIMILARITY), (code.key, text)
    assert num_misspelt > 0


def test_typos_come_at_their_rate_and_spare_what_is_no_word() -> None:
    writer = NoteWriter()
    for number in range(30_000):
        writer.write((*cited("icd10cm:I10", "hospital"), (f" HTN 99214 p{number} of ", None)))
    text = writer.finish(Random("typos"))
    words = [text[span.start : span.end] for span in writer.spans]
    assert 0.8 * TYPO_RATE < sum(word != "hospital" for word in words) / len(words) < 1.2 * TYPO_RATE
    assert all(difflib.SequenceMatcher(None, word, "hospital").ratio() > 0.85 for word in words)
    assert text.count(" HTN 99214 p") == 30_000


def test_notes_have_the_length_of_notes(records: tuple[CodedRecord, ...]) -> None:
    lengths = [len(note.text.split()) for record in records for note in record.notes]
    assert min(lengths) >= 140 and max(lengths) <= 400
    assert {len(record.notes) for record in records} == {1, 2}
    assert {note.type for record in records for note in record.notes} == {
        "office-visit", "emergency-note", "operative-note", "discharge-summary", "history-and-physical",
        "progress-note",
    }  # fmt: skip


def test_records_carry_a_handful_of_codes(records: tuple[CodedRecord, ...]) -> None:
    assert 4 <= sum(len(record.codes) for record in records) / len(records) <= 8


@pytest.mark.parametrize("kind", TRAP_SENTENCES)
def test_traps_name_diagnoses_that_are_not_coded(
    kind: str, records: tuple[CodedRecord, ...], mentions: dict[str, tuple[str, ...]]
) -> None:
    key_of = {text: key for key, texts in mentions.items() for text in texts if key.startswith("icd10cm")}
    num_found = 0
    for record in records:
        for note in record.notes:
            for match in re.finditer(TRAP_SENTENCES[kind], note.text):
                key = key_of.get(match.group(1).lower())
                if key is None:
                    continue
                num_found += 1
                assert key not in record.keys(), (kind, match.group())
                spans = [span for code in record.codes for span in code.evidence if span.note_id == note.note_id]
                assert not any(span.start < match.end(1) and match.start(1) < span.end for span in spans)
    assert num_found > 100


def test_uncertain_diagnoses_are_coded_at_discharge_from_hospital(records: tuple[CodedRecord, ...]) -> None:
    num_found = 0
    for record in records:
        note = record.notes[0]
        starts = {span.start for code in record.codes for span in code.evidence if span.note_id == "n1"}
        for match in re.finditer(r"\d\. (?:Probable|Likely|Suspected) ", note.text):
            assert record.encounter.setting is Setting.INPATIENT
            assert match.end() in starts
            num_found += 1
    assert num_found > 20


def test_no_wording_stands_for_two_diagnoses() -> None:
    meanings = defaultdict(set)
    for condition in load_catalogue().conditions.values():
        for text in condition.mentions:
            meanings[text.lower()].add(condition.code)
    assert {text: codes for text, codes in meanings.items() if len(codes) > 1} == {}


def expected_level(code: str, said: str) -> int | None:
    """Judge the last digit of a visit's code from the words of the note alone; null where a typo hides the word."""
    minutes = re.search(r"(\d+) min", said)
    decision = next((rank for rank, word in enumerate(DECISIONS) if re.search(rf"\b{word}\b", said)), None)
    is_hospital = code.startswith(("9922", "9923"))
    if minutes and code in ("99238", "99239"):
        return 9 if int(minutes[1]) > 30 else 8
    if minutes:
        floors = next((floors for kind, floors in MINUTES.items() if kind in said), None)
        return floors and sum(int(minutes[1]) >= floor for floor in floors) + (0 if is_hospital else 1)
    if decision is None:
        return 1 if "nurse visit only" in said else None
    return max(decision, 1) if is_hospital else decision + 2


def test_the_level_of_a_visit_follows_from_the_note(records: tuple[CodedRecord, ...]) -> None:
    num_checked = Counter[str]()
    for record, code in visit_codes(records):
        said = " ".join(evidence(record, code)).lower()
        if code.code.startswith(("9938", "9939")):
            assert f"age {record.encounter.age}" in said
            continue
        expected = expected_level(code.code, said)
        if expected is not None:
            assert int(code.code[-1]) == expected, (code.code, said)
            num_checked[code.code] += 1
        if "new patient" in said or "established" in said:
            assert ("new patient" in said) == code.code.startswith("9920")
    families = {"9920": "2345", "9921": "2345", "9928": "12345", "9922": "123", "9923": "12389"}
    assert {family + digit for family, digits in families.items() for digit in digits} == num_checked.keys()
    assert num_checked.total() > 4_000


def test_a_code_that_is_no_leaf_is_refused() -> None:
    with pytest.raises(ValueError, match="sample code I50 is not a valid code of release 2026-04"):
        list(official_terms("I50", library=load_icd10cm()))


def test_official_terms_read_like_prose() -> None:
    library = load_icd10cm()
    assert list(official_terms("I50.22", library=library)) == ["chronic systolic heart failure"]
    assert list(official_terms("G51.0", library=library)) == ["Bell's palsy", "facial palsy"]
    assert list(official_terms("E11.69", library=library)) == []


def test_what_a_diagnosis_brings_along_suits_all_who_have_it() -> None:
    conditions = load_catalogue().conditions
    for condition in conditions.values():
        for codes in filter(
            None, (condition.companions, condition.underlying, *((code,) for code in condition.always))
        ):
            for age in range(condition.ages[0], condition.ages[1] + 1):
                assert any(conditions[code].suits(age, condition.sex or "F") for code in codes), (condition.code, age)
