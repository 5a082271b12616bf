"""Speed of chartloop's serving beside its peers around the same trained version, on the same cores, in one run.

Serves the version named with ``chartloop serve`` and asks it; scores the same notes in a process of their own; then
serves the version's plain padded forward with LitServe, MLflow and FastAPI, and asks those. One server runs at a
time; this process is the client, and its processor time is told apart. Writes docs/benchmarks/serving.json.
"""

import asyncio
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from scripts.benchmark_results import Row, write_results
from scripts.options import CONFIGS, DEFAULT_DATA_DIR, DataDir

__all__ = ["run"]

_SHORT_WORDS = 300


def run(
    version: Annotated[str, typer.Option(help="The version to serve.")] = "candidate",
    notes: Annotated[int, typer.Option(help="Notes for each measurement.")] = 60,
    levels: Annotated[str, typer.Option(help="Numbers of clients, comma between.")] = "1,2,4,8,16",
    overload_seconds: Annotated[float, typer.Option(help="Three times overload, for so long.")] = 60.0,
    priority_seconds: Annotated[float, typer.Option(help="Interactive beside bulk, for so long.")] = 30.0,
    peers: Annotated[bool, typer.Option(help="Measure the peers too.")] = True,
    json: Annotated[Path | None, typer.Option(help="Results file in place of docs/benchmarks/serving.json.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Measure, and write the results."""
    from governance.versions import resolve_version
    from scripts.serving_benchmark.comparison import Comparison, describe_curve, rows_beside
    from scripts.serving_benchmark.curves import Curve
    from scripts.serving_benchmark.gateway_measures import Sizes, measure_gateway, share_rows, short_note_rows
    from scripts.serving_benchmark.gateway_server import gateway
    from scripts.serving_benchmark.in_process import notes_per_second
    from scripts.serving_benchmark.note_texts import LEAST_WORDS, MOST_WORDS, mixed_lengths, texts_of
    from scripts.serving_benchmark.processes import end_servers_with_us
    from serving.settings import load_serving

    end_servers_with_us()
    resolved = resolve_version(version, data_dir=data_dir)
    sizes = Sizes(
        tuple(int(level) for level in levels.split(",")),
        overload_seconds,
        priority_seconds,
        load_serving(CONFIGS / "serving.yaml").gateway.deadline_seconds,
    )
    mixed = texts_of(mixed_lengths(notes, seed=1), seed=1)
    short = texts_of([_SHORT_WORDS] * 2 * notes, seed=2)
    known = texts_of(mixed_lengths(8, seed=3), seed=3)
    with gateway(version, data_dir=data_dir) as server:
        ours = asyncio.run(
            measure_gateway(
                server,
                bundle=resolved.folder,
                number=resolved.version.number or 1,
                known_texts=known,
                mixed=mixed,
                short=short,
                sizes=sizes,
            )
        )
    rates = {
        (name, size): notes_per_second(resolved.folder, texts, notes_a_batch=size)
        for name, texts in (("300 words", short), ("mixed lengths", mixed))
        for size in (1, 8, 16)
    }
    curves, tried = dict[str, Curve](), dict[str, Curve]()
    if peers:
        comparison = Comparison(
            resolved.folder,
            texts=mixed,
            levels=sizes.levels,
            threads=os.cpu_count() or 1,
            known_texts=known,
            known_answers=ours.known_answers,
            tuning_texts=texts_of(mixed_lengths(24, seed=4), seed=4),
        )
        curves, tried = asyncio.run(comparison.run())
    measured = {"chartloop, gateway and Triton": ours.gateway_curve, "its Triton alone": ours.triton_curve} | curves
    rows = [
        *short_note_rows(ours.short_notes, rates),
        *rows_beside(ours.gateway_curve, curves),
        *share_rows(ours.gateway_curve, rates),
        *ours.rows,
        *(Row(f"in_process_batch_{size}, {name}", rate, "notes/s") for (name, size), rate in rates.items()),
    ]
    told = write_results(
        json or "serving",
        rows,
        words_a_note={"short": _SHORT_WORDS, "mixed": [LEAST_WORDS, MOST_WORDS]},
        notes_a_level=notes,
        threads=os.cpu_count(),
        curves={name: describe_curve(curve) for name, curve in measured.items()},
        batching_tried={name: describe_curve(curve) for name, curve in tried.items()},
        overload=asdict(ours.overloaded),
    )
    typer.echo(told)


if __name__ == "__main__":
    typer.run(run)
