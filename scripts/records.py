"""``chartloop records``: look at records before training on them."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scripts.held_releases import held_releases
from scripts.options import DEFAULT_DATA_DIR, DataDir

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Coded records: check them, write them in another form, export schemas.")

Spec = Annotated[
    str, typer.Argument(help="jsonl:PATH, parquet:PATH, codiesp:PATH[?lang=en&task=D], or sample:N[?seed=0].")
]


@app.command()
def check(
    spec: Spec,
    rejects: Annotated[Path | None, typer.Option(help="Keep lines that cannot be read in this file.")] = None,
    max_rejects: Annotated[int, typer.Option(help="Stop when more lines than this cannot be read.")] = 100,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Read all records, report what is wrong with any, and count what they hold."""
    from clinical_coding.readers import read_records
    from training.progress import progress_bar

    splits, specialties, codes, num_codes = Counter[str](), Counter[str](), set[str](), 0
    with progress_bar("read records", total=None, console=Console(stderr=True)) as advance:
        systems = held_releases(data_dir)
        for record in read_records(spec, rejects=rejects, max_rejects=max_rejects, systems=systems):
            splits[str(record.split)] += 1
            specialties[record.encounter.specialty] += 1
            codes.update(code.key for code in record.codes)
            num_codes += len(record.codes)
            advance(1)
    table = Table(title=f"{splits.total():,} records, {num_codes:,} codes, {len(codes):,} distinct")
    table.add_column("specialty")
    table.add_column("records", justify="right")
    for specialty, count in specialties.most_common():
        table.add_row(specialty, f"{count:,}")
    table.add_section()
    for split, count in sorted(splits.items()):
        table.add_row(f"split {split}", f"{count:,}")
    Console().print(table)


@app.command()
def convert(
    spec: Spec,
    out: Annotated[Path, typer.Argument(help="A .jsonl or .parquet file to write.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Write records as JSONL or Parquet, by the ending of the file."""
    from clinical_coding.readers import read_records, write_jsonl, write_parquet

    writers = {".jsonl": write_jsonl, ".parquet": write_parquet}
    if out.suffix not in writers:
        raise ValueError(f"file {out.name!r} ends in {out.suffix!r}; expected .jsonl or .parquet")
    count = writers[out.suffix](read_records(spec, systems=held_releases(data_dir)), out)
    Console(stderr=True).print(f"{count:,} records in {out}")


@app.command()
def schemas(folder: Annotated[Path, typer.Argument(help="Where to write NAME.json for each artefact.")]) -> None:
    """Write the JSON Schema of coded records and of everything else that is exchanged."""
    from clinical_coding.schemas import export_schemas

    Console(stderr=True).print(f"{len(export_schemas(folder))} schemas in {folder}")
