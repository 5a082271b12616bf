"""Options that several commands share, and how errors reach people."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

__all__ = ["CONFIGS", "DEFAULT_DATA_DIR", "AsJson", "CodeSystemName", "DataDir", "DatabaseUrl", "Records", "print_json"]

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
DEFAULT_DATA_DIR = Path("mlruns")

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir", envvar="CHARTLOOP_DATA_DIR", help="Where versions, keys and databases lie.", show_default=True
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="CHARTLOOP_DATABASE_URL",
        help="PostgreSQL of the ledger; default: SQLite in the data directory.",
    ),
]
CodeSystemName = Literal["icd10cm", "icd10pcs", "cpt", "hcpcs"]
"""The values of ``clinical_coding.codes.CodeSystem``, which imports too much for help to answer at once."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of tables.")]
Records = Annotated[
    str,
    typer.Option(
        "--records",
        help="What to read: jsonl:PATH, parquet:PATH, codiesp:PATH[?lang=en&task=D], or sample:N[?seed=0].",
    ),
]


def print_json(value: Any) -> None:
    """Print one line of JSON on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False))
