"""Terms in notes: found word by word, within sentences, in one pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.queries.phrases import PhraseIndex


@pytest.mark.parametrize(
    ("term", "text", "found"),
    [
        ("chest pain", "Chest  pain today", ["Chest  pain"]),
        ("chest pain", "chest-pain and CHEST PAIN", ["chest-pain", "CHEST PAIN"]),
        ("chest pain", "chest. Pain elsewhere", []),
        ("chest pain", "chest\npain", ["chest\npain"]),
        ("chest pain", "- chest\n- pain", []),
        ("chest pain", "chest\n\npain", []),
        ("chest pain", "chestpain", []),
        ("chf", "CHFs", []),
        ("infiltrat*", "Infiltrates and infiltration", ["Infiltrates", "infiltration"]),
        ("wheez*", "whee", []),
        ("iv lasix", "IV Lasix 40", ["IV Lasix"]),
        ("heart failure .. reduced", "heart failure with a reduced EF", ["heart failure with a reduced"]),
        ("heart failure .. reduced", "heart failure reduced", ["heart failure reduced"]),
        ("heart failure .. reduced", "heart failure in one two three reduced", []),
        ("heart failure .. reduced", "heart failure. EF reduced", []),
        ("film .. infiltrate*", "film of chest: infiltrate", ["film of chest: infiltrate"]),
        ("film .. infiltrate*", "film without infiltrate", []),
        ("failure with", "failure, with", ["failure, with"]),
        ("failure with", "failure; with", []),
        ("s p mastectomy", "s/p mastectomy", ["s/p mastectomy"]),
        ("a1c", "HbA1c and A1c", ["A1c"]),
        ("type 2 mi", "type 2 MI", ["type 2 MI"]),
    ],
)
def test_a_term_is_found(term: str, text: str, found: list[str]) -> None:
    spans = PhraseIndex([term]).find(text).get(term, ())
    assert [text[start:end] for start, end in spans] == found


def test_terms_that_begin_alike_are_all_found() -> None:
    index = PhraseIndex(["heart failure", "heart", "hear*", "heart failure", "heart failure acute"])
    assert index.find("Heart failure.") == {"heart failure": ((0, 13),), "heart": ((0, 5),), "hear*": ((0, 5),)}


@pytest.mark.parametrize("term", ["", "..", ".. failure", "heart ..", "!"])
def test_a_term_that_cannot_be_found_is_refused(term: str) -> None:
    with pytest.raises(ValueError, match="must begin and end with a word"):
        PhraseIndex([term])


@given(st.lists(st.sampled_from(["heart", "failure", "no", "acute", ".", "\n", ",", "\u0130", "reduced"]), max_size=30))
def test_what_is_found_lies_where_it_is_said_to_lie(words: list[str]) -> None:
    text = " ".join(words)
    for term, spans in PhraseIndex(["heart failure", "acu*", "failure .. reduced"]).find(text).items():
        for start, end in spans:
            first, last = term.rstrip("*").split()[0], term.rstrip("*").split()[-1]
            assert text[start:end].lower().startswith(first)
            assert text[start:end].lower().split()[-1].startswith(last)
            assert "." not in text[start:end]
