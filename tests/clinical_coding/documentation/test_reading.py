from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_coding.documentation import Assertion, ReadNote, SectionKind, read_note
from clinical_coding.records import Note

A, N, U, H, F, Y = (
    Assertion.AFFIRMED,
    Assertion.NEGATED,
    Assertion.UNCERTAIN,
    Assertion.HISTORICAL,
    Assertion.FAMILY,
    Assertion.HYPOTHETICAL,
)


def read(text: str) -> ReadNote:
    return read_note(Note(note_id="n1", text=text))


def assertion_of(text: str, mention: str) -> Assertion:
    start = text.index(mention)
    return read(text).assertion(start, start + len(mention))


@pytest.mark.parametrize(
    ("text", "mention", "expected"),
    [
        # Reach of a cue over a list, and where it ends.
        ("Denies fever, chills, sweats, or weight loss.", "fever", N),
        ("Denies fever, chills, sweats, or weight loss.", "weight loss", N),
        ("No edema but has ascites.", "edema", N),
        ("No edema but has ascites.", "ascites", A),
        ("No edema; ascites is present.", "ascites", A),
        ("No edema, history of cirrhosis.", "cirrhosis", H),
        ("No history of cirrhosis.", "cirrhosis", N),
        ("Denies edema, probable cirrhosis.", "cirrhosis", U),
        ("Denies that he has gout.", "gout", N),
        ("Reflux without esophagitis, gout, asthma.", "gout", A),
        ("Chest clear without wheezes, rales, or rhonchi.", "rhonchi", N),
        ("Possible cellulitis, gout.", "gout", A),
        ("Possible cellulitis, abscess, or gout.", "gout", U),
        ("He is not in much distress despite severe gout.", "gout", A),
        ("Fever; gout was ruled out.", "Fever", A),
        ("Fever; gout was ruled out.", "gout", N),
        # Direction.
        ("Gout was ruled out.", "Gout", N),
        ("Ruled out gout.", "gout", N),
        ("Gout, likely.", "Gout", U),
        ("Knee pain, likely gout.", "Knee pain", A),
        ("Knee pain, likely gout.", "gout", U),
        ("Gout vs septic arthritis.", "Gout", U),
        ("Gout vs septic arthritis.", "septic arthritis", U),
        ("Gout?", "Gout", U),
        ("Smoking: none.", "Smoking", N),
        # Pseudo-cues.
        ("No change in the gout.", "gout", A),
        ("Gout not only persists, it spreads.", "Gout", A),
        ("Gout cannot be ruled out.", "Gout", U),
        ("Gout has not been ruled out.", "Gout", U),
        ("Ambulates without difficulty, gout stable.", "gout", A),
        ("A 63-year-old man with gout.", "gout", A),
        ("Gram negative sepsis.", "sepsis", A),
        ("Pleural effusion (not present on admission).", "Pleural effusion", A),
        ("History of present illness is gout.", "gout", A),
        # What was.
        ("Gout in 2015.", "Gout", H),
        ("Gout (2015), asthma.", "Gout", H),
        ("Gout (2015), asthma.", "asthma", A),
        ("Asthma, gout in 2015.", "Asthma", A),
        ("Gout diagnosed in 2015.", "Gout", A),
        ("Gout since 2015.", "Gout", A),
        ("Seen 03/02/2026. Gout in 2026.", "Gout", A),
        ("Seen 03/02/2026. Gout in 2025.", "Gout", H),
        ("A 10-year history of gout.", "gout", A),
        ("Three day history of cough.", "cough", A),
        ("Long history of gout.", "gout", A),
        ("History of gout, presents with cough.", "cough", A),
        ("S/p stroke.", "stroke", H),
        ("Sinusitis resolved.", "Sinusitis", H),
        ("Asthma, sinusitis resolved.", "Asthma", A),
        # Whose.
        ("Mother had gout.", "gout", F),
        ("Mother reports gout.", "gout", A),
        ("Gout in his maternal uncle.", "Gout", F),
        ("Mother has asthma, the patient has gout.", "gout", A),
        ("Lives with mother. Gout.", "Gout", A),
        ("Mother had asthma, prior stroke.", "stroke", F),
        ("No family history of gout.", "gout", N),
        # What may come.
        ("Return if gout flares.", "gout", Y),
        ("Risk of gout discussed.", "gout", Y),
        ("Colchicine for gout prophylaxis.", "gout", Y),
        ("Head injury: head injury precautions.", "Head injury", A),
        ("Head injury - head injury precautions.", "Head injury", A),
        # What looks like a heading and is a statement.
        ("Feels well.\n\nNausea: denied.", "Nausea", N),
        ("CHEST PAIN: none", "CHEST PAIN", N),
    ],
)  # fmt: skip
def test_cues(text: str, mention: str, expected: Assertion) -> None:
    assert assertion_of(text, mention) is expected


@pytest.mark.parametrize(
    ("mention", "expected"),
    [("possible gout", U), ("history of gout", H), ("gout, likely", U), ("migraine without aura", A), ("no gout", N)],
)
def test_a_mention_may_hold_its_cue_at_its_border(mention: str, expected: Assertion) -> None:
    assert assertion_of(f"Today {mention}.", mention) is expected


@pytest.mark.parametrize(
    ("text", "mention", "expected"),
    [
        ("Family History: gout, asthma.", "asthma", F),
        ("FHx:\n- gout\n- asthma\n", "asthma", F),
        ("FAMILY HISTORY\nFather: gout\nMOTHER: asthma", "asthma", F),
        ("Family history: no gout.", "gout", N),
        ("Family history: gout. The patient has asthma.", "asthma", A),
        ("Family history: gout.\n\nHe has asthma.", "asthma", A),
        ("Past Medical History: hypertension, asthma.", "asthma", A),
        ("PMH:\n1. Hypertension\n2. Pneumonia (2012)", "Pneumonia", H),
        ("Past Surgical History: ruptured appendix.", "ruptured appendix", H),
        ("Return precautions:\nfever, bleeding", "bleeding", Y),
        ("Discharge Instructions: low salt diet for heart failure.", "heart failure", A),
        ("Social History: lives with father.\nAssessment: gout", "gout", A),
    ],
)
def test_sections_speak_too(text: str, mention: str, expected: Assertion) -> None:
    assert assertion_of(text, mention) is expected


def test_a_note_without_sections_is_read() -> None:
    note = read("pt with gout, no fever")
    assert [section.kind for section in note.sections] == [SectionKind.NONE]
    assert note.assertion(8, 12) is A
    assert note.assertion(17, 22) is N


def test_a_mention_in_a_heading_is_affirmed() -> None:
    assert assertion_of("No fever\nHypertension:\nstable on lisinopril", "Hypertension") is A


def test_white_space_before_a_mention_does_not_move_it_to_another_sentence() -> None:
    text = "No fever.\nGout."
    assert read(text).assertion(text.index("\n"), len(text)) is A


@pytest.mark.parametrize(("start", "end"), [(0, 0), (-1, 3), (3, 2), (0, 99)])
def test_a_stretch_outside_the_note_is_refused_without_its_words(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=r"'n1'.*give offsets") as caught:
        read("Gout today.").assertion(start, end)
    assert "Gout" not in str(caught.value)


def test_sections_and_sentences_are_found_by_position() -> None:
    text = "HPI: cough.\nPlan: rest."
    note = read(text)
    assert note.section_at(text.index("cough")).kind is SectionKind.PRESENT_ILLNESS
    assert note.section_at(text.index("rest")).kind is SectionKind.PLAN
    sentence = note.sentence_at(text.index("rest"))
    assert sentence is not None and text[sentence.start : sentence.end] == "rest."
    assert note.sentence_at(text.index("Plan")) is None


_WORDS = (
    "no denies possible history of mother if gout , . ; : ? ( ) - 1. * FAMILY HISTORY: PMH Plan: 2015 ruled out with "
    "without or and r/o s/p \u2019 # ** vs. é"
)
_PIECES = st.sampled_from([*_WORDS.split(), "\n", "\n\n", "\t"])


@settings(max_examples=150)
@given(st.one_of(st.text(min_size=1, max_size=200), st.lists(_PIECES, min_size=1, max_size=60).map(" ".join)))
def test_any_text_is_read(text: str) -> None:
    if not text.strip():
        return
    note = read(text)
    assert note.sections[0].start == 0
    assert note.sections[-1].end == len(text)
    for before, after in pairwise(note.sections):
        assert before.end == after.start
    for earlier, later in pairwise(note.sentences):
        assert earlier.start < earlier.end <= later.start < later.end
    for start in range(len(text)):
        assert note.assertion(start, min(start + 5, len(text))) in Assertion
