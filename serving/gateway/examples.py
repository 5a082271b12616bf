"""Examples and error descriptions that ``/docs`` shows. All clinical text here is invented."""

import json
from typing import Any, Final

from serving.gateway.problems import KINDS, MEDIA_TYPE, TYPE_PREFIX, Problem

__all__ = [
    "BULK_ANSWER_EXAMPLE",
    "BULK_EXAMPLE",
    "JOB_EXAMPLE",
    "JOB_RESULTS_EXAMPLE",
    "REQUEST_EXAMPLES",
    "SUGGESTION_EXAMPLE",
    "problem_responses",
]

_NOTE: Final = "Seen for follow-up of essential hypertension. Denies chest pain. Continue lisinopril."

REQUEST_EXAMPLES: Final[dict[str, Any]] = {
    "outpatient": {
        "summary": "One note of an outpatient visit",
        "value": {
            "record_id": "visit-1",
            "encounter": {"setting": "outpatient", "specialty": "cardiology", "complexity": "low"},
            "notes": [{"note_id": "n1", "type": "progress-note", "text": _NOTE}],
        },
    },
    "inpatient": {
        "summary": "An inpatient stay with two notes",
        "value": {
            "record_id": "stay-1",
            "encounter": {
                "setting": "inpatient",
                "specialty": "cardiology",
                "service_start": "2026-05-01",
                "service_end": "2026-05-04",
                "age": 71,
                "sex": "F",
            },
            "notes": [
                {"note_id": "n1", "type": "admission-note", "text": "Admitted with chest pain. NSTEMI confirmed."},
                {"note_id": "n2", "type": "discharge-summary", "text": "NSTEMI, treated. Type 2 diabetes mellitus."},
            ],
        },
    },
}

SUGGESTION_EXAMPLE: Final[dict[str, Any]] = {
    "schema_version": 1,
    "suggestion_id": "01930000-0000-7000-8000-000000000001",
    "version": {"name": "clinical-coder", "number": 7, "alias": "champion", "bundle_sha256": "0" * 64},
    "route": {"decision": "assisted", "rules": ["confidence-below-threshold"], "record_confidence": 0.91},
    "degraded": False,
    "codes": [
        {
            "system": "icd10cm",
            "code": "I10",
            "description": "Essential (primary) hypertension",
            "confidence": 0.91,
            "rank": 1,
            "evidence": [{"note_id": "n1", "start": 22, "end": 44, "text": _NOTE[22:44]}],
            "alternatives": [
                {"system": "icd10cm", "code": "I11.9", "description": "Hypertensive heart disease", "confidence": 0.06}
            ],
        }
    ],
    "findings": [
        {
            "rule": "uncertain-outpatient",
            "severity": "warning",
            "codes": ["icd10cm:J18.9"],
            "explanation": "Outside hospital stays an uncertain diagnosis is not coded.",
            "source": "ICD-10-CM Official Guidelines FY 2026, IV.H",
            "fix": "Code the sign or symptom instead.",
            "evidence": [],
        }
    ],
    "queries": [],
    "grouping": None,
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "latency": {"admitted_ms": 0.6, "queued_ms": 12.5, "model_ms": 61.2, "review_ms": 7.9, "total_ms": 82.2},
}

BULK_EXAMPLE: Final = "".join(f"{json.dumps(example['value'])}\n" for example in REQUEST_EXAMPLES.values())
BULK_ANSWER_EXAMPLE: Final = "".join(
    f"{json.dumps(line)}\n"
    for line in (
        {"line": 1, "record_id": "visit-1", "suggestion": SUGGESTION_EXAMPLE},
        {"progress": {"read": 1, "answered": 1, "failed": 0}, "complete": True},
    )
)
JOB_EXAMPLE: Final[dict[str, Any]] = {
    "job_id": "01930000-0000-7000-8000-000000000002",
    "state": "running",
    "created_at": "2026-05-04T08:00:00Z",
    "finished_at": None,
    "num_items": 2,
    "num_waiting": 1,
    "num_answered": 1,
    "num_failed": 0,
    "num_cancelled": 0,
}
JOB_RESULTS_EXAMPLE: Final = f"{json.dumps({'line': 1, 'record_id': 'visit-1', 'suggestion': SUGGESTION_EXAMPLE})}\n"


def problem_responses(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that an endpoint may answer, for OpenAPI.

    Args:
        *kinds: Keys of ``serving.gateway.problems.KINDS``.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for name in kinds:
        kind = KINDS[name]
        response = responses.setdefault(
            kind.status,
            {"model": Problem, "description": kind.title, "content": {MEDIA_TYPE: {"examples": {}}}},
        )
        problem = {"type": TYPE_PREFIX + name, "title": kind.title, "status": kind.status, "remedy": kind.remedy}
        response["content"][MEDIA_TYPE]["examples"][name] = {"value": problem | {"detail": "…", "trace_id": "…"}}
    return responses
