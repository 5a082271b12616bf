import difflib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from random import Random

import pytest

from clinical_coding.code_library import load_icd10cm
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.readers.sample.catalogue import load_catalogue
from clinical_coding.readers.sample.terms import official_terms
from clinical_coding.readers.sample.writer import TYPO_RATE, NoteWriter, cited
from clinical_coding.records import CodedRecord, Setting

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


def test_official_terms_read_like_prose() -> None:
    library = load_icd10cm()
    assert list(official_terms("I50.22", library=library)) == ["chronic systolic heart failure"]
    assert list(official_terms("G51.0", library=library)) == ["Bell's palsy", "facial palsy"]
    assert list(official_terms("E11.69", library=library)) == []
