"""``chartloop codes diff``: what a new release changes, and which labels, policies and predictions it touches."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.held_releases import held_releases
from scripts.options import CONFIGS, DEFAULT_DATA_DIR, AsJson, CodeSystemName, DataDir, print_json

if TYPE_CHECKING:
    from clinical_coding.code_systems import CodeSystems, Release
    from clinical_coding.code_systems.changes import CodeChange, ReleaseDiff
    from clinical_coding.codes import CodeSystem

__all__ = ["add_to"]

Touched = Mapping[str, tuple[str, ...]]
_SHOWN = 20


def add_to(app: typer.Typer) -> None:
    """Put the command on the ``codes`` commands."""
    app.command("diff")(diff)


def diff(
    old: Annotated[str, typer.Argument(help="The earlier release, such as 2026-04.")],
    new: Annotated[str, typer.Argument(help="The later release.")],
    system: Annotated[CodeSystemName, typer.Option("--system", help="Whose releases.")] = "icd10cm",
    version: Annotated[
        str | None,
        typer.Option("--version", help="Whose labels: champion, candidate, a number, a folder; default: what serves."),
    ] = None,
    policy: Annotated[Path, typer.Option("--policy", help="The organisation's rules.")] = CONFIGS / "policy.yaml",
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="A prediction file: which of its codes changed.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List new, deleted, revised and re-parented codes, and the labels, policies and predictions they touch.

    Example: [bold]chartloop codes diff 2026-04 2026-10 --version champion[/bold]
    """
    from clinical_coding.code_systems.changes import compare
    from clinical_coding.codes import CodeSystem

    systems, named = held_releases(data_dir), CodeSystem(system)
    found = compare(systems, _named(systems, named, old), _named(systems, named, new))
    labels = _labels(version, data_dir=data_dir)
    touched_labels = None if labels is None else found.touched(labels)
    touched_rules = _touched_rules(policy, found)
    touched_predictions = None if predictions is None else found.touched(_predicted(predictions))
    if as_json:
        parts = {"labels": touched_labels, "policies": touched_rules, "predictions": touched_predictions}
        print_json(_answer(found) | parts)
        return
    _print(found, console=Console())
    _print_touched("labels of the version", touched_labels, "no version is registered; name one with --version")
    _print_touched("rules of the policy", touched_rules, "")
    if predictions is not None:
        _print_touched("codes predicted", touched_predictions, "")


def _named(systems: "CodeSystems", system: "CodeSystem", name: str) -> "Release":
    release = systems.named(system, name)
    if release is None:
        held = ", ".join(one.name for one in systems.releases(system)) or "none"
        raise ValueError(
            f"release {name!r} of {system} is not held; held are {held}: "
            f"import it with `chartloop codes import {system}`"
        )
    return release


def _labels(version: str | None, *, data_dir: Path) -> list[str] | None:
    """The label keys of a version; null when none is named and none is registered."""
    from clinical_coding.bundle import read_labels
    from governance.versions import resolve_default, resolve_version

    try:
        resolved = resolve_version(version, data_dir=data_dir) if version else resolve_default(data_dir=data_dir)
    except ValueError:
        if version is None:
            return None
        raise
    return [label.key for label in read_labels(resolved.folder)]


def _touched_rules(policy: Path, found: "ReleaseDiff") -> Touched:
    """The changed codes that each rule names.

    The policy is not judged against releases here: what names a deleted code is just what is sought.
    """
    from clinical_coding.edits.policy import Policy
    from clinical_coding.settings_file import load_settings

    codes = list(found.changes())
    touched = {}
    for rule in load_settings(policy, Policy).rules:
        spans = [span for span in rule.spans if span.system is found.system]
        named = tuple(code for code in codes if any(span.holds(code) for span in spans))
        if named:
            touched[rule.id] = named
    return touched


def _predicted(path: Path) -> Iterable[str]:
    """The label keys that a prediction file suggests."""
    from pydantic import ValidationError

    from clinical_coding.artefact import describe_errors
    from clinical_coding.predictions import Prediction

    keys: dict[str, None] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                prediction = Prediction.model_validate_json(line)
            except ValidationError as error:
                fault = describe_errors(error)
                raise ValueError(
                    f"{path}, line {number}: {fault}; give a prediction file that `chartloop predict` wrote"
                ) from None
            keys |= dict.fromkeys(code.key for code in prediction.codes if code.suggested)
    return keys


def _answer(found: "ReleaseDiff") -> dict[str, object]:
    parts = {
        "new": found.added,
        "deleted": found.deleted,
        "revised": found.revised,
        "reparented": found.reparented,
        "leaf_changed": found.leaf_changed,
    }
    return {
        "system": found.system,
        "old_release": found.old.name,
        "new_release": found.new.name,
        **{name: [change.model_dump(mode="json") for change in changes] for name, changes in parts.items()},
    }


def _print(found: "ReleaseDiff", *, console: Console) -> None:
    console.print(f"[bold]{found.old.describe()} -> {found.new.describe()}[/bold]", highlight=False, soft_wrap=True)
    for title, changes in (
        ("new", found.added),
        ("deleted", found.deleted),
        ("revised", found.revised),
        ("re-parented", found.reparented),
        ("became heading, or code", found.leaf_changed),
    ):
        console.print(f"\n[bold]{title}: {len(changes):,}[/bold]", highlight=False)
        table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
        for change in changes[:_SHOWN]:
            table.add_row(change.code, escape(_words(change)))
        console.print(table)
        if len(changes) > _SHOWN:
            console.print(f"... and {len(changes) - _SHOWN:,} more; --json lists all", highlight=False)


def _words(change: "CodeChange") -> str:
    words = " -> ".join(dict.fromkeys(text for text in (change.before, change.after) if text is not None))
    return f"{words} ({', '.join(change.parts)})" if change.parts else words


def _print_touched(title: str, touched: Touched | None, absent: str) -> None:
    console = Console()
    if touched is None:
        console.print(f"\n[bold]{title}[/bold]: {escape(absent)}", highlight=False, soft_wrap=True)
        return
    console.print(f"\n[bold]{title} touched: {len(touched):,}[/bold]", highlight=False)
    for name, kinds in touched.items():
        more = f" and {len(kinds) - _SHOWN:,} more" if len(kinds) > _SHOWN else ""
        console.print(f"  {escape(name)}: {escape(', '.join(kinds[:_SHOWN]))}{more}", highlight=False, soft_wrap=True)
