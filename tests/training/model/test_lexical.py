"""The lexical match: shares of a term's words that one sentence holds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.model.lexical import LexicalMatch, split_sentences

TERMS = [
    ["Acute kidney failure, unspecified", "acute renal failure"],
    ["Chest pain"],
    ["Essential (primary) hypertension", "high blood pressure"],
    ["cpt 99213"],
]
TEXT = st.text("ab chestpain.;:?!\n\t\u200b9", max_size=120)


@pytest.fixture(scope="module")
def lexical() -> LexicalMatch:
    return LexicalMatch.build(TERMS)


def test_a_sentence_with_the_whole_term_has_share_one(lexical: LexicalMatch) -> None:
    notes = ["He was well.", "Seen for cough. Denies CHEST PAIN today; known high blood pressure."]
    share_L, sentence_L, sentences = lexical.match(notes)
    # Shares are sums of float32 masses.
    assert share_L[[1, 2]] == pytest.approx(1.0, abs=1e-5)
    assert share_L[0] < 0.5
    note, start, end = sentences[sentence_L[1]]
    assert notes[note][start:end] == "Denies CHEST PAIN today"


def test_a_part_of_the_term_has_a_part_of_the_share(lexical: LexicalMatch) -> None:
    nothing, part, more, whole = (
        lexical.match([text])[0][0]
        for text in ("zzz", "a failure", "acute kidney failure", "acute kidney failure, unspecified")
    )
    assert 0 == nothing < part < more < whole == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=3))
def test_shares_lie_between_zero_and_one(lexical: LexicalMatch, texts: list[str]) -> None:
    share_L, _, sentences = lexical.match(texts)
    assert share_L.shape == (len(TERMS),)
    assert ((share_L >= 0) & (share_L <= 1)).all()
    if not sentences:
        assert not share_L.any()


def test_a_note_without_a_sentence_matches_nothing(lexical: LexicalMatch) -> None:
    share_L, _, sentences = lexical.match(["; ;;\n.", ":"])
    assert (share_L.tolist(), sentences) == ([0.0] * len(TERMS), [])


def test_a_saved_index_gives_the_same_shares(lexical: LexicalMatch, tmp_path: Path) -> None:
    lexical.save(tmp_path / "lexical.safetensors")
    again = LexicalMatch.load(tmp_path / "lexical.safetensors")
    texts = ["Acute renal failure with chest tightness.", "Visit 99213"]
    for before, after in zip(lexical.match(texts)[:2], again.match(texts)[:2], strict=True):
        np.testing.assert_array_equal(before, after)
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "lexical.safetensors").read_bytes()


def test_sentences_and_clauses_are_found_at_their_offsets() -> None:
    text = "  BP 120.5 today.\nPlan: rest; return? Yes"
    cut = [text[start:end] for start, end in split_sentences(text)]
    assert cut == ["BP 120.5 today", "Plan", "rest", "return", "Yes"]


@settings(max_examples=200, deadline=None)
@given(text=TEXT)
def test_sentences_keep_every_word(text: str) -> None:
    spans = split_sentences(text)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    assert edges == sorted(edges)
    left_out = "".join(text[edges[at] : edges[at + 1]] for at in range(0, len(edges), 2))
    assert not set(left_out) - set(".;:?!") - {character for character in left_out if character.isspace()}


def test_a_note_matched_in_parts_gives_the_same(lexical: LexicalMatch, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["\n".join(f"line {at}, chest" for at in range(40)) + "\nchest pain\nkidney failure\nchest pain"]
    share_L, sentence_L, _ = lexical.match(texts)
    monkeypatch.setattr("training.model.lexical._MAX_SHARES", 12)
    share_in_parts_L, sentence_in_parts_L, _ = lexical.match(texts)
    np.testing.assert_array_equal(share_in_parts_L, share_L)
    np.testing.assert_array_equal(sentence_in_parts_L, sentence_L)
