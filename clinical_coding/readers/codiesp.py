"""The CodiEsp corpus v4 as coded records: a zip or a folder in its published layout (stage 1).

Source: Miranda-Escalada, Gonzalez-Agirre, Krallinger, CodiEsp corpus, CLEF eHealth 2020,
DOI 10.5281/zenodo.3837305. Every document is taken for a patient of its own. The documents are
published case reports that tell a whole episode of care, and the corpus was coded by the Spanish
standard for hospital discharges; so their setting is inpatient, whose coding rules those are.
The unlabelled background documents are not read.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from clinical_coding.code_library import CODIESP_RELEASE, ICD10CM_RELEASE, load_icd10cm
from clinical_coding.codes import Code, CodeSystem, EvidenceSpan, normalise_code
from clinical_coding.readers.admission import Admission
from clinical_coding.readers.codiesp_files import CorpusFiles, open_corpus
from clinical_coding.readers.rejects import Rejects
from clinical_coding.records import CodedRecord, Encounter, Note, Setting, Split

__all__ = ["read_codiesp", "specialty_of"]

logger = logging.getLogger(__name__)

_SYSTEMS: Final = {"D": CodeSystem.ICD10CM, "P": CodeSystem.ICD10PCS}
_OFFSETS: Final = re.compile(r"\d+ \d+(;\d+ \d+)*")
_KINDS: Final = {"D": "DIAGNOSTICO", "P": "PROCEDIMIENTO"}

# Specialty by the ISSN of the journal, as far as document ids carry it (one digit is cut).
_SPECIALTIES: Final = {
    "S0365-669": "ophthalmology",
    "S0004-061": "urology",
    "S0210-480": "urology",
    "S1130-010": "gastroenterology",
    "S1130-055": "oral-and-maxillofacial-surgery",
    "S1139-763": "paediatrics",
    "S1137-662": "general-medicine",
    "S0212-719": "internal-medicine",
    "S0211-699": "nephrology",
    "S2254-288": "nephrology",
    "S1139-137": "nephrology",
    "S0376-789": "plastic-surgery",
    "S1134-804": "pain-medicine",
    "S0212-161": "nutrition",
    "S1130-634": "hospital-pharmacy",
    "S0210-569": "critical-care",
    "S1130-147": "neurosurgery",
    "S0378-483": "oncology",
    "S1699-695": "family-medicine",
    "S1698-444": "dentistry-and-oral-medicine",
    "S1698-694": "dentistry-and-oral-medicine",
    "S0213-128": "dentistry-and-oral-medicine",
}

Spans = dict[tuple[str, str], list[tuple[int, int]]]


def specialty_of(document_id: str) -> str:
    """Name the specialty of the journal that a document comes from, ``other`` when it has none here."""
    return _SPECIALTIES.get(document_id[:9], "other")


def read_codiesp(
    path: Path, *, language: str, task: str, rejects: Rejects, admission: Admission
) -> Iterator[CodedRecord]:
    """Read the labelled documents, train before dev before test, each by document id.

    Codes that cannot stand on a claim today are kept under the release ``icd10es-2018`` and
    counted in the log, as are documents' splits that have no label file.

    Args:
        path: The published zip, or its unpacked folder.
        language: ``es``, the original, with the annotators' evidence spans; or ``en``, the
            machine translation, without, since the offsets are of the original.
        task: ``D`` for diagnoses (ICD-10-CM) or ``P`` for procedures (ICD-10-PCS).
        rejects: Takes label lines that cannot be read.
        admission: Judges each record.

    Raises:
        ValueError: The corpus is not here, or too many label lines are rejected.
    """
    with open_corpus(path, language=language) as files:
        releases: Counter[str] = Counter()
        for split in files.splits():
            for record in _read_split(files, split=split, task=task, rejects=rejects):
                releases.update(code.release or "" for code in record.codes)
                yield admission.admit(record)
        kept = releases[CODIESP_RELEASE]
        logger.info("%d of %d CodiEsp labels are kept under release %s", kept, releases.total(), CODIESP_RELEASE)


def _read_split(files: CorpusFiles, *, split: Split, task: str, rejects: Rejects) -> Iterator[CodedRecord]:
    documents = files.documents(split)
    labels = _read_labels(files, split=split, task=task, documents=documents.keys(), rejects=rejects)
    spans = _read_spans(files, split=split, task=task, labels=labels, rejects=rejects)
    for document_id in sorted(documents):
        codes = [
            _code(code, task=task, evidence=_evidence(document_id, spans[document_id, code]))
            for code in labels[document_id]
        ]
        text = files.read(documents[document_id])
        if not text.strip():
            rejects.add(documents[document_id], line=1, reason="text: the document is empty", raw=text)
            continue
        yield CodedRecord(
            record_id=document_id,
            patient_id=document_id,
            split=split,
            encounter=Encounter(setting=Setting.INPATIENT, specialty=specialty_of(document_id)),
            notes=(Note(note_id=document_id, type="case-report", text=text),),
            codes=tuple(codes),
        )


def _read_labels(
    files: CorpusFiles, *, split: Split, task: str, documents: Iterable[str], rejects: Rejects
) -> dict[str, dict[str, None]]:
    """Collect each document's codes, in file order and once each."""
    labels: dict[str, dict[str, None]] = {document_id: {} for document_id in documents}
    name = files.table(split, task)
    if name is None:
        logger.warning("CodiEsp split %s has no table %s%s.tsv: its records carry no codes", split, split, task)
        return labels
    for number, line in enumerate(files.lines(name), start=1):
        try:
            document_id, code = _fields(line, "id", "code")
            labels[_known(document_id, labels)][normalise_code(_SYSTEMS[task], code)] = None
        except ValueError as error:
            rejects.add(name, line=number, reason=f"label: {error}", raw=line)
    return labels


def _read_spans(
    files: CorpusFiles, *, split: Split, task: str, labels: dict[str, dict[str, None]], rejects: Rejects
) -> Spans:
    """Collect the annotators' offsets by document and code; none for the translation."""
    spans: Spans = defaultdict(list)
    name = files.table(split, "X") if files.has_offsets else None
    if name is None:
        return spans
    lengths = {document_id: len(files.read(text)) for document_id, text in files.documents(split).items()}
    for number, line in enumerate(files.lines(name), start=1):
        try:
            document_id, kind, written, _, offsets = _fields(line, "id", "kind", "code", "text", "offsets")
            if kind != _KINDS[task]:
                continue
            code = normalise_code(_SYSTEMS[task], written)
            if code not in labels[_known(document_id, labels)]:
                raise ValueError(f"code {code} is not a label of document {document_id}")
            spans[document_id, code].extend(_parts(offsets, length=lengths[document_id]))
        except ValueError as error:
            rejects.add(name, line=number, reason=f"evidence: {error}", raw=line)
    return spans


def _fields(line: str, *names: str) -> list[str]:
    """Split a table line at its tabs; what stands in it is not repeated in the error."""
    fields = line.split("\t")
    if len(fields) != len(names):
        raise ValueError(f"expected {', '.join(names)}, separated by tabs, but the line has {len(fields)} fields")
    return fields


def _known(document_id: str, labels: dict[str, dict[str, None]]) -> str:
    if document_id not in labels:
        raise ValueError(f"document {document_id[:32]!r} has no text file")
    return document_id


def _code(code: str, *, task: str, evidence: tuple[EvidenceSpan, ...]) -> Code:
    current = task == "D" and load_icd10cm().is_valid(code)
    return Code(
        system=_SYSTEMS[task], release=ICD10CM_RELEASE if current else CODIESP_RELEASE, code=code, evidence=evidence
    )


def _parts(offsets: str, *, length: int) -> list[tuple[int, int]]:
    """Read offsets such as ``2787 2801;2810 2823``; the few empty parts of the corpus point at nothing."""
    if not _OFFSETS.fullmatch(offsets):
        raise ValueError("offsets must be pairs of numbers, with ';' between parts, such as 12 20;31 40")
    parts = [(int(start), int(end)) for start, end in (part.split() for part in offsets.split(";"))]
    for start, end in parts:
        if not start <= end <= length:
            raise ValueError(f"offsets [{start}, {end}) are out of range: the text has {length} characters")
    return [(start, end) for start, end in parts if start < end]


def _evidence(document_id: str, spans: list[tuple[int, int]]) -> tuple[EvidenceSpan, ...]:
    """Merge the spans that overlap; parts that lie apart stay apart."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(EvidenceSpan(note_id=document_id, start=start, end=end) for start, end in merged)
