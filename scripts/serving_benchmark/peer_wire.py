"""What every peer reads and answers: notes as JSON in, ranked codes with confidence and evidence as JSON out."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note

__all__ = ["Forward", "NoteScorer", "load_scorer", "read_notes", "write_codes"]


class Forward(StrEnum):
    """Which forward a peer is built around."""

    PADDED = "padded"
    """Plain Hugging Face, padded to the longest of a batch."""
    FAST = "fast"
    """Ours."""


class NoteScorer(Protocol):
    """Either."""

    def score(self, documents: Sequence[Sequence[Note]]) -> list[tuple[PredictedCode, ...]]:
        """Score documents; each is the notes of one encounter."""
        ...


def load_scorer(bundle: Path, *, forward: Forward, num_threads: int) -> NoteScorer:
    """Load a bundle with one of the two, and run it once."""
    from scripts.serving_benchmark.padded_scorer import PaddedScorer
    from training.model import Scorer

    scorer = PaddedScorer if forward is Forward.PADDED else Scorer
    loaded = scorer(bundle, num_threads=num_threads)
    loaded.score([[Note(note_id="n", text="Seen for follow-up of hypertension.")]])
    return loaded


def read_notes(content: dict[str, Any]) -> list[Note]:
    """The notes of a request."""
    return [Note(note_id=note["note_id"], text=note["text"]) for note in content["notes"]]


def write_codes(codes: Sequence[PredictedCode]) -> dict[str, Any]:
    """The answer to a request."""
    return {"codes": [code.model_dump(mode="json") for code in codes]}
