"""The lexical match: shares of a term's words that one sentence holds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_coding.code_library import ICD10CM_RELEASE, describe, load_icd10cm
from clinical_coding.codes import CodeSystem
from training.model.lexical import LexicalMatch, split_sentences

TERMS = [
    ["Acute kidney failure, unspecified", "acute renal failure"],
    ["Chest pain"],
    ["Essential (primary) hypertension", "high blood pressure"],
    ["cpt 99213"],
]
TEXT = st.text("ab chestpain.;:?!\n\t\u200b9", max_size=120)


def shares(lexical: LexicalMatch, texts: list[str]) -> np.ndarray:
    return lexical.match(lexical.read(texts))


@pytest.fixture(scope="module")
def lexical() -> LexicalMatch:
    return LexicalMatch.build(TERMS)


def test_a_sentence_with_the_whole_term_has_share_one(lexical: LexicalMatch) -> None:
    notes = ["He was well.", "Seen for cough. Denies CHEST PAIN today; known high blood pressure."]
    share_L = shares(lexical, notes)
    # Shares are sums of float32 masses.
    assert share_L[[1, 2]] == pytest.approx(1.0, abs=1e-5)
    assert share_L[0] < 0.5


def test_a_part_of_the_term_has_a_part_of_the_share(lexical: LexicalMatch) -> None:
    nothing, part, more, whole = (
        shares(lexical, [text])[0]
        for text in ("zzz", "a failure", "acute kidney failure", "acute kidney failure, unspecified")
    )
    assert 0 == nothing < part < more < whole == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=3))
def test_shares_lie_between_zero_and_one(lexical: LexicalMatch, texts: list[str]) -> None:
    share_L = shares(lexical, texts)
    assert share_L.shape == (len(TERMS),)
    assert ((share_L >= 0) & (share_L <= 1)).all()
    if not any(map(split_sentences, texts)):
        assert not share_L.any()


def test_a_note_without_a_sentence_matches_nothing(lexical: LexicalMatch) -> None:
    assert shares(lexical, ["; ;;\n.", ":"]).tolist() == [0.0] * len(TERMS)


def test_a_saved_index_gives_the_same_shares(lexical: LexicalMatch, tmp_path: Path) -> None:
    lexical.save(tmp_path / "lexical.safetensors")
    again = LexicalMatch.load(tmp_path / "lexical.safetensors")
    texts = ["Acute renal failure with chest tightness.", "Visit 99213"]
    np.testing.assert_array_equal(shares(lexical, texts), shares(again, texts))
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
    share_L = shares(lexical, texts)
    monkeypatch.setattr("training.model.lexical._MAX_SHARES", 12)
    np.testing.assert_array_equal(shares(lexical, texts), share_L)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, max_size=3), labels=st.sets(st.integers(0, len(TERMS) - 1), min_size=1))
def test_some_labels_have_the_shares_that_they_have_among_all(
    lexical: LexicalMatch, texts: list[str], labels: set[int]
) -> None:
    chosen, held_SF = np.array(sorted(labels)), lexical.read(texts)
    np.testing.assert_array_equal(lexical.match(held_SF, chosen), lexical.match(held_SF)[chosen])


def test_a_rough_share_is_at_most_the_exact_one_and_at_least_half_of_a_whole_one() -> None:
    leaves = load_icd10cm().leaves()[::100]
    terms = [(describe(CodeSystem.ICD10CM, leaf, ICD10CM_RELEASE) or leaf,) for leaf in leaves]
    many = LexicalMatch.build(terms)
    for at in range(0, len(terms), 50):
        held_SF = many.read([f"Seen today. Diagnosis: {terms[at][0].replace(';', ',')}"])
        rough_L, share_L = many.match_roughly(held_SF), many.match(held_SF)
        assert (rough_L <= share_L + 1e-5).all()
        assert share_L[at] == pytest.approx(1, abs=1e-5)
        assert rough_L[at] >= 0.5 - 1e-5


def test_more_labels_leave_the_others_shares_as_they_are(lexical: LexicalMatch, tmp_path: Path) -> None:
    added = [["Kidney failure from jellyfish venom"], ["Chest pain after cold water", "chest chill"]]
    texts = ["Kidney failure from jellyfish venom. Chest pain; high blood pressure"]
    longer = lexical.extend(added)
    assert longer.num_labels == len(TERMS) + len(added)
    longer.save(tmp_path / "lexical.safetensors")
    for index in (longer, LexicalMatch.load(tmp_path / "lexical.safetensors")):
        assert np.array_equal(shares(index, texts)[: len(TERMS)], shares(lexical, texts))
        assert shares(index, texts)[len(TERMS)] == pytest.approx(1.0, abs=1e-5)
        assert shares(index, texts)[len(TERMS) + 1] < 1


def test_new_labels_are_weighed_as_if_all_had_been_there(lexical: LexicalMatch) -> None:
    added = [["Kidney failure from jellyfish venom"], ["Chest pain after cold water"]]
    texts = ["He has kidney pain after jellyfish contact and cold water on the chest."]
    together = LexicalMatch.build([*TERMS, *added])
    assert np.array_equal(shares(lexical.extend(added), texts)[len(TERMS) :], shares(together, texts)[len(TERMS) :])
