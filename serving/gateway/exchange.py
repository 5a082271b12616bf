"""What is known of one request while it passes through the gateway."""

import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.principals import Principal

__all__ = ["API_PREFIX", "Exchange", "exchange_of", "open_exchange"]

API_PREFIX: Final = "/v1/"
_KEY: Final = "chartloop.exchange"
# Version, trace id, parent id, flags; all-zero ids are void (W3C Trace Context, section 3.2.2).
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@dataclass(slots=True)
class Exchange:
    """One request and its answer, apart from their contents."""

    trace_id: str
    principal: Principal | None = None
    """Who asks; None until a key was accepted."""
    facts: dict[str, int | float | str | bool] = field(default_factory=dict)
    """Counts, ids and choices for the log line; never text of a note."""


def open_exchange(scope: MutableMapping[str, Any]) -> Exchange:
    """Begin: take the trace id of the caller's ``traceparent`` header, or make one."""
    header = dict(scope["headers"]).get(b"traceparent", b"")
    match = _TRACEPARENT.fullmatch(header)
    exchange = Exchange(trace_id=match[1].decode() if match else secrets.token_hex(16))
    scope[_KEY] = exchange
    return exchange


def exchange_of(scope: MutableMapping[str, Any]) -> Exchange:
    """The exchange of a request that ``open_exchange`` began."""
    exchange: Exchange = scope[_KEY]
    return exchange
