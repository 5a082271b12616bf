import collections
import itertools

import pytest
import yaml

from clinical_coding.documentation import Assertion
from clinical_coding.readers.sample import read_sample
from scripts.benchmark_assertion import SENTENCES, sample_mentions, score, sentence_mentions

NUM_RECORDS = 400


@pytest.mark.parametrize(
    ("name", "least_rows", "least_a_class"), [("sentences.yaml", 120, 15), ("development.yaml", 60, 8)]
)
def test_the_sentences_say_each_assertion_often_enough(name: str, least_rows: int, least_a_class: int) -> None:
    rows = yaml.safe_load((SENTENCES / name).read_text(encoding="utf-8"))
    counts = collections.Counter(row["assertion"] for row in rows)
    assert len(rows) >= least_rows
    assert set(counts) == set(Assertion)
    assert min(counts.values()) >= least_a_class
    assert all(row["text"].count(row["mention"]) == 1 for row in rows)


def test_no_held_out_sentence_is_a_development_sentence() -> None:
    held_out, development = (
        {mention.note.text for mention in sentence_mentions(name)} for name in ("sentences.yaml", "development.yaml")
    )
    assert not held_out & development


def test_held_out_sentences_are_read_as_they_are_meant() -> None:
    assert score(sentence_mentions("sentences.yaml")).macro_f1 >= 0.92


def test_development_sentences_are_read_as_they_are_meant() -> None:
    assert score(sentence_mentions("development.yaml")).macro_f1 >= 0.97


def test_mentions_in_the_sample_are_read_as_they_are_meant() -> None:
    mentions = list(sample_mentions(NUM_RECORDS))
    scores = score(mentions)
    assert {mention.assertion for mention in mentions} == set(Assertion) - {Assertion.HYPOTHETICAL}
    assert scores.macro_f1 >= 0.97
    assert scores.micro_f1 >= 0.97


def test_the_measured_notes_are_those_of_the_sample() -> None:
    drawn = {mention.note.text for mention in sample_mentions(20, seed=3)}
    notes = {note.text for record in read_sample(20, seed=3) for note in record.notes}
    assert drawn <= notes
    assert len(drawn) > 15


def test_traps_are_no_evidence() -> None:
    mentions = [mention for mention in sample_mentions(30) if mention.assertion is not Assertion.AFFIRMED]
    evidence = {
        (note.text, span.start)
        for record in read_sample(30)
        for note in record.notes
        for code in record.codes
        for span in code.evidence
        if span.note_id == note.note_id
    }
    traps = [mention for mention in mentions if mention.assertion is not Assertion.UNCERTAIN]
    assert traps
    assert not any((mention.note.text, mention.start) in evidence for mention in itertools.chain(traps))
