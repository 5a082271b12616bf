"""The typed client of the gateway, which ``chartloop suggest``, ``decide`` and ``jobs`` use."""

from serving.client.answered_line import AnsweredLine
from serving.client.connection import Patience
from serving.client.errors import ConnectionBrokenError, GatewayError, GatewayUnreachableError, RequestRefusedError
from serving.client.gateway_client import Client

__all__ = [
    "AnsweredLine",
    "Client",
    "ConnectionBrokenError",
    "GatewayError",
    "GatewayUnreachableError",
    "Patience",
    "RequestRefusedError",
]
