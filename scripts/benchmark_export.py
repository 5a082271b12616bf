"""Measure how many feedback records a second ``chartloop feedback export`` writes, and how its memory grows.

A part of ``benchmark_feedback``. The ledger is filled in bulk, past the audit log, with sample
encounters of which a coder rejected one code and a supervisor agreed; then it is exported whole.
"""

import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, insert

from clinical_coding.artefact import new_id
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeState, Provenance
from clinical_coding.decisions import CodeAction, CodeDecision, Decision
from clinical_coding.readers import read_records
from clinical_coding.records import CodedRecord, Split
from clinical_coding.suggestions import (
    Alternative,
    Route,
    RouteDecision,
    SuggestedCode,
    Suggestion,
    SuggestionEvidence,
    SuggestionRequest,
    VersionName,
)
from feedback.tables import adjudications, cases, decisions, overrides
from feedback.training_set import export
from ledger.engine import writing
from ledger.principals import Principal
from ledger.suggestions import suggestion_contents, suggestions
from scripts.benchmark_results import Row

__all__ = ["export_speed"]

_ROWS_AT_ONCE: Final = 500
_MIB: Final = 1024  # ru_maxrss is in KiB on Linux.


def export_speed(engine: Engine, *, folder: Path, num_records: int, principal: Principal) -> list[Row]:
    """Fill a ledger with judged overrides and export it.

    Args:
        engine: An empty, migrated database.
        folder: Where the training set may lie.
        num_records: Feedback records to export.
        principal: A supervisor.
    """
    systems = CodeSystems.embedded()
    systems.icd10cm()
    _fill(engine, num_records=num_records, principal=principal)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter(), time.process_time()
    report = export(engine, out=folder / "export", principal=principal, systems=systems)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    size = (report.folder / "records.jsonl").stat().st_size
    return [
        Row("export_records_a_second", round(report.num_feedback / wall), "1/s"),
        Row("export_records_a_processor_second", round(report.num_feedback / processor), "1/s"),
        Row("export_memory_growth", round(grown / _MIB, 1), "MiB"),
        Row("export_size", round(size / 2**20, 1), "MiB"),
    ]


def _fill(engine: Engine, *, num_records: int, principal: Principal) -> None:
    tables = (suggestions, suggestion_contents, decisions, overrides, cases, adjudications)
    records = read_records(f"sample:{2 * num_records}", splits=(Split.TRAIN,))
    # Four in five sample records are of the train split, so that twice as many are enough.
    rows = (_rows(record, principal_id=principal.id) for record in islice(records, num_records))
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        with writing(engine) as connection:
            for table, of_table in zip(tables, zip(*chunk, strict=True), strict=True):
                connection.execute(insert(table), list(of_table))


def _rows(record: CodedRecord, *, principal_id: str) -> Iterator[dict[str, Any]]:
    """The rows of one encounter, in the order of the tables: all its codes suggested, the first one rejected."""
    at, suggestion_id, decision_id, override_id, adjudication_id = datetime.now(UTC), *(new_id() for _ in range(4))
    rejected = record.codes[0]
    reason = "integral-symptom"
    answer = CodeDecision(action=CodeAction.REJECT, system=rejected.system, code=rejected.code, reason=reason)
    decision = Decision(suggestion_id=suggestion_id, codes=(answer,), seconds_spent=60)
    request = SuggestionRequest(
        record_id=record.record_id, patient_id=record.patient_id, encounter=record.encounter, notes=record.notes
    )
    about = {"suggestion_id": suggestion_id, "principal_id": principal_id}
    yield {
        "id": suggestion_id,
        "principal_id": principal_id,
        "stored_at": at,
        "record_id": record.record_id,
        "patient_id": record.patient_id,
        "specialty": record.encounter.specialty,
        "route": "assisted",
        "setting": record.encounter.setting,
        "bundle_sha256": "0" * 64,
        "content_sha256": "0" * 64,
    }
    yield {
        "suggestion_id": suggestion_id,
        "request": request.model_dump_json(),
        "suggestion": _suggestion(record, suggestion_id).model_dump_json(),
    }
    yield about | {
        "id": decision_id,
        "decided_at": at,
        "outcome": "decided",
        "seconds_spent": 60,
        "idempotency_key": decision_id,
        "body_sha256": "0" * 64,
        "body": decision.model_dump_json(),
    }
    named = {"system": rejected.system, "code": rejected.code}
    yield (
        about
        | named
        | {
            "id": override_id,
            "decision_id": decision_id,
            "created_at": at,
            "action": "reject",
            "reason": reason,
        }
    )
    yield {
        "id": override_id,
        "kind": "override",
        "suggestion_id": suggestion_id,
        "coder_id": None,
        "priority": 1,
        "opened_at": at,
        "state": "closed",
    }
    provenance = Provenance(source="adjudication", adjudication_id=adjudication_id)
    judged = rejected.model_copy(update={"state": CodeState.NEGATIVE, "provenance": provenance})
    yield about | {
        "id": adjudication_id,
        "case_id": override_id,
        "adjudicated_at": at,
        "verdict": "coder-right",
        "codes": f"[{judged.model_dump_json()}]",
        "citation": "guideline",
        "round": 1,
        "blinded": False,
    }


def _suggestion(record: CodedRecord, suggestion_id: str) -> Suggestion:
    """What a model might have said: every code with its evidence and five alternatives."""
    texts = {note.note_id: note.text for note in record.notes}
    suggested = tuple(
        SuggestedCode(
            system=code.system,
            code=code.code,
            description=f"description of {code.code}",
            confidence=0.9,
            rank=rank,
            evidence=tuple(
                SuggestionEvidence(**span.model_dump(), text=texts[span.note_id][span.start : span.end])
                for span in code.evidence
            ),
            alternatives=(
                Alternative(system=code.system, code=code.code, description="an alternative", confidence=0.1),
            )
            * 5,
        )
        for rank, code in enumerate(record.codes, start=1)
    )
    return Suggestion(
        suggestion_id=suggestion_id,
        version=VersionName(name="clinical-coder", number=1, alias="champion", bundle_sha256="0" * 64),
        route=Route(decision=RouteDecision.ASSISTED, rules=(), record_confidence=0.9),
        degraded=False,
        codes=suggested,
        trace_id="0" * 32,
    )
