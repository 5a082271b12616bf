"""What the client raises."""

__all__ = ["ConnectionBrokenError", "GatewayError", "GatewayUnreachableError", "RequestRefusedError"]


class GatewayError(ValueError):
    """Base of what the client raises.

    ::

        GatewayError
        ├── GatewayUnreachableError   nobody answers there, or not in time
        │   └── ConnectionBrokenError     the connection ended before the answer did
        └── RequestRefusedError       the gateway answered with a problem
    """


class GatewayUnreachableError(GatewayError):
    """No answer came from the address."""


class ConnectionBrokenError(GatewayUnreachableError):
    """The connection ended before the answer was whole; the request may have been done."""


class RequestRefusedError(GatewayError):
    """The gateway refused the request, and says why and what to do."""

    def __init__(self, *, status: int, title: str, detail: str, remedy: str, retry_after_seconds: float | None) -> None:
        super().__init__(f"{title} ({status}): {detail}. {remedy}")
        self.status = status
        self.title = title
        self.detail = detail
        self.remedy = remedy
        self.retry_after_seconds = retry_after_seconds
        """When to come back, where the gateway says so."""
