"""``chartloop jobs``: many requests that nobody waits for, sent to the gateway (stage 7)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from scripts.acting import Key
from scripts.answered_lines import write_answers
from scripts.deciding import local_key
from scripts.options import DEFAULT_DATA_DIR, AsJson, DataDir, print_json

if TYPE_CHECKING:
    from serving.client import Client
    from serving.gateway.job_routes import JobView

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Have many encounters coded while nobody waits.")
JobId = Annotated[str, typer.Argument(help="As submit told it.")]
Url = Annotated[str, typer.Option("--url", help="The gateway.")]
LOCAL = "http://127.0.0.1:8080"


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="Suggestion requests or coded records, one a line as JSON.")],
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", help="The same for each attempt to submit it; default: new."),
    ] = None,
    url: Url = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Submit a file; it is answered beside interactive work, which goes first.

    Example: [bold]chartloop jobs submit night.jsonl[/bold], then [bold]chartloop jobs fetch ID > answers.jsonl[/bold]
    """
    from clinical_coding.artefact import new_id
    from serving.client import GatewayUnreachableError
    from serving.request_file import read_requests

    idempotency_key = idempotency_key or new_id()
    with _client(url, key=key, data_dir=data_dir) as client:
        try:
            job = client.submit_job(read_requests(file), idempotency_key=idempotency_key)
        except GatewayUnreachableError as error:
            raise ValueError(
                f"{error}; it may be kept all the same, so submit it again with --idempotency-key {idempotency_key}"
            ) from None
    _tell(job, as_json=as_json)


@app.command()
def status(
    job: JobId,
    url: Url = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Tell how far a job is."""
    with _client(url, key=key, data_dir=data_dir) as client:
        _tell(client.job(job), as_json=as_json)


@app.command()
def fetch(
    job: JobId,
    after: Annotated[int, typer.Option("--after", min=0, help="The last line that you have.")] = 0,
    url: Url = LOCAL,
    key: Key = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Write what is done of a job to standard output, one answer a line, up to the first that is not done."""
    with _client(url, key=key, data_dir=data_dir) as client:
        write_answers(client.job_results(job, after=after))


@app.command()
def cancel(
    job: JobId,
    url: Url = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Give up what is not done of a job; what was answered can still be fetched."""
    with _client(url, key=key, data_dir=data_dir) as client:
        _tell(client.cancel_job(job), as_json=as_json)


def _client(url: str, *, key: str | None, data_dir: Path) -> "Client":
    from serving.client import Client

    return Client(url, local_key(key, data_dir=data_dir))


def _tell(job: "JobView", *, as_json: bool) -> None:
    if as_json:
        print_json(job.model_dump(mode="json"))
        return
    counts = {
        "waiting": job.num_waiting,
        "answered": job.num_answered,
        "refused": job.num_failed,
        "cancelled": job.num_cancelled,
    }
    told = ", ".join(f"{num:,} {name}" for name, num in counts.items() if num)
    Console().print(f"Job {escape(job.job_id)}: {job.state}; {told}", soft_wrap=True, highlight=False)
