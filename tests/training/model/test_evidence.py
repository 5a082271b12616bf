"""Evidence spans: whole words of the note, the strongest among them, no two overlapping."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from clinical_coding.bundle import Windowing
from clinical_coding.codes import EvidenceSpan
from clinical_coding.records import Note
from training.model.encoder import load_tokenizer
from training.model.evidence import find_evidence, words_of_windows
from training.model.windows import TokenWindows, cut_windows

TEXTS = st.lists(st.text("acdehinopst \n.,é漢🫀-", min_size=1, max_size=80).filter(str.strip), min_size=1, max_size=3)
WINDOWING = Windowing(max_window_tokens=16, max_windows=50)


@pytest.fixture(scope="module")
def wordpiece(made_encoder: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(made_encoder)


@pytest.fixture(scope="module")
def bytes_in_pairs() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer as ModernBERT's: tokens begin with their space, a character may be several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["[CLS]", "[SEP]", "[PAD]"], initial_alphabet=alphabet, vocab_size=290)
    tokenizer.train_from_iterator(["chest pain and acute pneumonia"] * 5, trainer)
    ends = [("[CLS]", 0), ("[SEP]", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")


def cut(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> tuple[list[Note], TokenWindows]:
    notes = [Note(note_id=f"n{at}", text=text) for at, text in enumerate(texts)]
    return notes, cut_windows([notes], tokenizer=tokenizer, windowing=WINDOWING)[0]


def spans_of(notes: list[Note], windows: TokenWindows, contribution_M: np.ndarray) -> tuple[EvidenceSpan, ...]:
    word_of_token, words = words_of_windows(windows, notes)
    assert len(word_of_token) == windows.num_tokens
    return find_evidence(contribution_M, word_of_token=word_of_token, words=words, notes=notes)


@pytest.mark.parametrize("kind", ["wordpiece", "bytes_in_pairs"])
@settings(max_examples=80, deadline=None)
@given(texts=TEXTS, data=st.data())
def test_spans_are_whole_words_inside_their_note(
    request: pytest.FixtureRequest, kind: str, texts: list[str], data: st.DataObject
) -> None:
    notes, windows = cut(texts, request.getfixturevalue(kind))
    numbers = st.floats(-1, 1, width=32)
    drawn = data.draw(st.lists(numbers, min_size=windows.num_tokens, max_size=windows.num_tokens))
    spans = spans_of(notes, windows, np.array(drawn, dtype=np.float64))
    assert len(spans) <= 2
    assert bool(spans) == bool(windows.num_tokens)
    text_of = {note.note_id: note.text for note in notes}
    for span in spans:
        text = text_of[span.note_id]
        assert 0 <= span.start < span.end <= len(text)
        for edge in (span.start, span.end):
            assert not (0 < edge < len(text) and text[edge - 1].isalnum() and text[edge].isalnum())
        words = text[span.start : span.end]
        assert not words.strip() or words == words.strip()
    for one, other in combinations(spans, 2):
        assert one.note_id != other.note_id or one.end <= other.start or other.end <= one.start


def test_the_strongest_word_is_covered_and_strong_neighbours_join(wordpiece: PreTrainedTokenizerBase) -> None:
    text = "The patient was seen today for acute kidney failure and follow up in two weeks."
    notes, windows = cut([text], wordpiece)
    strengths = {"acute": 0.3, "kidney": 1.0, "failure": 0.1, "seen": 0.2}
    offsets = np.concatenate(windows.offsets)
    contribution_M = np.array([strengths.get(text[start:end].lower(), 0.0) for start, end in offsets])
    (span,) = spans_of(notes, windows, contribution_M)
    # 0.1 is less than the share of the peak from which a neighbour belongs to the span.
    assert text[span.start : span.end] == "acute kidney"


def test_a_weak_word_between_strong_ones_is_bridged(wordpiece: PreTrainedTokenizerBase) -> None:
    text = "Seen for pneumonia of the left lower lobe today."
    notes, windows = cut([text], wordpiece)
    offsets = np.concatenate(windows.offsets)
    contribution_M = np.array([float(text[start:end] in ("left", "pneumonia", "the")) for start, end in offsets])
    (span,) = spans_of(notes, windows, contribution_M)
    assert text[span.start : span.end] == "pneumonia of the left"


def test_a_second_mention_is_named_when_it_is_almost_as_strong(wordpiece: PreTrainedTokenizerBase) -> None:
    notes, windows = cut(["Asthma. The patient was seen today.", "Chronic asthma; plan: rest."], wordpiece)
    texts = [
        notes[note].text[start:end] for note, o in zip(windows.notes, windows.offsets, strict=True) for start, end in o
    ]
    for second, expected in ((0.7, [("n0", "Asthma"), ("n1", "asthma")]), (0.5, [("n0", "Asthma")])):
        contribution_M = np.array([{"Asthma": 1.0, "asthma": second}.get(text, 0.0) for text in texts])
        spans = spans_of(notes, windows, contribution_M)
        by_id = {note.note_id: note.text for note in notes}
        assert [(span.note_id, by_id[span.note_id][span.start : span.end]) for span in spans] == expected


def test_pieces_of_a_word_count_together_across_windows(wordpiece: PreTrainedTokenizerBase) -> None:
    # Unknown to the vocabulary: one piece a letter, more than one window of 14.
    text = "Seen for pseudohypoparathyroidism today"
    notes, windows = cut([text], wordpiece)
    assert len(windows.input_ids) > 1
    word_of_token, words = words_of_windows(windows, notes)
    assert [text[start:end] for _, start, end in words] == text.split()
    assert (np.bincount(word_of_token) > 1).any()
