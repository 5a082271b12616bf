"""``chartloop feedback queue | show | release | adjudicate``: a supervisor's work on the command line (stage 9)."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scripts.acting import Key, acting
from scripts.held_releases import held_releases
from scripts.options import CONFIGS, DEFAULT_DATA_DIR, AsJson, DatabaseUrl, DataDir, print_json

if TYPE_CHECKING:
    from clinical_coding.codes import Code

__all__ = ["add_to"]

Config = Annotated[Path, typer.Option("--config", help="How long a claim lasts.")]


class VerdictChoice(StrEnum):
    """Who was right."""

    AI_RIGHT = "ai-right"
    CODER_RIGHT = "coder-right"
    BOTH_WRONG = "both-wrong"
    POLICY_UNCLEAR = "policy-unclear"


def add_to(app: typer.Typer) -> None:
    """Put the commands on the group."""
    app.command()(queue)
    app.command()(show)
    app.command()(release)
    app.command()(adjudicate)


def queue(
    limit: Annotated[int, typer.Option("--limit", help="Cases to list, at most 200.")] = 20,
    after: Annotated[str | None, typer.Option("--after", help="List those behind this case.")] = None,
    key: Key = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List the cases that wait for a verdict of yours, in the order in which they are offered."""
    from feedback.queue import list_cases
    from ledger.engine import ledger
    from scripts.case_display import render_queue

    with ledger(data_dir, url=database_url) as engine:
        principal = acting(engine, key=key, data_dir=data_dir)
        page = list_cases(engine, principal=principal, limit=limit, after=after)
    if as_json:
        print_json(page.model_dump(mode="json"))
    else:
        Console().print(render_queue(page))


def show(
    case: Annotated[str | None, typer.Argument(help="A case; default: the next one, which you claim.")] = None,
    claim: Annotated[bool, typer.Option("--claim", help="Claim the case that is named.")] = False,
    config: Config = CONFIGS / "feedback.yaml",
    reasons: Annotated[Path, typer.Option("--reasons", help="What reason codes mean.")] = CONFIGS / "reasons.yaml",
    key: Key = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show a case: the notes, the model's answer and the coder's, and how to give the verdict.

    Example: [bold]chartloop feedback show[/bold]
    """
    from feedback import queue
    from feedback.adjudication import load_adjudication
    from feedback.settings import load_feedback, load_reasons
    from ledger.engine import ledger
    from scripts.case_display import render_case

    settings, known_reasons = load_feedback(config), load_reasons(reasons)
    systems = held_releases(data_dir)
    with ledger(data_dir, url=database_url) as engine:
        principal = acting(engine, key=key, data_dir=data_dir)
        if case is None:
            view = queue.next_case(engine, principal=principal, settings=settings, systems=systems)
        elif claim:
            view = queue.claim(engine, case, principal=principal, settings=settings, systems=systems)
        else:
            view = queue.show(engine, case, principal=principal, systems=systems)
        kept = load_adjudication(engine, view.adjudication_id) if view and view.adjudication_id else None
    if as_json:
        print_json(None if view is None else view.model_dump(mode="json"))
    elif view is None:
        Console().print("no case waits for a verdict of yours")
    else:
        Console().print(render_case(view, reasons=known_reasons, kept=kept))


def release(
    case: Annotated[str, typer.Argument(help="A case that you claimed.")],
    key: Key = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Give a case that you claimed back to the queue."""
    from feedback.queue import release as give_back
    from ledger.engine import ledger

    with ledger(data_dir, url=database_url) as engine:
        give_back(engine, case, principal=acting(engine, key=key, data_dir=data_dir))


def adjudicate(
    case: Annotated[str, typer.Argument(help="A case that you claimed.")],
    verdict: Annotated[VerdictChoice, typer.Option("--verdict", help="Who was right.")],
    citation: Annotated[str, typer.Option("--citation", help="The guideline or coding clinic that it rests on.")],
    code: Annotated[
        list[str] | None,
        typer.Option("--code", help="A correct code, as icd10cm:I10; once for each. For both-wrong, which needs them."),
    ] = None,
    no_codes: Annotated[
        bool, typer.Option("--no-codes", help="No code is right: for both-wrong on an audit or a modified code.")
    ] = False,
    key: Key = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Give the verdict on a case that you claimed with [bold]chartloop feedback show[/bold].

    Example: [bold]chartloop feedback adjudicate CASE --verdict ai-right --citation 'Guideline I.B.5'[/bold]
    """
    from clinical_coding.decisions import Verdict
    from feedback.adjudication import adjudicate as give
    from feedback.verdicts import AdjudicationRequest
    from ledger.engine import ledger
    from scripts.case_display import render_adjudication

    if code and no_codes:
        raise ValueError("--code and --no-codes contradict each other; give one of them")
    codes = tuple(_parse(one) for one in code or ())
    asked = AdjudicationRequest(
        verdict=Verdict(verdict.value), codes=codes if codes or no_codes else None, citation=citation
    )
    systems = held_releases(data_dir)
    with ledger(data_dir, url=database_url) as engine:
        principal = acting(engine, key=key, data_dir=data_dir)
        kept = give(engine, case, asked, principal=principal, systems=systems)
    if as_json:
        print_json(kept.model_dump(mode="json"))
    else:
        Console().print(render_adjudication(kept))


def _parse(written: str) -> "Code":
    from clinical_coding.codes import Code, CodeSystem, normalise_code

    name, separator, code = written.partition(":")
    if not separator or name not in list(CodeSystem):
        raise ValueError(
            f"--code {written[:24]!r} is not a code with its system; expected SYSTEM:CODE, as icd10cm:I10, "
            f"of {', '.join(CodeSystem)}"
        )
    system = CodeSystem(name)
    return Code(system=system, code=normalise_code(system, code))
