"""Stage 2: coded records become batches, in three hops.

    CodedRecord --store_records--> datasets.Dataset --cut_records--> token windows --Collator--> Batch

The Datasets live as Arrow files on disk, so memory stays flat however many records there are. What a
label index means is the label space's business (``label_space``); whether a code is valid, ``code_validity``'s.

Shapes: B records, W windows, T tokens a window, H hidden size, M tokens a record, S sampled labels, E evidence entries.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, List, Value
from transformers import PreTrainedTokenizerBase

from clinical_coding.bundle import Windowing
from clinical_coding.codes import CodeState
from clinical_coding.manifest import Manifest, hash_patients
from clinical_coding.records import CodedRecord, Unlisted
from training.model.windows import TokenWindows, cut_windows

__all__ = ["ManifestTally", "cut_records", "load_records", "open_stored", "store_records"]

_ROWS_A_WRITE = 1024

_STORED = pa.schema(
    [("record_id", pa.string()), ("patient_id", pa.string()), ("complete", pa.bool_()), ("json", pa.large_string())]
)
_INTEGERS, _LISTS = List(Value("int32")), List(List(Value("int32")))
_CUT = Features(
    {
        "record_id": Value("string"),
        "complete": Value("bool"),
        "input_ids": _LISTS,
        "positive": _INTEGERS,
        "positive_weight": List(Value("float32")),
        "negative": _INTEGERS,
        "negative_weight": List(Value("float32")),
        "unknown": _INTEGERS,
        "num_gold": Value("int32"),
        "evidence_label": _INTEGERS,
        "evidence_tokens": _LISTS,
        "num_unread_tokens": Value("int32"),
    }
)


class ManifestTally:
    """Adds records up to their manifest, one after the other."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._ids = list[str]()
        self._splits = Counter[str]()
        self._adjudications, self._patients = set[str](), set[str]()

    def add(self, record: CodedRecord) -> str:
        """Count a record in; gives the JSON that the content is hashed by."""
        text = record.model_dump_json()
        self._digest.update(text.encode() + b"\n")
        self._ids.append(record.record_id)
        self._splits[str(record.split)] += 1
        self._patients.add(record.patient_id)
        named = {code.provenance.adjudication_id for code in record.codes}
        self._adjudications |= {adjudication_id for adjudication_id in named if adjudication_id}
        return text

    def manifest(self, *, sources: Sequence[str]) -> Manifest:
        """The manifest of the records so far."""
        return Manifest(
            record_ids=tuple(self._ids),
            content_sha256=self._digest.hexdigest(),
            splits=dict(self._splits),
            sources=tuple(sources),
            adjudication_ids=tuple(sorted(self._adjudications)),
            patient_hashes=hash_patients(self._patients),
        )


def store_records(records: Iterable[CodedRecord], *, sources: Sequence[str], path: Path) -> Manifest:
    """First hop: stream records to an Arrow file, one row a record, and say what they were.

    Args:
        records: Read once, in order.
        sources: The record specs, for the manifest.
        path: Where the file is to lie; ``open_stored`` opens it.

    Returns:
        The manifest with the hash of the whole content.

    Raises:
        ValueError: There are no records.
    """
    tally = ManifestTally()
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, _STORED) as writer:
        rows = list[dict[str, object]]()
        for record in records:
            columns = (record.record_id, record.patient_id, record.unlisted is Unlisted.ABSENT, tally.add(record))
            rows.append(dict(zip(_STORED.names, columns, strict=True)))
            if len(rows) == _ROWS_A_WRITE:
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=_STORED))
                rows.clear()
        if rows:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=_STORED))
    manifest = tally.manifest(sources=sources)
    if not manifest.record_ids:
        raise ValueError(f"records {', '.join(sources)}: none is in the chosen splits; choose others with --splits")
    return manifest


def open_stored(path: Path) -> Dataset:
    """Open the rows that ``store_records`` wrote, memory-mapped."""
    return Dataset.from_file(str(path))


def load_records(stored: Dataset) -> Iterator[CodedRecord]:
    """Read the records back, in order."""
    for text in stored["json"]:
        yield CodedRecord.model_validate_json(text)


def _token_positions(windows: TokenWindows, *, note: int, start: int, end: int) -> list[int]:
    """Positions, among the record's tokens without special ones, that touch a stretch of a note."""
    positions, at = list[int](), 0
    for window_note, offsets in zip(windows.notes, windows.offsets, strict=True):
        if window_note == note:
            touching = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > start))
            positions += (touching + at).tolist()
        at += len(offsets)
    return positions


def _cut_record(
    record: CodedRecord, windows: TokenWindows, index: Mapping[str, int], *, no_tokens: list[int]
) -> dict[str, Any]:
    notes = {note.note_id: at for at, note in enumerate(record.notes)}
    by_state: dict[CodeState, dict[int, float]] = {state: {} for state in CodeState}
    evidence_label, evidence_tokens = [], []
    for code in record.codes:
        label = index.get(code.key)
        if label is None:
            continue
        by_state[code.state][label] = code.weight
        tokens = [
            position
            for span in code.evidence
            for position in _token_positions(windows, note=notes[span.note_id], start=span.start, end=span.end)
        ]
        if tokens and code.state is CodeState.POSITIVE:
            evidence_label.append(label)
            evidence_tokens.append(tokens)
    positive, negative = by_state[CodeState.POSITIVE], by_state[CodeState.NEGATIVE]
    return {
        "record_id": record.record_id,
        "complete": record.unlisted is Unlisted.ABSENT,
        # Notes of nothing but characters that the tokenizer drops: one window without content stands for them.
        "input_ids": windows.input_ids or [no_tokens],
        "positive": list(positive),
        "positive_weight": list(positive.values()),
        "negative": list(negative),
        "negative_weight": list(negative.values()),
        "unknown": list(by_state[CodeState.UNKNOWN]),
        # Those outside the label space count as missed wherever the model is measured.
        "num_gold": len(record.keys()),
        "evidence_label": evidence_label,
        "evidence_tokens": evidence_tokens,
        "num_unread_tokens": windows.num_unread_tokens,
    }


def cut_records(
    stored: Dataset,
    *,
    tokenizer: PreTrainedTokenizerBase,
    windowing: Windowing,
    index: Mapping[str, int],
    path: Path,
) -> Dataset:
    """Second hop: tokenise, cut into windows, and turn codes and evidence into indices.

    Args:
        stored: From ``store_records``.
        tokenizer: The encoder's.
        windowing: Window size and number.
        index: Label key to label index; codes outside it are no label and are left out.
        path: Where the Arrow file is to lie; one that is there already is of the same run, and is used.

    Returns:
        One row a record, in order, with the column ``row`` that numbers them.
    """
    no_tokens = tokenizer("")["input_ids"]

    def cut(rows: dict[str, list[str]]) -> dict[str, list[Any]]:
        records = [CodedRecord.model_validate_json(text) for text in rows["json"]]
        documents = cut_windows([record.notes for record in records], tokenizer=tokenizer, windowing=windowing)
        cut_rows = [
            _cut_record(record, windows, index, no_tokens=no_tokens)
            for record, windows in zip(records, documents, strict=True)
        ]
        return {name: [row[name] for row in cut_rows] for name in _CUT}

    windows = stored.map(
        cut,
        batched=True,
        batch_size=256,
        remove_columns=stored.column_names,
        features=_CUT,
        cache_file_name=str(path),
        # Named by us: the automatic name hashes the pickled tokenizer, which differs from run to run.
        new_fingerprint=path.stem,
        load_from_cache_file=True,
    )
    return windows.add_column("row", list(range(len(windows))))
