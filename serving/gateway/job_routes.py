"""``/v1/jobs``: many requests that nobody waits for; submit, look, fetch, cancel (stage 7)."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError

from clinical_coding.suggestions import Suggestion
from ledger.group_commit import write
from ledger.jobs import (
    ItemResult,
    JobKeyTakenError,
    JobStatus,
    cancel_job,
    find_job,
    read_results,
    submit_job,
)
from ledger.principals import Principal, Role
from serving.gateway.answering import check_key
from serving.gateway.auth import require
from serving.gateway.building import as_answered
from serving.gateway.bulk_routes import ndjson_body
from serving.gateway.examples import BULK_EXAMPLE, JOB_EXAMPLE, JOB_RESULTS_EXAMPLE, problem_responses
from serving.gateway.exchange import exchange_of
from serving.gateway.intake import JSON, NDJSON
from serving.gateway.job_submission import read_submission
from serving.gateway.problems import ProblemError
from serving.gateway.settings import GatewaySettings
from serving.gateway.suggestion_routes import MAY_ASK, IdempotencyKey

__all__ = ["JobView", "job_router"]

_MAX_RESULTS: Final = 10_000
_PAGE_ROWS: Final = 100
# Others see jobs of their own.
_SEE_ALL: Final = (Role.SUPERVISOR, Role.ADMIN)
_READ_PROBLEMS: Final = problem_responses("no-key", "wrong-key", "wrong-role", "unknown-id", "no-database")
JobId = Annotated[str, Path(description="As the submission told it.")]
Asker = Annotated[Principal, Depends(require(*MAY_ASK))]


class JobView(BaseModel):
    """A job and how far it is."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    job_id: str
    state: str
    """``running``, ``done`` or ``cancelled``."""
    created_at: datetime
    finished_at: datetime | None
    num_items: int
    num_waiting: int
    """Not done yet; those that are worked on are among them."""
    num_answered: int
    num_failed: int
    num_cancelled: int


def job_router(settings: GatewaySettings, *, engine: Engine, on_submitted: Callable[[], None]) -> APIRouter:
    """Make the endpoints.

    Args:
        settings: Limits.
        engine: A migrated database.
        on_submitted: Told when there is work.
    """
    router = APIRouter(tags=["jobs"])
    router.include_router(_submission(settings, engine=engine, on_submitted=on_submitted))
    router.include_router(_reading(engine))
    return router


def _submission(settings: GatewaySettings, *, engine: Engine, on_submitted: Callable[[], None]) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs")
    problems = problem_responses(
        *("malformed-body", "no-key", "wrong-key", "wrong-role", "slow-body", "key-reused", "too-large"),
        *("wrong-media-type", "invalid-request", "no-database"),
    )
    example = {"application/json": {"example": JOB_EXAMPLE}}
    body = ndjson_body(BULK_EXAMPLE)
    requests = {"type": "array", "items": {"$ref": "#/components/schemas/SuggestionRequest"}, "minItems": 1}
    body["content"][JSON] = {"schema": requests}

    @router.post(
        "",
        response_model=JobView,
        status_code=201,
        responses=problems
        | {
            201: {"content": example},
            200: {"model": JobView, "description": "It was submitted before, under the key."},
        },
        openapi_extra={"requestBody": body},
    )
    async def submit(request: Request, principal: Asker, idempotency_key: IdempotencyKey = None) -> Response:
        """Submit requests as lines or as a list; kept in the database, and answered beside interactive work.

        All of them are checked first: one that is wrong is told with its line, and nothing is kept. The notes of
        an item are removed from the job once it is done; its suggestion keeps a copy, as every one does.
        """
        if idempotency_key is not None:
            check_key(idempotency_key)
        content = await request.body()
        is_lines = request.headers.get("content-type", "").startswith(NDJSON)
        read = partial(read_submission, content, is_lines=is_lines, settings=settings)
        submission = await run_sync(read)
        keep = partial(
            submit_job,
            items=submission.items,
            principal=principal,
            trace_id=exchange_of(request.scope).trace_id,
            body_sha256=submission.sha256,
            idempotency_key=idempotency_key,
        )
        try:
            job, is_repeated = await run_sync(write, engine, keep)
        except DataError:
            raise ProblemError("invalid-request", "a record_id holds a character that cannot be stored") from None
        except JobKeyTakenError:
            raise ProblemError("key-reused", "another job was submitted under this Idempotency-Key") from None
        on_submitted()
        exchange_of(request.scope).facts |= {"job_id": job.job_id, "num_items": job.num_items}
        headers = {"Location": f"/v1/jobs/{job.job_id}"}
        return _write(job, status=200 if is_repeated else 201, headers=headers)

    return router


def _reading(engine: Engine) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs")
    example: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": JOB_EXAMPLE}}}}
    results: dict[int | str, dict[str, Any]] = {
        200: {"content": {NDJSON: {"schema": {"type": "string"}, "example": JOB_RESULTS_EXAMPLE}}}
    }

    @router.get("/{job_id}", response_model=JobView, responses=_READ_PROBLEMS | example)
    def look(job_id: JobId, principal: Asker) -> Response:
        """Look how far a job is; supervisors and administrators see all jobs, others their own."""
        with engine.connect() as connection:
            return _write(_find(connection, job_id, principal=principal))

    @router.get("/{job_id}/results", response_class=Response, responses=_READ_PROBLEMS | results)
    async def fetch(
        job_id: JobId,
        request: Request,
        principal: Asker,
        after: Annotated[int, Query(ge=0, le=2**31 - 1, description="The last line that you have.")] = 0,
        limit: Annotated[int, Query(ge=1, le=_MAX_RESULTS, description="Lines at most.")] = 1000,
    ) -> Response:
        """Fetch results by line, as the bulk endpoint writes them, up to the first item that is not done.

        Ask again with `after` set to the last line until the job is done and an answer is empty.
        """
        await run_sync(partial(_look, engine, job_id, principal=principal))
        exchange_of(request.scope).facts["job_id"] = job_id
        return StreamingResponse(_results(engine, job_id, after=after, limit=limit), media_type=NDJSON)

    @router.delete("/{job_id}", response_model=JobView, responses=_READ_PROBLEMS | example)
    def cancel(job_id: JobId, principal: Asker) -> Response:
        """Give up what is not done of a job; what was answered stays, and can be fetched."""

        def work(connection: Connection) -> JobStatus:
            _find(connection, job_id, principal=principal)
            cancel_job(connection, job_id, principal=principal)
            return _find(connection, job_id, principal=principal)

        return _write(write(engine, work))

    return router


def _look(engine: Engine, job_id: str, *, principal: Principal) -> None:
    with engine.connect() as connection:
        _find(connection, job_id, principal=principal)


def _find(connection: Connection, job_id: str, *, principal: Principal) -> JobStatus:
    job = find_job(connection, job_id)
    if job is None or (principal.role not in _SEE_ALL and job.principal_id != principal.id):
        raise ProblemError("unknown-id", "no job of yours is stored under this id")
    return job


async def _results(engine: Engine, job_id: str, *, after: int, limit: int) -> AsyncIterator[str]:
    while limit > 0:
        page = await run_sync(partial(_read_page, engine, job_id, after=after, limit=min(limit, _PAGE_ROWS)))
        for line, content in page:
            yield content
            after = line
        limit -= len(page)
        if len(page) < _PAGE_ROWS:
            return


def _read_page(engine: Engine, job_id: str, *, after: int, limit: int) -> list[tuple[int, str]]:
    with engine.connect() as connection:
        found = read_results(connection, job_id, after=after, limit=limit)
    return [(result.line, _as_line(result)) for result in found]


def _as_line(result: ItemResult) -> str:
    head = f'{{"line":{result.line},"record_id":{json.dumps(result.record_id)}'
    if result.suggestion is not None:
        suggestion = as_answered(Suggestion.model_validate_json(result.suggestion))
        return f'{head},"suggestion":{suggestion.model_dump_json()}}}\n'
    if result.problem is not None:
        return f'{head},"problem":{result.problem}}}\n'
    return f'{head},"purged":{json.dumps(result.suggestion_id)}}}\n'


def _write(job: JobStatus, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    num = job.num_by_state
    view = JobView(
        job_id=job.job_id,
        state=job.state,
        created_at=job.created_at,
        finished_at=job.finished_at,
        num_items=job.num_items,
        num_waiting=num.get("waiting", 0) + num.get("leased", 0),
        num_answered=num.get("answered", 0),
        num_failed=num.get("failed", 0),
        num_cancelled=num.get("cancelled", 0),
    )
    return Response(view.model_dump_json(), status_code=status, headers=headers, media_type="application/json")
