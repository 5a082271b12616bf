"""The ``chartloop`` command: the packages' commands under one name.

Nothing heavy is imported until a command runs, so that help answers at once.
"""

import sys

import typer
from rich.console import Console

from scripts import keys, records, serving_commands, training_commands, versions

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help="""Train, serve and govern the model that suggests medical codes from clinical notes.

    Usual order: [bold]train[/bold] a version, look at it with [bold]versions list[/bold] and [bold]evaluate[/bold],
    then [bold]serve[/bold] it and ask it with [bold]suggest[/bold].
    """,
)
training_commands.add_to(app)
serving_commands.add_to(app)
app.add_typer(versions.app, name="versions")
app.add_typer(records.app, name="records")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command; a ValueError is the user's, and is shown as one message without a traceback."""
    try:
        app()
    except ValueError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/bold red] {_escaped(error)}")
        sys.exit(2)


def _escaped(error: ValueError) -> str:
    return str(error).replace("[", r"\[")


if __name__ == "__main__":
    main()
