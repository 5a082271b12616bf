"""Codes written as FHIR R4 resources: Conditions, Procedures, a Claim, and the Provenance of all (after stages 7, 8).

Made through the library's models, so that what leaves is valid. It knows no database and no HTTP.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from fhir.resources.R4B.bundle import Bundle

from clinical_coding.codes import CodeSystem
from clinical_coding.records import Setting
from clinical_coding.suggestions import RouteDecision, Suggestion, SuggestionRequest
from serving.ehr.fhir_systems import SYSTEM_URIS, THO

__all__ = ["Decided", "StandingCode", "code_resource", "shown_codes", "write_bundle"]

_CONFIDENCE: Final = "urn:chartloop:confidence"
_PARTICIPANT: Final = f"{THO}provenance-participant-type"
_WITHHELD: Final = "This encounter is coded by a person without suggestions: no codes are told."
_UNDECIDED: Final = "Nobody has decided on these codes yet."


@dataclass(frozen=True, slots=True)
class StandingCode:
    """A code to write."""

    system: CodeSystem
    code: str
    description: str | None
    confidence: float | None
    """Null for a code that a person brought in."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Who decided, and what stands."""

    principal_id: str
    principal_name: str
    decided_at: datetime
    codes: tuple[StandingCode, ...]


def shown_codes(suggestion: Suggestion) -> tuple[StandingCode, ...]:
    """The codes that a suggestion shows, best first; none on the manual route."""
    if suggestion.route.decision is RouteDecision.MANUAL:
        return ()
    return tuple(StandingCode(code.system, code.code, code.description, code.confidence) for code in suggestion.codes)


def write_bundle(asked: SuggestionRequest, suggestion: Suggestion, *, decided: Decided | None = None) -> str:
    """Write what is suggested, or what was decided, as a Bundle in JSON.

    Args:
        asked: What was asked; its ids are the references.
        suggestion: The whole suggestion.
        decided: The decision that ended it; None while there is none.
    """
    codes = shown_codes(suggestion) if decided is None else decided.codes
    entries = [
        _entry(suggestion, _key(code), code_resource(asked, code, is_final=decided is not None)) for code in codes
    ]
    if codes:
        entries.append(_entry(suggestion, "claim", _claim(asked, codes, made_at=_moment(decided))))
    notices = _notices(suggestion, decided=decided)
    if notices:
        entries.append(_entry(suggestion, "outcome", {"resourceType": "OperationOutcome", "issue": notices}))
    targets = [{"reference": entry["fullUrl"]} for entry in entries]
    entries.append(_entry(suggestion, "provenance", _provenance(suggestion, targets=targets, decided=decided)))
    bundle = {
        "resourceType": "Bundle",
        "id": suggestion.suggestion_id,
        "type": "collection",
        "timestamp": _moment(decided),
        "entry": entries,
    }
    return Bundle.model_validate(bundle).model_dump_json(exclude_none=True)


def code_resource(asked: SuggestionRequest, code: StandingCode, *, is_final: bool) -> dict[str, Any]:
    """Write one code: a diagnosis as a Condition, anything else as a Procedure."""
    shared: dict[str, Any] = {"code": _concept(code), "subject": _patient(asked), "encounter": _encounter(asked)}
    if code.confidence is not None:
        shared["extension"] = [{"url": _CONFIDENCE, "valueDecimal": round(code.confidence, 4)}]
    if code.system is not CodeSystem.ICD10CM:
        # The notes tell what was done; until a person agrees, whether it was is not known.
        return {"resourceType": "Procedure", "status": "completed" if is_final else "unknown", **shared}
    return {
        "resourceType": "Condition",
        "verificationStatus": _coded("condition-ver-status", "confirmed" if is_final else "provisional"),
        "category": [_coded("condition-category", "encounter-diagnosis")],
        **shared,
    }


def _claim(asked: SuggestionRequest, codes: Sequence[StandingCode], *, made_at: str) -> dict[str, Any]:
    diagnoses = [code for code in codes if code.system is CodeSystem.ICD10CM]
    procedures = [code for code in codes if code.system is CodeSystem.ICD10PCS]
    services = [code for code in codes if code.system in (CodeSystem.CPT, CodeSystem.HCPCS)]
    is_institutional = asked.encounter.setting is Setting.INPATIENT
    claim: dict[str, Any] = {
        "resourceType": "Claim",
        # Never more than a draft: whoever bills makes it a claim.
        "status": "draft",
        "type": _coded("claim-type", "institutional" if is_institutional else "professional"),
        "use": "claim",
        "patient": _patient(asked),
        "created": made_at,
        "provider": _named("Practitioner", asked.encounter.provider_id),
        "priority": _coded("processpriority", "normal"),
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": asked.encounter.payer or "not told"}}],
    }
    if diagnoses:
        claim["diagnosis"] = [
            {"sequence": number, "diagnosisCodeableConcept": _concept(code)}
            for number, code in enumerate(diagnoses, start=1)
        ]
    if procedures:
        claim["procedure"] = [
            {"sequence": number, "procedureCodeableConcept": _concept(code)}
            for number, code in enumerate(procedures, start=1)
        ]
    if services:
        # Which diagnosis a service was for is the biller's to say, so no item points at one.
        claim["item"] = [
            {"sequence": number, "productOrService": _concept(code), "encounter": [_encounter(asked)]}
            for number, code in enumerate(services, start=1)
        ]
    return claim


def _provenance(suggestion: Suggestion, *, targets: list[dict[str, Any]], decided: Decided | None) -> dict[str, Any]:
    version = suggestion.version
    named = f"{version.name} version {version.number}" if version.number is not None else version.name
    model = {
        "type": _coded_at(_PARTICIPANT, "assembler"),
        "who": {
            "display": named,
            "identifier": {"system": "urn:chartloop:bundle-sha256", "value": version.bundle_sha256},
        },
    }
    agents = [model]
    if decided is not None:
        human = {
            "display": decided.principal_name,
            "identifier": {"system": "urn:chartloop:principal", "value": decided.principal_id},
        }
        agents.append({"type": _coded_at(_PARTICIPANT, "verifier"), "who": human})
    suggested = {"identifier": {"system": "urn:chartloop:suggestion", "value": suggestion.suggestion_id}}
    return {
        "resourceType": "Provenance",
        "target": targets or [suggested],
        "recorded": _moment(decided),
        "agent": agents,
        "entity": [{"role": "source", "what": suggested}],
    }


def _notices(suggestion: Suggestion, *, decided: Decided | None) -> list[dict[str, Any]]:
    if decided is not None:
        return []
    is_manual = suggestion.route.decision is RouteDecision.MANUAL
    text = _WITHHELD if is_manual else _UNDECIDED
    route = {"text": f"route {suggestion.route.decision.value}: {', '.join(suggestion.route.rules) or 'no rule'}"}
    notices: list[dict[str, Any]] = [
        {"severity": "information", "code": "informational", "details": route, "diagnostics": text}
    ]
    if is_manual:
        return notices
    for finding in suggestion.findings:
        severity = {"info": "information", "warning": "warning", "blocking": "error"}[finding.severity.value]
        details = {"text": finding.rule}
        notices.append(
            {"severity": severity, "code": "business-rule", "details": details, "diagnostics": finding.explanation}
        )
    return notices


def _entry(suggestion: Suggestion, name: str, resource: dict[str, Any]) -> dict[str, Any]:
    # The same whenever it is asked for, so that an EHR can tell a repetition.
    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:chartloop:{suggestion.suggestion_id}:{name}"))
    return {"fullUrl": f"urn:uuid:{identifier}", "resource": {"id": identifier, **resource}}


def _key(code: StandingCode) -> str:
    return f"{code.system}:{code.code}"


def _concept(code: StandingCode) -> dict[str, Any]:
    coding = {"system": SYSTEM_URIS[code.system], "code": code.code}
    return {"coding": [coding | ({} if code.description is None else {"display": code.description})]}


def _coded(system: str, code: str) -> dict[str, Any]:
    return _coded_at(f"{THO}{system}", code)


def _coded_at(uri: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": uri, "code": code}]}


def _patient(asked: SuggestionRequest) -> dict[str, Any]:
    return _named("Patient", asked.patient_id)


def _encounter(asked: SuggestionRequest) -> dict[str, Any]:
    return _named("Encounter", asked.record_id)


def _named(kind: str, identifier: str | None) -> dict[str, Any]:
    return {"display": "not told"} if identifier is None else {"reference": f"{kind}/{identifier}"}


def _moment(decided: Decided | None) -> str:
    return (datetime.now(UTC) if decided is None else decided.decided_at).isoformat(timespec="seconds")
