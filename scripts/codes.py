"""``chartloop codes``: which releases are held, what a code means and when, what a new release changes."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts import codes_check, codes_diff, codes_group
from scripts.held_releases import held_releases
from scripts.options import DEFAULT_DATA_DIR, AsJson, CodeSystemName, DataDir, print_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Releases of code systems: import, look up, search, compare, check.")

On = Annotated[
    datetime | None,
    typer.Option("--on", formats=["%Y-%m-%d"], help="Day of service, such as 2026-05-01; default: newest release."),
]


@app.callback()
def _group() -> None:
    """Releases of code systems."""


@app.command("import")
def import_(
    system: Annotated[
        str, typer.Argument(help="icd10cm, icd10pcs, hcpcs, cpt, ms-drg, ncci-ptp or ncci-mue.", metavar="SYSTEM")
    ],
    files: Annotated[list[Path], typer.Argument(help="The official files, or the zip archives that hold them.")],
    release: Annotated[str, typer.Option("--release", help="Year and month of its start, such as 2026-10.")],
    effective_from: Annotated[
        datetime, typer.Option("--effective-from", formats=["%Y-%m-%d"], help="First day, such as 2026-10-01.")
    ],
    effective_to: Annotated[
        datetime | None,
        typer.Option("--effective-to", formats=["%Y-%m-%d"], help="Last day; default: until the next release."),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Keep a release, read from its official files; they are judged whole before anything is stored.

    Example: [bold]chartloop codes import icd10cm icd10cm_order_2027.txt icd10cm_tabular_2027.xml
    --release 2026-10 --effective-from 2026-10-01[/bold]

    icd10cm: order file, tabular XML (without it, no notes), index XML (for search). icd10pcs: order file. hcpcs:
    ANWEB text or xlsx. cpt: the licensee's file, a table with the headings Code and Description, or the AMA's list
    (code, tab, descriptor). ms-drg: CMS Table 5. ncci-ptp: all parts of a quarter. ncci-mue: the table of the
    service that you bill.
    """
    from clinical_coding.code_systems import ReleasedSystem
    from clinical_coding.code_systems.importing import import_release
    from clinical_coding.data_directory import DataDirectory

    if system not in set(ReleasedSystem):
        raise ValueError(f"system {system!r} is unknown; name one of {', '.join(ReleasedSystem)}")
    imported = import_release(
        ReleasedSystem(system),
        files,
        name=release,
        effective_from=effective_from.date(),
        effective_to=_day(effective_to),
        directory=DataDirectory.locate(data_dir),
    )
    if as_json:
        print_json({"is_new": imported.is_new, "remarks": imported.remarks, **imported.release.model_dump(mode="json")})
        return
    console = Console(stderr=True)
    counts = ", ".join(f"{number:,} {words}" for words, number in imported.release.counts.items())
    told = "held now" if imported.is_new else "was held before, nothing changed"
    console.print(f"{imported.release.describe()}: {told}; {counts}", soft_wrap=True, highlight=False)
    for remark in imported.remarks:
        console.print(f"note: {escape(remark)}", soft_wrap=True, highlight=False)


@app.command("list")
def list_(as_json: AsJson = False, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the held releases, the embedded one included."""
    systems = held_releases(data_dir)
    releases = [
        # Nothing is counted before it is asked for: the embedded release is no more than its name until then.
        release
        if release.files
        else release.model_copy(update={"counts": {"codes": len(systems.library(release).leaves())}})
        for release in systems.releases()
    ]
    if as_json:
        print_json([release.model_dump(mode="json") for release in releases])
        return
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in ("system", "release", "from", "to", "hash", "holds"):
        table.add_column(column, no_wrap=column != "holds")
    for release in releases:
        counts = ", ".join(f"{number:,} {words}" for words, number in release.counts.items() if number)
        end = str(release.effective_to or "next release")
        origin = counts if release.files else f"{counts} (embedded)"
        table.add_row(release.system, release.name, str(release.effective_from), end, release.sha256[:16], origin)
    Console().print(table)


@app.command()
def show(
    code: Annotated[str, typer.Argument(help="The code, such as I21.4.")],
    on: On = None,
    system: Annotated[CodeSystemName | None, typer.Option("--system", help="Default: told by the form.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Say what a code means, when it is valid and why not, what its notes order, and what it conflicts with."""
    from clinical_coding.codes import CodeSystem
    from scripts.code_display import card_json, make_card, print_card

    named = None if system is None else CodeSystem(system)
    card = make_card(held_releases(data_dir), code, system=named, on=_day(on))
    if as_json:
        print_json(card_json(card))
    else:
        print_card(card, console=Console())


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words, or the beginning of a code.")],
    on: On = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many codes at most.")] = 10,
    system: Annotated[CodeSystemName, typer.Option("--system", help="Where to look.")] = "icd10cm",
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Find codes by the words of their descriptions, inclusion terms and index terms, best first.

    Example: [bold]chartloop codes search type 2 diabetes with kidney complication[/bold]
    """
    from clinical_coding.codes import CodeSystem

    index = held_releases(data_dir).index(CodeSystem(system), _day(on))
    if index is None:
        raise ValueError(
            f"no release of {system} is held to search in; import one with `chartloop codes import {system}`"
        )
    if not any(character.isalnum() for word in words for character in word):
        raise ValueError(f"words {' '.join(words)!r} hold no letter or digit; give words, or the beginning of a code")
    hits = index.search(" ".join(words), limit=limit)
    if as_json:
        print_json([{"code": hit.code, "description": hit.description, "is_leaf": hit.is_leaf} for hit in hits])
        return
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    for hit in hits:
        table.add_row(f"[bold]{escape(hit.code)}[/bold]", escape(hit.description), "" if hit.is_leaf else "heading")
    Console().print(table if hits else "nothing is found; try fewer or other words")


@app.command()
def notes(
    kind: Annotated[str, typer.Option("--kind", help="excludes1, excludes2, code-first, use-additional-code ...")] = (
        "excludes1"
    ),
    unparsed: Annotated[bool, typer.Option("--unparsed", help="Only notes that name no code.")] = False,
    on: On = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List the tabular list's notes of a kind, and how many are parsed into codes."""
    from clinical_coding.tabular.instructions import InstructionKind

    if kind not in set(InstructionKind):
        raise ValueError(f"kind {kind!r} is unknown; name one of {', '.join(InstructionKind)}")
    blocks = held_releases(data_dir).icd10cm(_day(on)).note_blocks(InstructionKind(kind))
    failed = [block for block in blocks if not block.is_parsed]
    if as_json:
        counts = {"blocks": len(blocks), "parsed": len(blocks) - len(failed), "unparsed": len(failed)}
        left = [{"owner": block.owner, "lines": block.lines} for block in failed]
        print_json(counts | ({"notes": left} if unparsed else {}))
        return
    for block in failed if unparsed else blocks:
        Console().print(f"[bold]{escape(block.owner)}[/bold]  {escape(' | '.join(block.lines))}", soft_wrap=True)
    share = (len(blocks) - len(failed)) / len(blocks) if blocks else 1
    Console(stderr=True).print(
        f"{kind}: {len(blocks):,} notes, {len(blocks) - len(failed):,} parsed ({share:.1%}), {len(failed):,} not",
        highlight=False,
    )


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


codes_diff.add_to(app)
codes_check.add_to(app)
codes_group.add_to(app)
