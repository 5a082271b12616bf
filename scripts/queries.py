"""``chartloop queries``: physician queries from draft to close, by way of the gateway (stage 8)."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scripts.acting import Key
from scripts.deciding import local_key
from scripts.options import DEFAULT_DATA_DIR, AsJson, DataDir, print_json

if TYPE_CHECKING:
    from clinical_coding.records import Note
    from feedback.query_life import QueryLife
    from scripts.query_client import QueryClient

__all__ = ["app"]

Url = Annotated[str, typer.Option("--url", help="The gateway.")]
QueryId = Annotated[str, typer.Argument(help="As chartloop queries list shows it.")]
LOCAL = "http://127.0.0.1:8080"

app = typer.Typer(
    no_args_is_help=True,
    help="""Questions to the physician where the documentation has a gap.

    A suggestion drafts them; [bold]send[/bold] one, enter what the physician says with [bold]answer[/bold], and
    [bold]close[/bold] it. Amended notes lead to a new suggestion; both are kept.
    """,
)


class StateChoice(StrEnum):
    """Where a query stands."""

    DRAFTED = "drafted"
    SENT = "sent"
    ANSWERED = "answered"
    CLOSED = "closed"


class ReasonChoice(StrEnum):
    """Why a query is closed."""

    WITHDRAWN = "withdrawn"
    NO_ANSWER = "no-answer"
    RESOLVED = "resolved"


@app.command("list")
def list_(
    state: Annotated[StateChoice | None, typer.Option("--state", help="In this state alone.")] = None,
    suggestion: Annotated[str | None, typer.Option("--suggestion", help="Of this suggestion alone.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="Queries to list.")] = 20,
    after: Annotated[str | None, typer.Option("--after", help="List those behind this query.")] = None,
    url: Url = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List queries, the one that was drafted first at the top; a coder sees those of own suggestions."""
    from feedback.query_life import QueryState
    from scripts.query_display import render_page

    wanted = None if state is None else QueryState(state.value)
    with _client(url, key=key, data_dir=data_dir) as client:
        page = client.queries(state=wanted, suggestion_id=suggestion, after=after, limit=limit)
    if as_json:
        print_json(page.model_dump(mode="json"))
    else:
        Console().print(render_page(page))


@app.command()
def show(
    query: QueryId,
    url: Url = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show a query: the question, the options, the indicators in the notes, and what became of it."""
    from scripts.query_display import render_question

    with _client(url, key=key, data_dir=data_dir) as client:
        view = client.query(query)
    if as_json:
        print_json(view.model_dump(mode="json"))
    else:
        Console().print(render_question(view))


@app.command()
def send(
    query: QueryId,
    url: Url = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Note that a query goes to the physician, by whichever way you have."""
    with _client(url, key=key, data_dir=data_dir) as client:
        _tell(client.send_query(query), as_json=as_json)


@app.command()
def answer(
    query: QueryId,
    option: Annotated[
        int | None, typer.Option("--option", min=1, help="The option that was chosen, as show numbers it.")
    ] = None,
    other: Annotated[bool, typer.Option("--other", help="None of the options; say what in --notes.")] = False,
    unable: Annotated[bool, typer.Option("--unable", help="The physician is unable to determine it.")] = False,
    notes: Annotated[
        list[Path] | None,
        typer.Option(
            "--notes",
            help="The documentation was amended: a note as plain text, or a request or coded record as JSON. "
            "A note takes the place of the one of the same id; others are added. Once for each file.",
        ),
    ] = None,
    note_id: Annotated[
        str | None, typer.Option("--note-id", help="Id of the one plain-text note; default: the file's name.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same for each attempt to send it; default: a new one.")
    ] = None,
    url: Url = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Enter the physician's answer; with --notes the suggestion is made anew.

    Example: [bold]chartloop queries answer ID --option 2 --notes addendum.txt[/bold]
    """
    from clinical_coding.artefact import new_id
    from feedback.query_life import QueryAnswer
    from serving.client import GatewayUnreachableError

    amended = _read_notes(notes or [], note_id=note_id)
    idempotency_key = idempotency_key or new_id()
    with _client(url, key=key, data_dir=data_dir) as client:
        chosen = _choose(client, query, option=option, other=other, unable=unable)
        said = QueryAnswer(option=chosen, documentation_amended=bool(amended), notes=amended)
        try:
            life = client.answer_query(query, said, idempotency_key=idempotency_key)
        except GatewayUnreachableError as error:
            raise ValueError(
                f"{error}; it may be stored all the same, so send it again with --idempotency-key {idempotency_key}"
            ) from None
    _tell(life, as_json=as_json)


@app.command()
def close(
    query: QueryId,
    reason: Annotated[
        ReasonChoice, typer.Option("--reason", help="withdrawn before an answer, no-answer once sent, else resolved.")
    ],
    url: Url = LOCAL,
    key: Key = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Close a query for good."""
    from feedback.query_life import CloseReason

    with _client(url, key=key, data_dir=data_dir) as client:
        _tell(client.close_query(query, reason=CloseReason(reason.value)), as_json=as_json)


def _client(url: str, *, key: str | None, data_dir: Path) -> "QueryClient":
    from scripts.query_client import QueryClient

    return QueryClient(url, local_key(key, data_dir=data_dir))


def _choose(client: "QueryClient", query_id: str, *, option: int | None, other: bool, unable: bool) -> int | None:
    """Find the place of the option that is meant; None where the query is open-ended."""
    from clinical_coding.physician_queries import OTHER, UNABLE_TO_DETERMINE

    options = client.query(query_id).physician_view.options
    if (option is not None) + other + unable != (1 if options else 0):
        expected = "exactly one of --option, --other and --unable" if options else "none of them: it is open-ended"
        raise ValueError(f"query {query_id} takes {expected}; see chartloop queries show {query_id}")
    if option is not None:
        if option > len(options):
            raise ValueError(f"--option {option} is none of the query's {len(options)} options; see what show numbers")
        return option - 1
    if not options:
        return None
    wanted = OTHER if other else UNABLE_TO_DETERMINE
    if wanted not in options:
        raise ValueError(f"query {query_id} has no option {wanted!r}; give --option, as show numbers them")
    return options.index(wanted)


def _read_notes(paths: list[Path], *, note_id: str | None) -> "tuple[Note, ...]":
    from serving.request_file import read_request

    # Setting and specialty of a plain-text note are left behind with the request around it.
    found = [read_request(path, setting="outpatient", specialty="none").notes for path in paths]
    notes = tuple(note for one in found for note in one)
    if note_id is None:
        return notes
    if len(notes) != 1:
        raise ValueError(f"--note-id names one note, but --notes gives {len(notes)}; put the ids into JSON instead")
    return (notes[0].model_copy(update={"note_id": note_id}),)


def _tell(life: "QueryLife", *, as_json: bool) -> None:
    from scripts.query_display import render_life

    if as_json:
        print_json(life.model_dump(mode="json"))
    else:
        Console().print(render_life(life), soft_wrap=True)
