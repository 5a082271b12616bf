"""``chartloop feedback``: decisions in, adjudicated training records out (stages 8 to 10)."""

import typer

from scripts import feedback_adjudication, feedback_decisions, feedback_simulation, feedback_training_set

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="""Decisions of coders, verdicts of supervisors, and the training set that follows from them.

    Who acts is told by the key: give --key or CHARTLOOP_KEY.
    """,
)


@app.callback()
def _group() -> None:
    """Decisions of coders, verdicts of supervisors, and the training set that follows from them."""


feedback_decisions.add_to(app)
feedback_adjudication.add_to(app)
feedback_training_set.add_to(app)
feedback_simulation.add_to(app)
