"""The feedback experiment: does the next version get better by adjudicated overrides, and worse by raw ones?

Runs ``experiment_design`` for several seeds, resamples their encounters, and writes docs/feedback.md with its
plot, and docs/benchmarks/feedback-experiment.json. Seeds that are done already are found in the work folder.
"""

import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from scripts.benchmark_results import Row, write_results
from scripts.experiment_design import ARMS, Sizes, run_seed
from scripts.experiment_page import write_page
from scripts.experiment_statistics import SCOPES, Compared, accuracies, pooled
from scripts.options import DEFAULT_DATA_DIR

__all__ = ["main", "rows_of"]


def _columns(result: dict[str, Any], *, scope: str) -> NDArray[np.float64]:
    """Counts [N, 2 * arms] of one seed."""
    first = 2 * SCOPES.index(scope)
    return np.concatenate(
        [np.array(result["counts"][arm], dtype=np.float64)[:, first : first + 2] for arm in ARMS], axis=1
    )


def _run(seeds: list[int], *, work: Path, sizes: Sizes, workers: int, console: Console) -> list[dict[str, Any]]:
    """Run the seeds side by side, each in a process of its own with its share of the cores."""
    num_threads = max(1, (os.cpu_count() or 1) // workers)
    # Read when a worker imports its libraries, before anything could set it there.
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    one = partial(run_seed, work=work, sizes=sizes, num_threads=num_threads)
    began, found = time.monotonic(), {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(one, seed): seed for seed in seeds}
        for done in as_completed(waiting):
            found[waiting[done]] = done.result()
            console.print(f"seed {waiting[done]} done after {time.monotonic() - began:,.0f} s")
    return [found[seed] for seed in seeds]


def rows_of(results: list[dict[str, Any]], compared: list[Compared]) -> list[Row]:
    """Name the figures: accuracies over all seeds, then differences with interval and spread."""
    rows = []
    for scope in SCOPES:
        sums = np.sum([_columns(result, scope=scope).sum(axis=0) for result in results], axis=0)
        for arm, value in zip(ARMS, accuracies(sums), strict=True):
            rows.append(Row(f"{scope}: {arm}", round(float(value), 4), "code-over-code accuracy"))
    for one in compared:
        name = f"{one.scope}: {one.arm} minus {one.over}"
        rows.append(Row(name, round(one.difference, 4), "difference"))
        rows.append(Row(f"{name}, interval from", round(one.low, 4), "difference"))
        rows.append(Row(f"{name}, interval to", round(one.high, 4), "difference"))
        spread = statistics.stdev(one.by_seed) if len(one.by_seed) > 1 else 0.0
        rows.append(Row(f"{name}, standard deviation over seeds", round(spread, 4), "difference"))
    return rows


def main(
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 5,
    first_seed: Annotated[int, typer.Option("--first-seed", min=1, help="The first of them.")] = 1,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Seeds side by side.")] = 2,
    base: Annotated[int, typer.Option("--base", min=50, help="Records that version 1 learns from.")] = 300,
    fresh: Annotated[int, typer.Option("--fresh", min=50, help="Encounters that coders decide on.")] = 500,
    evaluation: Annotated[int, typer.Option("--evaluation", min=50, help="Records to measure on.")] = 300,
    work: Annotated[
        Path, typer.Option("--work", help="Where finished steps are kept; an interrupted run goes on.")
    ] = DEFAULT_DATA_DIR / "feedback-experiment",
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write docs/feedback.md and the results.")] = True,
) -> None:
    """Run the experiment and write its page."""
    console, sizes = Console(), Sizes(base, fresh, evaluation)
    chosen = list(range(first_seed, first_seed + seeds))
    results = _run(chosen, work=work, sizes=sizes, workers=workers, console=console)
    compared = [
        one for scope in SCOPES for one in pooled([_columns(result, scope=scope) for result in results], scope=scope)
    ]
    each = {
        result["seed"]: [one for scope in SCOPES for one in pooled([_columns(result, scope=scope)], scope=scope)]
        for result in results
    }
    rows = rows_of(results, compared)
    for row in rows:
        console.print(f"{row.metric}: {row.value} ({row.unit})")
    if not page:
        return
    by_seed = {str(seed): [asdict(one) for one in ones] for seed, ones in each.items()}
    facts = [result["facts"] for result in results]
    path = write_results("feedback-experiment", rows, seeds=chosen, sizes=asdict(sizes), by_seed=by_seed, facts=facts)
    console.print(f"written to {path} and {write_page(results, compared=compared, rows=rows, sizes=sizes)}")


if __name__ == "__main__":
    typer.run(main)
