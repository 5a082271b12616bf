"""docs/benchmarks/serving.md, written from benchmark results; every figure in its tables is one on file.

python -m scripts.serving_page
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from clinical_coding.artefact import publish
from scripts.benchmark_results import RESULTS
from scripts.result_tables import device, number, table

__all__ = ["PAGE", "curve_table", "render"]

PAGE: Final = RESULTS / "serving.md"

_PAGE: Final = """# How fast serving is, what it does under too much load, and what it survives

Written by `python -m scripts.serving_page` from [serving.json](serving.json), [soak.json](soak.json),
[faults.json](faults.json) and [serving-gpu.json](serving-gpu.json), where they have been measured.

## The method

One trained version, one run, one server at a time on the same cores; the client is a process of its own on them, too,
and its processor time is told apart. Notes are texts of the sample generator, strung together and cut: *300 words*, or
*mixed lengths*, from 50 to 3,000 words, spread evenly on a logarithmic scale and shuffled, the same for every server.

- *chartloop* is all of `chartloop serve`: key, review of the documentation, findings and queries, the suggestion stored
  with its notes before it is answered. *Its Triton alone* is asked over gRPC, past the gateway.
- The peers run the same version, the same windows, label attention, calibration and evidence, by the plain Hugging
  Face forward: eager PyTorch, notes of a batch padded to its longest. Before anything is measured each peer must
  suggest the same codes for the same notes, confidences within 0.001. *LitServe* has its batching tuned: of the ways
  to batch below, the one with most notes a second; one of them is no batching, which spares all padding. *LitServe,
  our forward* is LitServe around the forward that chartloop serves. *mlflow models serve* runs the model as a pyfunc,
  *FastAPI* one request at a time.
- *Throughput at a p99 of*: each server answers so many clients at once, in turn each number below; a client that has
  its answer asks the next, and one that is told to come back (*sent back*) does, its waiting counted in its latency.
  Where the peer gives most notes a second, its p99 is read off; ours is what chartloop gives
  with a p99 of at most that, between two numbers of clients on a straight line.
- *Share of the in-process forward*: the same notes scored by one process that does nothing else, in batches of 1, 8
  and 16; the best of them.
- *gateway_overhead*: each note asked of the gateway and of its Triton, the order by lot, one client. Differences are
  those of each note's two times; *difference of p99s* is that of the two distributions.
- *Overload*: arrivals at random times, three times as many as the peak throughput, that wait for nobody. *Goodput* is
  what was answered within the deadline, until the last answer.
- *Interactive beside bulk*: a fifth of the peak throughput arrives at random, alone, then beside a bulk stream that
  takes what is left.

## Beside the peers, mixed lengths

{beside}

Each server at each number of clients; processor time is that of a note:

{curves}

Ways to batch that were tried in LitServe:

{tried}

## chartloop alone

{alone}

## Half an hour of load

{soak}

## Faults

{faults}

## GPU

{gpu}
"""
_NOT_YET: Final = "Not yet measured: `{command}`"
_THROUGHPUT_AT: Final = "throughput at"


def render() -> str:
    """The page."""
    serving = _results("serving")
    rows = serving["rows"] if serving else []
    beside = [row for row in rows if row["metric"].startswith(_THROUGHPUT_AT)]
    not_yet = _NOT_YET.format(command="python -m scripts.benchmark_serving")
    return _PAGE.format(
        beside=_told(serving, beside) if beside else not_yet,
        curves=_curves(serving, "curves") or not_yet,
        tried=_curves(serving, "batching_tried") or not_yet,
        alone=table([row for row in rows if row not in beside]) if rows else not_yet,
        soak=_section("soak", command="python -m scripts.benchmark_soak"),
        faults=_section("faults", command="python -m scripts.faults"),
        gpu=_section("serving-gpu", command="python -m scripts.benchmark_serving_gpu"),
    )


def _results(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _section(name: str, *, command: str) -> str:
    measured = _results(name)
    return _told(measured, measured["rows"]) if measured else _NOT_YET.format(command=command)


def _told(measured: dict[str, Any] | None, rows: Sequence[dict[str, Any]]) -> str:
    assert measured is not None
    return f"`{measured['command']}`, {measured.get('gpu') or device(measured)}.\n\n{table(list(rows))}"


def _curves(measured: dict[str, Any] | None, name: str) -> str | None:
    curves = measured.get(name) if measured else None
    return curve_table(curves) if curves else None


def curve_table(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Every level of every server.

    Args:
        curves: By server, each level as ``serving_benchmark.comparison.describe_curve`` tells it.
    """
    lines = [
        "| server | clients | notes/s | p50, s | p99, s | client CPU, ms | server CPU, ms | sent back | failed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for server, levels in curves.items():
        for level in levels:
            a_note = 1000 / level["num_notes"]
            told = [
                level["num_clients"],
                *(level[name] for name in ("notes_per_second", "p50_seconds", "p99_seconds")),
                level["client_cpu_seconds"] * a_note,
                level["server_cpu_seconds"] * a_note,
                level["num_sent_back"],
                level["num_failed"],
            ]
            lines.append(f"| {server} | {' | '.join(map(number, told))} |")
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    with publish(PAGE) as stream:
        stream.write(render())


if __name__ == "__main__":
    main()
