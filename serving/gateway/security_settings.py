"""Whom the gateway believes, how often they may ask, and what bodies it reads."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ledger.principals import Role
from serving.gateway.token_keys import TrustedIssuer

__all__ = ["OidcSettings", "SecuritySettings"]


class OidcSettings(BaseModel):
    """People and services whom identity providers vouch for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    issuers: Annotated[tuple[TrustedIssuer, ...], Field(min_length=1)]
    """Identity providers, each with the name it has for this service."""
    role_claim: Annotated[str, Field(min_length=1)]
    """The claim that holds groups or roles; dots lead into nested claims: ``realm_access.roles``."""
    roles: Annotated[Mapping[str, Role], Field(min_length=1)]
    """Role by value of that claim. The first that a token has counts; a token with none is refused."""
    scope_claim: str | None = None
    """The claim that narrows what may be done, in words of this service's scopes; all of the role when null."""
    leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 30.0
    """By how much clocks may differ."""


class SecuritySettings(BaseModel):
    """Keys, tokens, rates and shapes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    requests_per_minute: Annotated[int, Field(ge=1)] = 12_000
    """Requests of one key or person, where the key says nothing else; a sixth of it may come at once."""
    failures_per_minute: Annotated[int, Field(ge=1)] = 60
    """Wrong keys and tokens from one address; more are refused unread."""
    metrics_need_key: bool = False
    """Whether /metrics takes a key with the scope ``operate`` instead of answering anybody."""
    max_json_depth: Annotated[int, Field(ge=8)] = 32
    """Levels of a JSON body."""
    max_json_keys: Annotated[int, Field(ge=100)] = 250_000
    """Names in a JSON body, over all its objects."""
    hsts_seconds: Annotated[int, Field(ge=0)] = 31_536_000
    """How long browsers shall ask over TLS alone; told on answers over TLS only, and not at all when 0."""
    oidc: OidcSettings | None = None
    """Identity providers; keys alone are taken when null."""
