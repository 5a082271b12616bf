"""What every route may answer beside its own, told in the OpenAPI document in one place.

Layers in front of the routes answer too: for keys, rates, bodies and failures. It does not know what a route does.
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from serving.gateway.access import Access
from serving.gateway.examples import problem_responses
from serving.gateway.problems import MEDIA_TYPE

__all__ = ["document_problems"]

_GUARD: Final = ("no-key", "wrong-key", "wrong-token", "wrong-role", "wrong-scope", "forbidden", "rate-limited")
_STORED: Final = ("unknown-id", "conflict", "purged", "claim-lost")
_BODY: Final = ("malformed-body", "slow-body", "too-large", "wrong-media-type")
_ANY: Final = ("too-large", "slow-body", "invalid-request", "no-database")
_FHIR_PREFIX: Final = "/v1/fhir/"
_FHIR: Final = "application/fhir+json"
_SCHEMA: Final = {"$ref": "#/components/schemas/Problem"}


def document_problems(app: FastAPI, *, lines: Mapping[tuple[str, str], Access]) -> None:
    """Let the application's document tell all problems of all routes.

    Args:
        app: With all its routes.
        lines: The access table.
    """
    make = app.openapi

    def openapi() -> dict[str, Any]:
        is_new = app.openapi_schema is None
        document = make()
        if is_new:
            for route, operations in document["paths"].items():
                for method, operation in operations.items():
                    _complete(operation, access=lines[method.upper(), route])
                    if route.startswith(_FHIR_PREFIX):
                        _add_outcomes(operation)
        return document

    # The way that FastAPI documents for changing it.
    app.openapi = openapi  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], *, access: Access) -> None:
    kinds = [*_ANY]
    if not (access.is_open or access.checks_itself):
        # Fields of bodies and queries name what is stored too.
        kinds += [*_GUARD, *_STORED]
    if "requestBody" in operation:
        kinds += _BODY
    responses = operation["responses"]
    for status, told in problem_responses(*kinds).items():
        content = told["content"][MEDIA_TYPE] | {"schema": _SCHEMA}
        mine = responses.setdefault(str(status), {"description": told["description"], "content": {}})
        if status == 422:
            # FastAPI's own form of telling wrong fields, which is not answered here.
            mine["content"].pop("application/json", None)
        known = mine.setdefault("content", {}).setdefault(MEDIA_TYPE, content)
        known["schema"] = _SCHEMA
        known["examples"] = {**content["examples"], **known.get("examples", {})}


def _add_outcomes(operation: dict[str, Any]) -> None:
    # Routes that speak FHIR tell their own problems as an OperationOutcome; the layers in front do not.
    for status, told in operation["responses"].items():
        if int(status) >= 400:
            told["content"].setdefault(_FHIR, {"schema": {"type": "object"}})
