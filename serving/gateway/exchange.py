"""What is known of one request while it passes through the gateway."""

import re
import secrets
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ledger.principals import Principal

if TYPE_CHECKING:
    from serving.gateway.access import Place
    from serving.gateway.admission import Ticket

__all__ = ["API_PREFIX", "Exchange", "exchange_of", "open_exchange"]

API_PREFIX: Final = "/v1/"
_KEY: Final = "chartloop.exchange"
_SAMPLED: Final = 0x01
# Version, trace id, parent id, flags; all-zero ids are void (W3C Trace Context, section 3.2.2).
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


@dataclass(slots=True)
class Exchange:
    """One request and its answer, apart from their contents."""

    trace_id: str
    principal: Principal | None = None
    """Who asks; None until a key was accepted."""
    place: "Place | None" = None
    """The route that it goes to, with its line of the access table; None where no route answers."""
    arrived_at: float = field(default_factory=time.monotonic)
    """When its first bytes were here, on the monotonic clock."""
    give_up_at: float | None = None
    """When nobody waits for the answer any more, on the same clock; None where the sender did not say."""
    ticket: "Ticket | None" = None
    """Its place among the work under way, where it was let in before its body was read."""
    parent_id: str | None = None
    """The caller's span, 16 hexadecimal digits; None where the caller sent no ``traceparent``."""
    is_sampled: bool = False
    """Whether the caller records that span."""
    problem: str | None = None
    """Kind of the problem that was answered, if one was."""
    facts: dict[str, int | float | str | bool] = field(default_factory=dict)
    """Counts, ids and choices for the log line; never text of a note."""


def open_exchange(scope: MutableMapping[str, Any]) -> Exchange:
    """Begin: take the trace id of the caller's ``traceparent`` header, or make one."""
    header = dict(scope["headers"]).get(b"traceparent", b"")
    match = _TRACEPARENT.fullmatch(header)
    exchange = Exchange(trace_id=match[1].decode() if match else secrets.token_hex(16))
    if match:
        exchange.parent_id = match[2].decode()
        exchange.is_sampled = bool(int(match[3], 16) & _SAMPLED)
    scope[_KEY] = exchange
    return exchange


def exchange_of(scope: MutableMapping[str, Any]) -> Exchange:
    """The exchange of a request that ``open_exchange`` began."""
    exchange: Exchange = scope[_KEY]
    return exchange
