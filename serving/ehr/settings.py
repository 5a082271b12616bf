"""How an EHR is connected. It does not know what is done with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clinical_coding.decisions import ReasonCode
from serving.gateway.token_keys import Algorithm, TrustedIssuer

__all__ = ["CdsClient", "EhrSettings"]

_MAX_LIFETIME_SECONDS: Final = 3600.0


class CdsClient(BaseModel):
    """An EHR that calls the CDS services, with tokens that it signs itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    issuer: Annotated[str, Field(min_length=1, max_length=512)]
    """The claim ``iss`` of its tokens, to the letter."""
    principal: Annotated[str, Field(min_length=1, max_length=128)]
    """Name of the service principal that it acts as, which exists already."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("ES384", "RS384")
    """Signatures that are taken."""
    jwks_file: Path | None = None
    """Its public keys as a JSON Web Key Set; this or ``jwks_url``."""
    jwks_url: Annotated[str, Field(max_length=2048)] | None = None
    """Where it tells them. A token's ``jku`` is never followed."""

    def trusted(self, *, audience: str) -> TrustedIssuer:
        """Describe it to the one who checks tokens.

        Args:
            audience: The URL that was called.
        """
        return TrustedIssuer(
            issuer=self.issuer,
            audience=audience,
            algorithms=self.algorithms,
            jwks_file=self.jwks_file,
            jwks_url=self.jwks_url,
            max_lifetime_seconds=_MAX_LIFETIME_SECONDS,
        )

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        self.trusted(audience="any")
        return self


class EhrSettings(BaseModel):
    """Who may call, and how codes of the EHR are read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    public_url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+[^\s?#/]$")] = "http://127.0.0.1:8080"
    """Base URL by which EHRs reach this service; tokens name it in ``aud``."""
    cds_clients: tuple[CdsClient, ...] = ()
    """EHRs that may call the CDS services; without any every call is refused."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the CDS services from a browser; none when empty."""
    evidence_url: Annotated[str, Field(pattern=r"^https://[^\s]+$")] | None = None
    """Page that a card links to; ``{suggestion_id}`` stands for the suggestion. No link when null."""
    override_reason: ReasonCode = "reason-not-told"
    """Reason of a decision where the EHR told none: CDS Hooks does not require one."""
    specialties: Mapping[str, str] = {}
    """Specialty by the code or text of ``Encounter.serviceType``; what is not named goes by its text."""

    @model_validator(mode="after")
    def _distinct_issuers(self) -> Self:
        if len({client.issuer for client in self.cds_clients}) != len(self.cds_clients):
            raise ValueError("cds_clients name an issuer twice; name each once")
        return self
