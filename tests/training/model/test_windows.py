"""Windows hold every token of every note once, in order, with exact offsets."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from clinical_coding.bundle import Windowing
from clinical_coding.records import Note
from training.model.encoder import load_tokenizer
from training.model.windows import cut_windows

# Letters, separators, accents, and characters that a BERT tokenizer drops: zero-width, control, combining.
ALPHABET = "abcdetrh .,;\n\té\u200b\x07\u0301"
ZERO_WIDTH = "\u200b\u200b\x07"


@pytest.fixture(scope="module")
def tokenizer(made_encoder: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(made_encoder)


def notes_of(texts: list[str]) -> list[Note]:
    return [Note(note_id=f"n{at}", text=text) for at, text in enumerate(texts)]


texts_strategy = st.lists(st.text(ALPHABET, min_size=1, max_size=150).filter(str.strip), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(documents=st.lists(texts_strategy, min_size=1, max_size=3), size=st.integers(16, 40))
def test_every_token_is_in_one_window(
    tokenizer: PreTrainedTokenizerBase, documents: list[list[str]], size: int
) -> None:
    windowing = Windowing(max_window_tokens=size, max_windows=1000)
    cut = cut_windows([notes_of(texts) for texts in documents], tokenizer=tokenizer, windowing=windowing)
    for texts, windows in zip(documents, cut, strict=True):
        assert windows.num_unread_tokens == 0
        assert windows.notes == sorted(windows.notes)
        for at, text in enumerate(texts):
            own = [row for row, note in enumerate(windows.notes) if note == at]
            alone = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            assert [token for row in own for token in windows.input_ids[row][1:-1]] == alone["input_ids"]
            assert [tuple(o) for row in own for o in windows.offsets[row].tolist()] == alone["offset_mapping"]
            sizes = [len(windows.input_ids[row]) for row in own]
            assert all(3 <= length <= size for length in sizes)
            assert len(own) == -(-len(alone["input_ids"]) // (size - 2))
            assert not sizes or max(sizes) - min(sizes) <= 1


def test_offsets_point_at_the_words(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "Assessment: Acute  Kidney\nfailure."
    (windows,) = cut_windows(
        [notes_of([text])], tokenizer=tokenizer, windowing=Windowing(max_window_tokens=16, max_windows=9)
    )
    pieces = tokenizer.convert_ids_to_tokens([token for window in windows.input_ids for token in window[1:-1]])
    cut = [text[start:end].lower() for offsets in windows.offsets for start, end in offsets.tolist()]
    assert cut == [piece.removeprefix("##") for piece in pieces]
    assert {"acute", "kidney", "failure", "."} <= set(cut)


def test_special_tokens_stand_at_both_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    windowing = Windowing(max_window_tokens=16, max_windows=9)
    (windows,) = cut_windows([notes_of(["chest pain " * 20])], tokenizer=tokenizer, windowing=windowing)
    assert len(windows.input_ids) == 3
    for window in windows.input_ids:
        assert (window[0], window[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)


def test_tokens_beyond_the_last_window_are_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["chest pain " * 20, "pneumonia " * 30, "asthma " * 5]
    windowing = Windowing(max_window_tokens=16, max_windows=4)
    (windows,) = cut_windows([notes_of(texts)], tokenizer=tokenizer, windowing=windowing)
    # 40 tokens make 3 windows, then one of the three windows of 10 is read.
    assert windows.notes == [0, 0, 0, 1]
    assert (windows.num_tokens, windows.num_unread_tokens) == (50, 25)


def test_a_note_without_tokens_has_no_window(tokenizer: PreTrainedTokenizerBase) -> None:
    windowing = Windowing(max_window_tokens=16, max_windows=4)
    documents = [notes_of([ZERO_WIDTH]), notes_of([ZERO_WIDTH, "asthma", ZERO_WIDTH])]
    empty, mixed = cut_windows(documents, tokenizer=tokenizer, windowing=windowing)
    assert (empty.input_ids, empty.num_tokens) == ([], 0)
    assert (mixed.notes, mixed.num_tokens) == ([1], 1)


def test_a_very_long_note_is_cut_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    text = ("pneumonia of the left lower lobe, " * 6000)[:200_000]
    windowing = Windowing(max_window_tokens=128, max_windows=10_000)
    (windows,) = cut_windows([notes_of([text])], tokenizer=tokenizer, windowing=windowing)
    offsets = np.concatenate(windows.offsets)
    assert windows.num_unread_tokens == 0
    assert (offsets[1:, 0] >= offsets[:-1, 1]).all()
    assert sum(end - start for start, end in offsets.tolist()) == sum(not character.isspace() for character in text)


def test_a_tokenizer_without_special_tokens_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    class Bare:
        def __call__(self, texts: object, **_: object) -> dict[str, object]:
            return tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)

    with pytest.raises(ValueError, match="puts 0 special tokens around a text, expected one before and one after"):
        cut_windows(
            [[Note(note_id="n", text="pain")]],
            tokenizer=Bare(),  # type: ignore[arg-type]
            windowing=Windowing(max_window_tokens=16, max_windows=4),
        )
