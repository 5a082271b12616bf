"""Asks a running gateway what its OpenAPI document allows, and what it does not, many times (stage 7).

Schemathesis makes the requests from the document. An answer is a failure when it is a server's error other than
one that is documented with a wait, or has a status, media type or body that the document does not tell.

Usage: ``python -m scripts.fuzz_api --url http://127.0.0.1:8080 --key KEY --key KEY --examples 2000``, with
keys of different roles, which take turns.
"""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Annotated, Any, Final, cast

import httpx
import typer
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable

__all__ = ["Report", "fuzz", "main"]

_SEED: Final = 2026
_WAIT: Final = (429, 503)
_TIMEOUT_HEADER: Final = "x-request-timeout-ms"
_SUPPRESSED: Final = tuple(HealthCheck)
Send = Callable[..., Any]


@dataclass(slots=True)
class Report:
    """What came of it."""

    num_examples: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[str, int] = field(default_factory=dict)
    """How often, by route and what was wrong."""

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return {
            "examples": self.num_examples,
            "statuses": {str(status): number for status, number in sorted(self.statuses.items())},
            "failures": self.failures,
        }


def fuzz(document: Mapping[str, Any], *, send: Send, keys: Sequence[str], num_examples: int) -> Report:
    """Ask, in all, at least so many times, each operation as often as any other.

    Args:
        document: OpenAPI.
        send: Sends a request, as ``httpx.Client.request`` does.
        keys: Of different roles; they take turns, and one request in so many has none.
        num_examples: How many times in all.
    """
    with warnings.catch_warnings():
        # The libraries' own.
        warnings.simplefilter("ignore")
        import schemathesis
        from schemathesis import GenerationMode

        schema = schemathesis.openapi.from_dict(dict(document))
        operations = [cast("Any", result).ok() for result in schema.get_all_operations()]
        report, turns = Report(), cycle([*keys, None])
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        rounds = count(_SEED)
        while (missing := num_examples - report.num_examples) > 0:
            # Operations without parameters are asked less often, so that one round may not do.
            each, number = -(-missing // (len(operations) * len(modes))), next(rounds)
            for operation in operations:
                for mode in modes:
                    _ask(
                        operation,
                        mode=mode,
                        num_examples=each,
                        number=number,
                        send=send,
                        turns=turns,
                        report=report,
                    )
    return report


def _ask(
    operation: Any,
    *,
    mode: Any,
    num_examples: int,
    number: int,
    send: Send,
    turns: Iterator[str | None],
    report: Report,
) -> None:
    from schemathesis.errors import SchemathesisError

    @seed(number)
    @settings(
        max_examples=num_examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=_SUPPRESSED,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        _try(case, send=send, key=next(turns), report=report)

    try:
        ask()
    except (SchemathesisError, Unsatisfiable):
        # An operation without parameters can be asked in no wrong way.
        return


def _try(case: Any, *, send: Send, key: str | None, report: Report) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.core.failures import Failure, FailureGroup
    from schemathesis.specs.openapi import checks

    request = case.as_transport_kwargs(base_url="http://testserver")
    request["headers"] = {
        name: value for name, value in dict(request["headers"]).items() if name.lower() != "authorization"
    }
    if key is not None:
        request["headers"]["Authorization"] = f"Bearer {key}"
    request["url"] = request["url"].removeprefix("http://testserver")
    answer = send(**{name: value for name, value in request.items() if value is not None})
    report.num_examples += 1
    report.statuses[answer.status_code] += 1
    wanted = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
    names = {name.lower() for name in request["headers"]}
    # A deadline of some milliseconds is asked for too, and is kept to.
    if answer.status_code not in _WAIT and not (answer.status_code == 504 and _TIMEOUT_HEADER in names):
        wanted.append(not_a_server_error)
    try:
        case.validate_response(answer, checks=wanted)
    except (FailureGroup, Failure) as error:
        for failure in getattr(error, "exceptions", [error]):
            name = f"{case.method} {case.operation.path} {answer.status_code}: {failure.title}"
            report.failures[name] = report.failures.get(name, 0) + 1


def main(
    url: Annotated[str, typer.Option("--url", help="Of a running gateway.")],
    key: Annotated[list[str], typer.Option("--key", help="Keys of different roles, once for each.")],
    examples: Annotated[int, typer.Option("--examples", help="Requests in all.", min=1)] = 2000,
    out: Annotated[Path | None, typer.Option("--out", help="Where the record goes, as JSON.")] = None,
) -> None:
    """Ask, tell what came of it, and exit with 1 if anything failed."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        report = fuzz(client.get("/openapi.json").json(), send=client.request, keys=key, num_examples=examples)
    told = json.dumps(report.as_json(), indent=2)
    if out is not None:
        out.write_text(told + "\n", encoding="utf-8")
    typer.echo(told)
    raise typer.Exit(1 if report.failures else 0)


if __name__ == "__main__":
    typer.run(main)
