"""Stage 10: adjudications that pass the guards become a training set, which is stage 1 again.

A folder with ``records.jsonl`` and its ``manifest.json``. Replayed base records come first, so that the
patients of their held-out splits are known when feedback follows; feedback comes in order of suggestion
ids, so that the same ledger gives the same bytes. Memory grows by ids, never by notes. What a verdict
teaches is decided in ``labels``; training is not known here.

Guards: only patients of the train split, by the hash of their id and by every replayed source; no
content that was purged; of an encounter that was asked again, the newest adjudicated answer alone; no
code that the reader would refuse.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from clinical_coding.artefact import publish_folder
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeState
from clinical_coding.manifest import Manifest, hash_patients
from clinical_coding.readers import PatientInTwoSplitsError, assign_split, read_records
from clinical_coding.readers.spec import without_folders
from clinical_coding.records import CodedRecord, Split, Unlisted
from feedback.adjudicated import Adjudicated, asked_again, pages
from feedback.errors import ForbiddenError, InvalidError
from feedback.training_set_folder import MANIFEST, RECORDS, aside, check_replaceable
from ledger.audit_log import append
from ledger.group_commit import write
from ledger.principals import Principal, Role

__all__ = ["LEFT_OUT", "RECORD_PREFIX", "ExportReport", "export"]

RECORD_PREFIX: Final = "feedback-"
"""A training record's id is this and the suggestion's."""
MAY_EXPORT: Final = (Role.SUPERVISOR, Role.ADMIN, Role.SERVICE)

LEFT_OUT: Final[Mapping[str, str]] = {
    "no-patient-id": "the request named no patient; send patient_id with requests",
    "patient-held-out": "the patient belongs to dev or test, which measure and never train",
    "patient-held-out-in-replay": "a replayed source holds the patient in dev or test",
    "purged": "the notes were removed by retention; export before they are",
    "asked-again": "the encounter was asked again; its newest adjudicated answer is used",
    "teaches-nothing": "no verdict makes a code positive or negative (policy unclear, or contradicted)",
    "replayed-feedback": "a replayed record came from feedback; the ledger says what stands of it now",
    "replayed-twice": "a record of this id was replayed before; replay each source once",
}
"""Why a record is left out, and what to do about it, by reason."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What went into a training set, and what did not."""

    folder: Path
    content_sha256: str
    num_feedback: int
    num_replayed: int
    num_adjudications: int
    num_codes: Mapping[str, int]
    """Codes on feedback records, by state."""
    num_complete: int
    """Feedback records on which unlisted codes are absent."""
    num_conflicts: int
    """Codes that adjudications contradict each other about; they became unknown."""
    num_foreign_codes: int
    """Codes that the releases they are judged by do not hold; left off their records."""
    left_out: Mapping[str, int]
    """Records left out, by reason: a key of ``LEFT_OUT``."""


def export(
    engine: Engine,
    *,
    out: Path,
    principal: Principal,
    systems: CodeSystems,
    replay: Sequence[str] = (),
    progress: Callable[[int], None] = lambda num_records: None,
) -> ExportReport:
    """Make a training set of all adjudications, and say so in the audit log.

    Args:
        engine: A migrated database.
        out: The folder to make; an earlier training set there is replaced.
        principal: Who exports: supervisor, admin or service, since a training set holds notes.
        systems: The releases that judge codes, by each encounter's date of coding.
        replay: Record specs whose train split goes in too, so that what was learnt is not forgotten.
        progress: Called with a number of records written since its last call.

    Raises:
        ForbiddenError: The role may not export.
        InvalidError: Something else lies at ``out``, or no record is left to write.
        ValueError: A record spec is wrong, or a patient is in two splits of the replayed sources.
    """
    if principal.role not in MAY_EXPORT:
        raise ForbiddenError(f"role {principal.role} may not export; use a key of role {', '.join(MAY_EXPORT)}")
    check_replaceable(out)
    final = out.resolve()
    with aside(final) as folder:
        with (folder / RECORDS).open("wb") as stream:
            training_set = _TrainingSet(stream.write, progress, systems)
            held_out = training_set.add_replayed(replay)
            with _snapshot(engine) as connection:
                training_set.add_feedback(connection, held_out=held_out)
        manifest = training_set.manifest(sources=("feedback", *map(without_folders, replay)))
        (folder / MANIFEST).write_text(manifest.model_dump_json() + "\n", encoding="utf-8")
        report = training_set.report(out, manifest)
        # Notes leave the ledger with the rename, so that it is told before.
        write(engine, lambda connection: _tell(connection, report, manifest, principal=principal))
        publish_folder(folder, final)
    return report


class _TrainingSet:
    """Writes records one by one, and remembers of each what the manifest and the report tell."""

    def __init__(
        self, write_bytes: Callable[[bytes], object], progress: Callable[[int], None], systems: CodeSystems
    ) -> None:
        self._write_bytes = write_bytes
        self._progress = progress
        self._systems = systems
        self._digest = hashlib.sha256()
        self._ids: dict[str, None] = {}
        self._patients = set[str]()
        self._adjudication_ids = set[str]()
        self._counts = Counter[str]()
        self._states = Counter[str]()
        self._left_out = Counter[str]()

    def add_replayed(self, specs: Sequence[str]) -> frozenset[str]:
        """Add the train split of base records.

        Returns:
            The patients of their other splits.
        """
        splits: dict[str, tuple[Split, str]] = {}
        for spec in specs:
            for record in read_records(spec, systems=self._systems):
                assert record.split is not None, "readers give every record a split"
                split, witness = splits.setdefault(record.patient_id, (record.split, spec))
                if split is not record.split:
                    raise PatientInTwoSplitsError(
                        f"replay {spec!r}: record {record.record_id!r} is of split {record.split}, but its patient is "
                        f"in {split} of {witness!r}; leave one of the two out, or give the patient one split"
                    )
                if record.split is Split.TRAIN:
                    self._add_replayed(record)
        return frozenset(patient for patient, (split, _) in splits.items() if split is not Split.TRAIN)

    def _add_replayed(self, record: CodedRecord) -> None:
        if record.record_id.startswith(RECORD_PREFIX):
            self._left_out["replayed-feedback"] += 1
        elif record.record_id in self._ids:
            self._left_out["replayed-twice"] += 1
        else:
            self._add(record)
            self._counts["replayed"] += 1

    def add_feedback(self, connection: Connection, *, held_out: Collection[str]) -> None:
        """Add what adjudications teach."""
        for page in pages(connection, systems=self._systems):
            candidates = [item for item in page if self._may_enter(item, held_out=held_out)]
            superseded = asked_again(connection, candidates, systems=self._systems)
            for item in candidates:
                if item.suggestion_id in superseded:
                    self._left_out["asked-again"] += 1
                else:
                    self._add_adjudicated(item)

    def _may_enter(self, item: Adjudicated, *, held_out: Collection[str]) -> bool:
        if item.patient_id is None:
            reason = "no-patient-id"
        elif assign_split(item.patient_id) is not Split.TRAIN:
            reason = "patient-held-out"
        elif item.patient_id in held_out:
            reason = "patient-held-out-in-replay"
        elif item.request is None:
            reason = "purged"
        else:
            return True
        self._left_out[reason] += 1
        return False

    def _add_adjudicated(self, item: Adjudicated) -> None:
        assert item.request is not None and item.patient_id is not None, "the guards were passed"
        labels = item.labels
        self._counts["conflicts"] += len(labels.conflicts)
        self._counts["foreign_codes"] += item.num_foreign_codes
        if not labels.teaches:
            self._left_out["teaches-nothing"] += 1
            return
        self._add(
            CodedRecord(
                record_id=f"{RECORD_PREFIX}{item.suggestion_id}",
                patient_id=item.patient_id,
                split=Split.TRAIN,
                encounter=item.request.encounter,
                notes=item.request.notes,
                codes=labels.codes,
                unlisted=labels.unlisted,
            )
        )
        self._counts["feedback"] += 1
        self._counts["complete"] += labels.unlisted is Unlisted.ABSENT
        self._states.update(code.state.value for code in labels.codes)

    def _add(self, record: CodedRecord) -> None:
        line = record.model_dump_json().encode() + b"\n"
        self._write_bytes(line)
        self._digest.update(line)
        self._ids[record.record_id] = None
        self._patients.add(record.patient_id)
        named = (code.provenance.adjudication_id for code in record.codes)
        self._adjudication_ids.update(adjudication_id for adjudication_id in named if adjudication_id)
        self._progress(1)

    def manifest(self, *, sources: Sequence[str]) -> Manifest:
        """Say what was written, as training says it of the same lines.

        Raises:
            InvalidError: Nothing was.
        """
        if not self._ids:
            why = ", ".join(f"{reason} {count}" for reason, count in sorted(self._left_out.items()))
            raise InvalidError(
                "no record is left to train on "
                f"({'left out: ' + why if why else 'nothing is adjudicated yet'}); adjudicate cases first"
            )
        return Manifest(
            record_ids=tuple(self._ids),
            content_sha256=self._digest.hexdigest(),
            splits={Split.TRAIN.value: len(self._ids)},
            sources=tuple(sources),
            adjudication_ids=tuple(sorted(self._adjudication_ids)),
            patient_hashes=hash_patients(self._patients),
        )

    def report(self, out: Path, manifest: Manifest) -> ExportReport:
        """Tell people what went in, and what did not."""
        return ExportReport(
            folder=out,
            content_sha256=manifest.content_sha256,
            num_feedback=self._counts["feedback"],
            num_replayed=self._counts["replayed"],
            num_adjudications=len(manifest.adjudication_ids),
            num_codes={state.value: self._states[state.value] for state in CodeState},
            num_complete=self._counts["complete"],
            num_conflicts=self._counts["conflicts"],
            num_foreign_codes=self._counts["foreign_codes"],
            left_out={reason: self._left_out[reason] for reason in LEFT_OUT if self._left_out[reason]},
        )


def _tell(connection: Connection, report: ExportReport, manifest: Manifest, *, principal: Principal) -> None:
    details = asdict(report) | {"sources": manifest.sources}
    del details["folder"], details["content_sha256"]
    append(
        connection,
        principal=principal,
        action="training-set-exported",
        subject=f"training-set:{report.content_sha256}",
        details=details,
    )


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """See one moment of the ledger throughout; SQLite does so in any transaction."""
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with engine.connect().execution_options(**options) as connection:
        yield connection
