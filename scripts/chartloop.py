"""The ``chartloop`` command: the packages' commands under one name.

Nothing heavy is imported until a command runs, so that help answers at once.
"""

import sys

import typer
from rich.console import Console
from rich.markup import escape

from scripts import (
    audit,
    codes,
    feedback,
    jobs,
    keys,
    queries,
    records,
    routing,
    serving_commands,
    training_commands,
    versions,
    versions_extend,
)

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help="""Train, serve and govern the model that suggests medical codes from clinical notes.

    Usual order: [bold]train[/bold] a version, look at it with [bold]versions list[/bold] and [bold]evaluate[/bold],
    [bold]serve[/bold] it, ask it with [bold]suggest[/bold] or [bold]jobs[/bold], answer with
    [bold]decide[/bold]; [bold]queries[/bold]
    asks physicians, [bold]codes[/bold] knows the code systems and their rules; [bold]feedback[/bold]
    turns adjudicated answers into the next training set, and [bold]versions compare[/bold] and
    [bold]versions promote[/bold] put the next version in the first one's place.
    """,
)
training_commands.add_to(app)
serving_commands.add_to(app)
app.add_typer(feedback.app, name="feedback")
app.add_typer(jobs.app, name="jobs")
app.add_typer(queries.app, name="queries")
app.add_typer(codes.app, name="codes")
app.add_typer(routing.app, name="routing")
versions_extend.add_to(versions.app)
app.add_typer(versions.app, name="versions")
app.add_typer(records.app, name="records")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")


def main() -> None:
    """Run the command; what the user can mend is shown as one message without a traceback."""
    try:
        app()
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/bold red] {escape(message)}")
        sys.exit(2)


def _message(error: Exception) -> str | None:
    """Tell what the user can mend; None of anything else."""
    from pydantic import ValidationError

    from clinical_coding.artefact import describe_errors

    if isinstance(error, ValidationError):
        # Pydantic's own text repeats the input, which may be clinical text.
        return describe_errors(error)
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; name another path, or make room or give access"
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import OperationalError

        from ledger.group_commit import NotWrittenError

        if isinstance(error, OperationalError):
            # The driver's words may repeat what was written.
            return "the database does not answer or refuses; see that it runs, has room, and is not locked"
        if isinstance(error, NotWrittenError):
            return str(error)
    return None


if __name__ == "__main__":
    main()
