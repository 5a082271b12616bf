"""What an EHR sends by CDS Hooks 2.0. Unknown fields are let be: extensions are part of the specification."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

__all__ = ["CdsFeedback", "CdsRequest", "FeedbackEntry"]

Identifier = Annotated[str, Field(min_length=1, max_length=128)]
MAX_ENTRIES = 500


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FhirAuthorization(_Message):
    """Access to the EHR's FHIR server; this service asks nothing there, and keeps nothing of it."""

    access_token: Annotated[str, Field(max_length=16_384)]


class CdsContext(_Message):
    """What the hook is about; both hooks have the fields of ``encounter-discharge``."""

    userId: Identifier
    patientId: Identifier
    encounterId: Identifier


class CdsRequest(_Message):
    """A call of a service."""

    hook: Identifier
    hookInstance: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    fhirServer: Annotated[str, Field(max_length=2048)] | None = None
    fhirAuthorization: FhirAuthorization | None = None
    context: CdsContext
    prefetch: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _server_is_told(self) -> Self:
        if self.fhirAuthorization is not None and self.fhirServer is None:
            raise ValueError("fhirServer must be given where fhirAuthorization is")
        return self


class _Accepted(_Message):
    id: Identifier


class _Reason(_Message):
    code: Annotated[str, Field(max_length=128)]


class _OverrideReason(_Message):
    reason: _Reason | None = None
    userComment: Annotated[str, Field(max_length=20_000)] | None = None


class FeedbackEntry(_Message):
    """What became of one card."""

    card: Identifier
    outcome: Literal["accepted", "overridden"]
    acceptedSuggestions: Annotated[tuple[_Accepted, ...], Field(max_length=10)] = ()
    overrideReason: _OverrideReason | None = None
    outcomeTimestamp: AwareDatetime

    @property
    def at(self) -> datetime:
        """When, as the EHR tells it."""
        return self.outcomeTimestamp

    @model_validator(mode="after")
    def _accepted_is_told(self) -> Self:
        if self.outcome == "accepted" and not self.acceptedSuggestions:
            raise ValueError("acceptedSuggestions must name a suggestion where outcome is accepted")
        return self


class CdsFeedback(_Message):
    """What became of some cards."""

    feedback: Annotated[tuple[FeedbackEntry, ...], Field(min_length=1, max_length=MAX_ENTRIES)]
