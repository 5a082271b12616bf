import pytest

from clinical_coding.documentation import read_note
from clinical_coding.documentation.sentences import MAX_SENTENCE_CHARACTERS
from clinical_coding.records import Note


def sentences(text: str) -> list[str]:
    read = read_note(Note(note_id="n1", text=text))
    return [text[item.start : item.end] for item in read.sentences]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cough. No fever.", ["Cough.", "No fever."]),
        ("Seen by Dr. Smith today. Cough.", ["Seen by Dr. Smith today.", "Cough."]),
        ("Creatinine 1.9 today. Cough.", ["Creatinine 1.9 today.", "Cough."]),
        ("Stroke vs. migraine.", ["Stroke vs. migraine."]),
        ("Aspirin p.o. daily. Rest.", ["Aspirin p.o. daily.", "Rest."]),
        ("Aspirin b.i.d. Continue rest.", ["Aspirin b.i.d.", "Continue rest."]),
        ("Fever? None.", ["Fever?", "None."]),
        ("? pneumonia on film.", ["? pneumonia on film."]),
        ("Bed No. 5 today. Cough.", ["Bed No. 5 today.", "Cough."]),
        ("Hr: no. Fever: yes.", ["Hr: no.", "Fever: yes."]),
        ("1. Gout\n2. Asthma. Stable.", ["Gout", "Asthma.", "Stable."]),
        ("- gout\n- asthma", ["gout", "asthma"]),
        ("# Gout: rest", ["Gout: rest"]),
        ("1) gout\n(2) asthma", ["gout", "asthma"]),
        ("Denies fever,\nchills or\nsweats.", ["Denies fever,\nchills or\nsweats."]),
        ("No fever\nCough", ["No fever", "Cough"]),
        ("Cough\n\nfever", ["Cough", "fever"]),
        ("He is well (no pain). Walks.", ["He is well (no pain).", "Walks."]),
        ("Gout!", ["Gout!"]),
        ("HPI: cough.\nPlan: rest", ["cough.", "rest"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_full_line_of_a_wrapped_note_goes_on_before_a_capital() -> None:
    first = "The patient was seen together with the team and denies any symptoms of"
    wrapped = f"{first} Parkinson\nDisease or tremor. He walks well without any aid at all and lives on his\nown."
    assert sentences(wrapped)[0].endswith("tremor.")
    short = "Denies tremor\nGout is stable"
    assert sentences(short) == ["Denies tremor", "Gout is stable"]


@pytest.mark.parametrize("text", ["no " * 5_000, "x" * 9_000, "gout vs. " * 2_000])
def test_a_text_without_stops_is_cut(text: str) -> None:
    found = sentences(text)
    assert len(found) > 1
    assert max(map(len, found)) <= MAX_SENTENCE_CHARACTERS
    assert "".join(found).replace(" ", "") == text.replace(" ", "")


def test_carriage_returns_are_line_ends() -> None:
    assert sentences("Family History\r\n\r\n- gout\r\n- asthma\r\n") == ["gout", "asthma"]
