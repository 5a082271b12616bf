"""What the gateway allows and for how long it waits."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GatewaySettings"]


class GatewaySettings(BaseModel):
    """Limits and times of the gateway."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_note_characters: Annotated[int, Field(ge=1)] = 100_000
    """Characters over all notes of one request; more is answered with 413."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    """Bytes of a request's body; ample for the characters above, escaped as JSON."""
    body_timeout_seconds: Annotated[float, Field(gt=0)] = 15.0
    """How long a client may take to send its body; longer is answered with 408."""
    deadline_seconds: Annotated[float, Field(gt=0)] = 10.0
    """How long scoring may take, fallback included; longer is answered with 504."""
    primary_share_of_deadline: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Part of the deadline that the primary backend has; the rest is the fallback's, when there is one."""
    failures_to_open: Annotated[int, Field(ge=1)] = 2
    """Failures in a row after which the primary backend is passed over."""
    probe_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Pause between canaries to a primary backend that is passed over; also the Retry-After of a 503."""
    canary_timeout_seconds: Annotated[float, Field(gt=0)] = 3.0
    """How long a canary inference may take."""
    canary_cache_seconds: Annotated[float, Field(ge=0)] = 1.0
    """How long a canary's result, or a real answer, stands for readiness."""
    key_cache_seconds: Annotated[float, Field(ge=0)] = 2.0
    """How long a key that was right is believed without asking the database; bounds a revocation's delay."""
    follow_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Pause between looks at who the champion is, where the champion is followed."""
