"""Measure how well and how fast notes are read: what is asserted of each mention.

Two kinds of text: hand-written sentences that come from no generator, and the sample's notes, whose generator
knows which diagnoses it wrote as denied, uncertain, of the past or of a relative, and which ones as the patient's.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Annotated, Final

import typer
import yaml
from rich.console import Console
from sklearn.metrics import f1_score

from clinical_coding.documentation import Assertion, ReadNote, read_note, support
from clinical_coding.readers.sample import read_sample
from clinical_coding.readers.sample.catalogue import load_catalogue
from clinical_coding.readers.sample.encounters import Case, make_case
from clinical_coding.readers.sample.layouts import WrittenNote, write_notes
from clinical_coding.readers.sample.page import TRAP_PREFIX
from clinical_coding.readers.sample.patients import make_patient
from clinical_coding.records import Note
from scripts.benchmark_results import Row, write_results

__all__ = ["Mention", "Scores", "main", "sample_mentions", "score", "sentence_mentions"]

SENTENCES: Final = Path(__file__).parents[1] / "tests" / "clinical_coding" / "documentation"
NUM_SPANS: Final = 30
"""Mentions asked about in each timed note."""
NUM_WORDS: Final = 1_000
NUM_REPEATS: Final = 5

_DISCHARGE: Final = "discharge-summary"
_OF_TRAPS: Final = {
    "denied": Assertion.NEGATED,
    "excluded": Assertion.NEGATED,
    "family": Assertion.FAMILY,
    "historical": Assertion.HISTORICAL,
    "uncertain": Assertion.UNCERTAIN,
}


@dataclass(frozen=True, slots=True)
class Mention:
    """A stretch of a note and what the note asserts of it."""

    note: Note
    start: int
    end: int
    assertion: Assertion


@dataclass(frozen=True, slots=True)
class Scores:
    """How many mentions are read as they are meant."""

    macro_f1: float
    """Mean over the assertions that occur."""
    micro_f1: float
    num_mentions: int


def sentence_mentions(name: str) -> list[Mention]:
    """Read hand-written sentences with their mentions."""
    rows = yaml.safe_load((SENTENCES / name).read_text(encoding="utf-8"))
    mentions = []
    for number, row in enumerate(rows, start=1):
        start = row["text"].index(row["mention"])
        note = Note(note_id=f"s{number}", text=row["text"])
        mentions.append(Mention(note, start, start + len(row["mention"]), Assertion(row["assertion"])))
    return mentions


def sample_mentions(num_records: int, *, seed: int = 0) -> Iterator[Mention]:
    """Give the diagnoses that the sample's notes name, with what the generator meant.

    Statuses and services (chapter Z) are left out: the words for them often tell of the past themselves.
    """
    for case, written in islice(_cases(seed), num_records):
        for number, (page_note, text) in enumerate(written, start=1):
            note = Note(note_id=f"n{number}", type=page_note.type, text=text)
            yield from _mentions_of(case, page_note, note)


def _cases(seed: int) -> Iterator[tuple[Case, list[tuple[WrittenNote, str]]]]:
    """Draw the cases of ``read_sample`` again, with their pages, which know where the traps are."""
    catalogue = load_catalogue()
    for patient_number in count():
        rng = Random(f"chartloop-sample:{seed}:{patient_number}")
        patient = make_patient(rng, catalogue, patient_id=f"sample-{seed}-p{patient_number:06d}")
        seen: frozenset[str] = frozenset()
        for rank in range(patient.num_encounters):
            case = make_case(rng, patient, rank=rank, seen=seen)
            seen |= {case.specialty.name}
            written = write_notes(rng, case, dict(catalogue.phrases))
            yield case, [(note, note.page.writer.finish(rng)) for note in written]


def _mentions_of(case: Case, written: WrittenNote, note: Note) -> Iterator[Mention]:
    is_discharge = written.type == _DISCHARGE
    # A discharge summary lists each diagnosis first where it says that one is still uncertain.
    uncertain = {f"icd10cm:{found.condition.code}" for found in case.findings if found.is_uncertain and is_discharge}
    for span in written.page.writer.spans:
        if span.key.startswith(TRAP_PREFIX):
            meant = _OF_TRAPS[span.key.removeprefix(TRAP_PREFIX)]
            if is_discharge and meant is Assertion.UNCERTAIN:
                # By then it was dismissed.
                meant = Assertion.NEGATED
        elif span.key.startswith("icd10cm:") and not span.key.startswith("icd10cm:Z"):
            meant = Assertion.UNCERTAIN if span.key in uncertain else Assertion.AFFIRMED
            uncertain.discard(span.key)
        else:
            continue
        yield Mention(note, span.start, span.end, meant)


def score(mentions: list[Mention]) -> Scores:
    """Read the notes and compare what is asserted with what is meant."""
    found = []
    read: ReadNote | None = None
    for mention in mentions:
        # Mentions of one note follow each other.
        if read is None or read.note is not mention.note:
            read = read_note(mention.note)
        found.append(str(read.assertion(mention.start, mention.end)))
    meant = [str(mention.assertion) for mention in mentions]
    occurring = sorted(set(meant))
    return Scores(
        macro_f1=float(f1_score(meant, found, labels=occurring, average="macro", zero_division=0)),
        micro_f1=float(f1_score(meant, found, labels=occurring, average="micro", zero_division=0)),
        num_mentions=len(mentions),
    )


def _share_supported(num_records: int) -> float:
    """The share of the sample's codes that their documentation supports; all are right."""
    stands = []
    for record in read_sample(num_records):
        notes = {note.note_id: read_note(note) for note in record.notes}
        for code in record.codes:
            stands.append(support(code.key, code.evidence, notes, setting=record.encounter.setting).stands)
    return statistics.mean(stands)


def _long_notes(num_notes: int) -> Iterator[Note]:
    """Notes of about a thousand words, of the sample's notes in a row."""
    words, parts = 0, []
    made = 0
    for record in read_sample(100_000):
        for note in record.notes:
            parts.append(note.text)
            words += len(note.text.split())
        if words >= NUM_WORDS:
            yield Note(note_id=f"n{made}", text="\n\n".join(parts))
            words, parts, made = 0, [], made + 1
            if made == num_notes:
                return


def _milliseconds(note: Note) -> float:
    rng = Random(note.note_id)
    starts = [rng.randrange(len(note.text) - 20) for _ in range(NUM_SPANS)]
    began = time.perf_counter()
    read = read_note(note)
    for start in starts:
        read.assertion(start, start + 20)
    return (time.perf_counter() - began) * 1_000


def _speed_rows(num_notes: int) -> list[Row]:
    notes = list(_long_notes(num_notes))
    began = time.perf_counter()
    _milliseconds(notes[0])
    first = (time.perf_counter() - began) * 1_000
    times = sorted(_milliseconds(note) for _ in range(NUM_REPEATS) for note in notes)
    return [
        Row("words_a_timed_note", round(statistics.mean(len(note.text.split()) for note in notes)), "words"),
        Row("first_note", round(first, 1), "ms"),
        Row("read_and_30_assertions_p50", round(statistics.median(times), 2), "ms"),
        Row("read_and_30_assertions_p99", round(times[int(0.99 * len(times))], 2), "ms"),
    ]


def _score_rows(name: str, scores: Scores) -> list[Row]:
    return [
        Row(f"{name}_macro_f1", round(scores.macro_f1, 4), "proportion"),
        Row(f"{name}_micro_f1", round(scores.micro_f1, 4), "proportion"),
        Row(f"{name}_mentions", scores.num_mentions, "mentions"),
    ]


def main(
    num_records: Annotated[int, typer.Option(min=1, help="Sample records to read.")] = 3_000,
    num_notes: Annotated[int, typer.Option(min=1, help="Notes of a thousand words to time.")] = 50,
) -> None:
    """Measure assertions on sentences and on sample records, and write docs/benchmarks/assertion.json."""
    console = Console()
    rows = [
        *_speed_rows(num_notes),
        *_score_rows("held_out_sentences", score(sentence_mentions("sentences.yaml"))),
        *_score_rows("development_sentences", score(sentence_mentions("development.yaml"))),
        *_score_rows("sample", score(list(sample_mentions(num_records)))),
        Row("sample_codes_supported", round(_share_supported(num_records), 5), "proportion"),
    ]
    for row in rows:
        console.print(f"{row.metric}: {row.value} {row.unit}")
    console.print(f"written to {write_results('assertion', rows, num_records=num_records, num_notes=num_notes)}")


if __name__ == "__main__":
    typer.run(main)
