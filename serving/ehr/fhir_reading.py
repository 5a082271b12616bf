"""FHIR R4 resources read as a request for a suggestion (before stage 7).

The library's R4B models read R4: for the resources used here the two differ in no element. It does not
know HTTP, nor where a resource comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from fhir.resources.R4B.binary import Binary
from fhir.resources.R4B.coverage import Coverage
from fhir.resources.R4B.documentreference import DocumentReference
from fhir.resources.R4B.encounter import Encounter as FhirEncounter
from fhir.resources.R4B.patient import Patient
from fhir.resources.R4B.reference import Reference
from fhir.resources.R4B.resource import Resource
from pydantic import ValidationError

from clinical_coding.artefact import new_id
from clinical_coding.records import Encounter, Note, Setting
from clinical_coding.suggestions import SuggestionRequest
from serving.ehr.fhir_notes import read_note, refuse, slug, words_of
from serving.ehr.fhir_systems import SETTINGS, SEXES
from serving.gateway.problems import describe_validation

__all__ = ["Chart", "read_chart", "read_request"]

_UNSPECIFIED: Final = "unspecified"
_KNOWN: Final[Mapping[str, type[Resource]]] = {
    "Binary": Binary,
    "Coverage": Coverage,
    "DocumentReference": DocumentReference,
    "Encounter": FhirEncounter,
    "Patient": Patient,
}


@dataclass(slots=True)
class Chart:
    """The resources of one encounter, as far as they are read."""

    encounter: FhirEncounter | None = None
    encounter_field: str = "Encounter"
    patient: Patient | None = None
    coverage: Coverage | None = None
    documents: list[tuple[str, DocumentReference]] = field(default_factory=list)
    """Each with the place where it was."""
    binaries: dict[str, Binary] = field(default_factory=dict)

    def add(self, resource: Any, *, field: str, full_url: str | None = None) -> None:
        """Take in a resource as JSON; bundles with all that is in them, unknown types not.

        Raises:
            ProblemError: It is not as FHIR has it, or there are two encounters or patients.
        """
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if not isinstance(kind, str):
            raise refuse(f"{field}.resourceType", "is missing; send FHIR R4 resources")
        if kind == "Bundle":
            self._add_bundle(resource, field=field)
        elif kind in _KNOWN:
            for number, contained in enumerate(_list(resource.get("contained"))):
                if isinstance(contained, dict) and contained.get("resourceType") == "Encounter":
                    self.add(contained, field=f"{field}.contained.{number}")
            self._take(_parse(_KNOWN[kind], resource, field=field), field=field, full_url=full_url)

    def _add_bundle(self, bundle: dict[str, Any], *, field: str) -> None:
        for number, entry in enumerate(_list(bundle.get("entry"))):
            place = f"{field}.entry.{number}"
            if not isinstance(entry, dict):
                raise refuse(place, "is no entry of a Bundle")
            inner = entry.get("resource")
            if isinstance(inner, dict) and inner.get("resourceType") == "Bundle":
                raise refuse(f"{place}.resource", "is a Bundle in a Bundle; send one Bundle")
            full_url = entry.get("fullUrl")
            self.add(inner, field=f"{place}.resource", full_url=full_url if isinstance(full_url, str) else None)

    def _take(self, resource: Resource, *, field: str, full_url: str | None) -> None:
        match resource:
            case FhirEncounter():
                if self.encounter is not None:
                    raise refuse(field, "is a second Encounter; send the resources of one encounter")
                self.encounter, self.encounter_field = resource, field
            case Patient():
                if self.patient is not None:
                    raise refuse(field, "is a second Patient; send the resources of one patient")
                self.patient = resource
            case Coverage():
                self.coverage = self.coverage or resource
            case DocumentReference():
                self.documents.append((field, resource))
            case Binary():
                for name in (full_url, f"Binary/{resource.id}"):
                    if name is not None:
                        self.binaries[name] = resource


def read_chart(resource: Mapping[str, Any]) -> Chart:
    """Read a Bundle, or a single DocumentReference.

    Raises:
        ProblemError: It is something else, or not as FHIR has it.
    """
    kind = resource.get("resourceType")
    if kind not in ("Bundle", "DocumentReference"):
        raise refuse("resourceType", "must be Bundle or DocumentReference")
    chart = Chart()
    chart.add(resource, field=str(kind))
    return chart


def read_request(
    chart: Chart,
    *,
    specialties: Mapping[str, str],
    setting: Setting | None = None,
    specialty: str | None = None,
) -> SuggestionRequest:
    """Turn a chart into a request.

    Args:
        chart: All that came.
        specialties: Specialty by code or text of ``Encounter.serviceType``.
        setting: Stands in where there is no Encounter.
        specialty: Stands in where no resource tells one.

    Raises:
        ProblemError: There is no text, no setting, or an element that cannot be used.
    """
    notes = _read_notes(chart)
    encounter = chart.encounter
    told = _specialty(chart, specialties=specialties)
    start, end = _period(encounter)
    try:
        return SuggestionRequest(
            record_id=_record_id(chart),
            patient_id=_patient_id(chart),
            encounter=Encounter(
                setting=_setting(chart, stands_in=setting),
                specialty=told or specialty or _UNSPECIFIED,
                payer=_payer(chart.coverage),
                provider_id=_provider(encounter),
                facility_id=_reference(None if encounter is None else encounter.serviceProvider),
                service_start=start,
                service_end=end,
                age=_age(chart.patient, on=start),
                sex=None if chart.patient is None else SEXES.get(chart.patient.gender or ""),
            ),
            notes=notes,
        )
    except ValidationError as error:
        raise describe_validation(error.errors(include_url=False, include_input=False)) from None


def _parse(kind: type[Resource], resource: dict[str, Any], *, field: str) -> Resource:
    try:
        return kind.model_validate(resource)
    except ValidationError as error:
        # The library's own messages quote what was sent.
        faults = [
            {**fault, "loc": (*field.split("."), *fault["loc"]), "msg": f"is not as FHIR R4 has it ({fault['type']})"}
            for fault in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise describe_validation(faults) from None
    except (ValueError, TypeError, RecursionError):
        raise refuse(field, "is not as FHIR R4 has it") from None


def _read_notes(chart: Chart) -> tuple[Note, ...]:
    if not chart.documents:
        raise refuse("DocumentReference", "is missing; send the notes of the encounter as DocumentReferences")
    read = [
        read_note(document, binaries=chart.binaries, field=place, number=number)
        for number, (place, document) in enumerate(chart.documents, start=1)
    ]
    notes = tuple(note for note in read if note is not None)
    if not notes:
        raise refuse("DocumentReference.status", "is superseded or entered-in-error in each; send a current one")
    return notes


def _setting(chart: Chart, *, stands_in: Setting | None) -> Setting:
    if chart.encounter is None:
        if stands_in is None:
            message = "is missing; send the Encounter, or the query parameter setting"
            raise refuse("Encounter", message)
        return stands_in
    found = SETTINGS.get(chart.encounter.class_fhir.code or "")
    if found is None:
        message = f"is none that is coded here; expected one of {', '.join(SETTINGS)}"
        raise refuse(f"{chart.encounter_field}.class.code", message)
    return found


def _specialty(chart: Chart, *, specialties: Mapping[str, str]) -> str | None:
    concepts = [chart.encounter.serviceType] if chart.encounter is not None else []
    concepts += [doc.context.practiceSetting for _, doc in chart.documents if doc.context is not None]
    for concept in concepts:
        if concept is None:
            continue
        named = [concept.text, *(part for coding in concept.coding or [] for part in (coding.code, coding.display))]
        mapped = next((specialties[name] for name in named if name is not None and name in specialties), None)
        words = words_of(concept)
        if mapped or words:
            return mapped or slug(words or "")
    return None


def _period(encounter: FhirEncounter | None) -> tuple[date | None, date | None]:
    if encounter is None or encounter.period is None:
        return None, None
    return _day(encounter.period.start), _day(encounter.period.end)


def _day(moment: datetime | date | None) -> date | None:
    # The day where the encounter was, whatever the zone here.
    return moment.date() if isinstance(moment, datetime) else moment


def _age(patient: Patient | None, *, on: date | None) -> int | None:
    born = None if patient is None else patient.birthDate
    # A year alone is no date of birth.
    if on is None or not isinstance(born, date):
        return None
    years = on.year - born.year - ((on.month, on.day) < (born.month, born.day))
    return years if 0 <= years <= 130 else None


def _record_id(chart: Chart) -> str:
    if chart.encounter is not None and chart.encounter.id:
        return str(chart.encounter.id)
    for _, document in chart.documents:
        linked: Sequence[Reference] = (document.context.encounter or []) if document.context is not None else []
        for reference in linked:
            named = _reference(reference)
            if named is not None and not named.startswith("#"):
                return named
    return new_id()


def _patient_id(chart: Chart) -> str | None:
    if chart.patient is not None and chart.patient.id:
        return str(chart.patient.id)
    subjects = [None if chart.encounter is None else chart.encounter.subject]
    subjects += [document.subject for _, document in chart.documents]
    return next((named for named in map(_reference, subjects) if named), None)


def _provider(encounter: FhirEncounter | None) -> str | None:
    taking_part = [] if encounter is None else encounter.participant or []
    return next((named for named in (_reference(one.individual) for one in taking_part) if named), None)


def _payer(coverage: Coverage | None) -> str | None:
    for payer in [] if coverage is None else coverage.payor or []:
        if payer.display and slug(payer.display):
            return slug(payer.display)
    return next((named for named in map(_reference, [] if coverage is None else coverage.payor or []) if named), None)


def _reference(reference: Reference | None) -> str | None:
    """The id that a reference names, without type and server."""
    if reference is None or not reference.reference:
        return None
    return str(reference.reference).partition("/_history")[0].rstrip("/").split("/")[-1][:128] or None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
