"""What the gateway allows and for how long it waits."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from serving.gateway.security_settings import SecuritySettings

__all__ = ["AdmissionSettings", "BulkSettings", "GatewaySettings", "JobSettings"]


class AdmissionSettings(BaseModel):
    """How much may be under way at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_requests: Annotated[int, Field(ge=1)] = 64
    """Requests under way at once; no more than the model's queue takes."""
    max_wait_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How long the work under way may take; more waiting makes nothing faster, and everything later."""
    deadline_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Part of a request's own deadline that its estimated answer may take, for the estimate may be wrong; less than
    the primary backend's part, so that waiting alone makes nobody ask the fallback."""
    bulk_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Part of the requests under way that bulk work may make up."""
    bulk_wait_seconds: Annotated[float, Field(gt=0)] = 0.25
    """How long the work under way may take for bulk work to join it: a model at work is not interrupted, so that an
    interactive request waits for what was handed to it before. Enough to keep the model busy."""
    initial_characters_per_second: Annotated[float, Field(gt=0)] = 30_000.0
    """Assumed rate before one is measured; that of two cores. On a quicker machine the first rush teaches it."""
    rate_half_life_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Busy time after which a measured rate has lost half its weight."""


class BulkSettings(BaseModel):
    """How requests are answered that come in a stream."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_streams: Annotated[int, Field(ge=1)] = 8
    """Streams at once; one more is answered with 429."""
    max_under_way: Annotated[int, Field(ge=1)] = 16
    """Lines of one stream that are worked on at once."""
    max_line_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    """Bytes of a line; a longer one is answered with a problem in its place."""
    line_deadline_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How long scoring a line may take once its turn has come."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Attempts at a line while the model server does not answer."""
    progress_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Pause between lines that tell how far the stream is."""
    idle_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How long a client may neither send nor take anything; then the stream ends."""
    max_stream_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """How long a stream may last."""


class JobSettings(BaseModel):
    """How requests are answered that nobody waits for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_items: Annotated[int, Field(ge=1)] = 10_000
    """Requests of one job."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 33_554_432
    """Bytes of a submission."""
    max_under_way: Annotated[int, Field(ge=1)] = 16
    """Items that one gateway works on at once."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Attempts at an item before it is failed."""
    item_deadline_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How long scoring an item may take."""
    poll_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Pause between looks for items that other gateways took in or gave up."""


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
    primary_share_of_deadline: Annotated[float, Field(gt=0, le=1)] = 0.8
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
    drain_seconds: Annotated[float, Field(ge=0)] = 0.0
    """How long a gateway that is to end still answers while it says that it is not ready: as long as a load balancer
    takes to notice. Then requests in flight are finished."""
    follow_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Pause between looks at who the champion is, where the champion is followed."""
    admission: AdmissionSettings = AdmissionSettings()
    """How much may be under way at once."""
    bulk: BulkSettings = BulkSettings()
    """How requests are answered that come in a stream."""
    jobs: JobSettings = JobSettings()
    """How requests are answered that nobody waits for."""
    security: SecuritySettings = SecuritySettings()
    """Whom the gateway believes, how often they may ask, and what bodies it reads."""
