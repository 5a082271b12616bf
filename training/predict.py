"""Stage 4: a version reads records; its predictions are written, for people and for metrics."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from clinical_coding.artefact import publish
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord
from training.model.scorer import Scorer

__all__ = ["predict", "write_predictions"]

_RECORDS_A_PASS = 16


def predict(
    scorer: Scorer, records: Iterable[CodedRecord], *, version: str, progress: Callable[[int], None]
) -> Iterator[Prediction]:
    """Score records in a stream.

    Args:
        scorer: The version's.
        records: Any number.
        version: How the version is called in the prediction file.
        progress: Called with the number of records done since the last call.
    """
    stream = iter(records)
    while chunk := list(islice(stream, _RECORDS_A_PASS)):
        for record, codes in zip(chunk, scorer.score([record.notes for record in chunk]), strict=True):
            yield Prediction(record_id=record.record_id, version=version, codes=codes)
        progress(len(chunk))


def write_predictions(predictions: Iterable[Prediction], path: Path) -> int:
    """Write the prediction file, whole or not at all.

    Returns:
        The number of lines.
    """
    num_lines = 0
    with publish(path) as stream:
        for prediction in predictions:
            stream.write(prediction.model_dump_json() + "\n")
            num_lines += 1
    return num_lines
