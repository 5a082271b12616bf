"""A trained version over a whole code release beside the same version over its own labels.

Extends a bundle by every code of the ICD-10-CM release that it did not train on, as `chartloop versions extend` does,
and measures the time of a note, the memory of the process that serves it, and how many of the 50 best codes of
an exhaustive pass the two-stage pass finds. Takes ten minutes on two cores:

    python -m scripts.benchmark_label_space VERSION --records sample:60
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer

from clinical_coding.code_library import ICD10CM_RELEASE
from clinical_coding.code_systems import CodeSystems
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Note
from governance.versions import resolve_version
from scripts.benchmark_results import Row, write_results
from scripts.evaluation import records_of
from scripts.model_benchmark.timing import seconds, side_by_side
from training.config import load_config
from training.extend import Addition, extend_bundle, plan_extension
from training.model import Scorer

_ROUNDS: Final = 3
_TOP: Final = 50
_CPU: Final = torch.device("cpu")


def extend(source: Path, folder: Path, *, config: Path) -> None:
    """Write a bundle with the labels of another, in their order, and after them all others of the release."""
    systems = CodeSystems.embedded()
    extension = plan_extension(source, release=ICD10CM_RELEASE, addition=Addition.ALL, systems=systems)
    base = load_config(config).base_model
    extend_bundle(source, folder, added=extension.labels, base=base, systems=systems, progress=lambda _: None)


_SERVE: Final = """
import sys
from pathlib import Path
import torch
from clinical_coding.records import Note
from scripts.model_benchmark.timing import peak_gigabytes
from training.model import Scorer

scorer = Scorer(Path(sys.argv[1]))
for text in map(Path.read_text, sorted(Path(sys.argv[2]).iterdir())):
    scorer.score([[Note(note_id="n1", text=text)]])
sys.stdout.write(str(peak_gigabytes(torch.device("cpu"))))
"""


def _peak_gigabytes(folder: Path, documents: list[tuple[Note, ...]]) -> float:
    """Peak memory of a fresh process that loads a bundle and scores documents one by one."""
    with tempfile.TemporaryDirectory() as texts:
        for at, document in enumerate(documents):
            (Path(texts) / f"{at:06d}").write_text("\n".join(note.text for note in document))
        done = subprocess.run(
            [sys.executable, "-c", _SERVE, str(folder), texts], capture_output=True, text=True, check=True
        )
    return float(done.stdout)


def _recall(found: tuple[PredictedCode, ...], wanted: tuple[PredictedCode, ...]) -> float:
    best = {code.key for code in wanted[:_TOP]}
    return len(best & {code.key for code in found[:_TOP]}) / len(best)


def _same_suggested(found: tuple[PredictedCode, ...], wanted: tuple[PredictedCode, ...]) -> bool:
    one, other = ({code.key for code in codes if code.suggested} for codes in (found, wanted))
    return one == other


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def run(
    version: Annotated[str, typer.Argument(help="A version reference or a bundle's folder.")],
    records: Annotated[str, typer.Option(help="Notes to score.")] = "sample:60",
    split: Annotated[str | None, typer.Option(help="Only the records of one split.")] = None,
    num_notes: Annotated[int, typer.Option(help="Records to score, from the first.")] = 60,
    config: Annotated[Path, typer.Option(help="Training configuration; names the base model.")] = Path(
        "configs/train-sample.yaml"
    ),
    data_dir: Annotated[Path, typer.Option(help="Data directory of the version.")] = Path("mlruns"),
) -> None:
    """Extend, measure, write docs/benchmarks/label-space.json."""
    documents = [record.notes for record in islice(records_of(records, split=split), num_notes)]
    source = resolve_version(version, data_dir=data_dir).folder
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "release"
        extend(source, folder, config=config)
        peak = _peak_gigabytes(folder, documents)
        own, release = Scorer(source), Scorer(folder)
        ways = {"own": own, "release": release, "in full": Scorer(folder, max_labels_in_full=sys.maxsize)}
        timed = {name: partial(seconds, partial(scorer.score, documents), _CPU) for name, scorer in ways.items()}
        taken = {name: took / len(documents) * 1e3 for name, took in side_by_side(timed, rounds=_ROUNDS).items()}
        found, wanted = (ways[name].score(documents) for name in ("release", "in full"))
    few = f"{len(own.labels):,} labels"
    rows = [
        Row("note_time_release", taken["release"], "ms/note", few, taken["own"]),
        Row("note_time_release_in_full", taken["in full"], "ms/note", few, taken["own"]),
        Row("recall_of_the_50_best", _mean(map(_recall, found, wanted)), "share"),
        Row("records_with_the_same_suggested_codes", _mean(map(_same_suggested, found, wanted)), "share"),
        Row("peak_memory_release", peak, "GB"),
    ]
    for row in rows:
        typer.echo(f"{row.metric:<40} {row.value:.4g} {row.unit}" + (f"  ratio {row.ratio:.3f}" if row.ratio else ""))
    facts = {"num_labels": len(release.labels), "num_trained_labels": len(own.labels), "num_notes": len(documents)}
    typer.echo(write_results("label-space", rows, **facts))


if __name__ == "__main__":
    typer.run(run)
