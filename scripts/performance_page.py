"""docs/performance.md and its plot, written from benchmark results; no figure is typed by hand.

python -m scripts.performance_page
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from clinical_coding.artefact import publish, publish_path
from scripts.benchmark_results import RESULTS

_DOCS: Final = RESULTS.parent
_PLOT: Final = "performance-cpu.svg"
_BLUE, _GREY = "#0072B2", "#999999"

_PAGE: Final = """# How fast the model is, and what limits it

Written by `python -m scripts.performance_page` from the files in [benchmarks/model](benchmarks/model).

## The question

How near do the training step and the forward pass come to what the hardware can do, and how do they compare with the
usual way to run the same model?

## The method

One script measures ours and each peer in the same run, in turning order, on the same notes with the same weights;
figures are medians over rounds, after one that does not count. Weights are random, of real shapes; note lengths are
log-normal with a median of 350 words, sigma 0.9, at most 6,000 words. The first rows are the ceilings: a large matrix
product in the working precision, and a copy.

- *padded Trainer*: `transformers.Trainer` with PEFT on the same LoRA placement, notes of a batch of 8 padded to its
  longest, the same sampled labels, loss and precision.
- Ours runs as a served model does: packed windows, and on CPUs the encoder through OpenVINO.
- *one by one*: eager, a note at a time. *padded*: eager, batches of 8 padded to the longest.
- *share of the matmul ceiling* counts two FLOP for each weight of a layer's matrices and four for each attended pair
  and channel; a training step counts the layers below LoRA once and those with LoRA twice.

## Two CPU cores

`{command}`, {device}, torch {torch}, transformers {transformers}.

![Ours beside its peers](performance-cpu.svg)

{table}

## GPU

{gpu}

## A trained version over a whole code release

A version trained on CodiEsp, extended by every other code of the ICD-10-CM release, scores the dev split's first notes:
in two stages (a rough pass over all labels, full label attention for the best of them) and, for recall, over all labels
in full. Memory is that of a fresh process that loads the extended version and scores the notes one by one.

{labels}

## What limits us now

- Training: the gradients of the label embeddings and their optimiser states cover the whole label space, so a step's
  cost and memory grow with it; training runs in one process.
- Forward: float32 is near the matrix product's ceiling. OpenVINO on CPUs wins what PyTorch's kernels leave; more needs
  a lower precision, and an int8 version is not offered, for none has been shown to suggest the same codes.
- Large label spaces: the rough pass still touches every label, once for each four tokens.
"""
_NO_LABELS: Final = "Not yet measured: `python -m scripts.benchmark_label_space VERSION`"
_NO_GPU: Final = """Not yet measured. With a GPU and the CUDA build of torch:

    python -m scripts.benchmark_model --suite gpu"""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| measure | ours | unit | peer | peer's | ratio |", "|---|---:|---|---|---:|---:|"]
    for row in rows:
        peer = ("", "", "")
        if row["peer"]:
            peer = (row["peer"], _number(row["peer_value"]), f"{row['ratio']:.2f}")
        lines.append(f"| {row['metric']} | {_number(row['value'])} | {row['unit']} | {' | '.join(peer)} |")
    return "\n".join(lines)


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    compared = [row for row in rows if row["peer"] and row["unit"] == "notes/s"][::-1]
    with mpl.rc_context({"svg.hashsalt": "chartloop", "font.size": 9}):
        figure = Figure(figsize=(8, 0.7 + 0.75 * len(compared)), layout="constrained")
        axes = figure.subplots()
        for at, row in enumerate(compared):
            axes.barh(at + 0.19, row["value"], height=0.36, color=_BLUE, label="ours" if at == 0 else None)
            axes.barh(at - 0.19, row["peer_value"], height=0.36, color=_GREY, label="peer" if at == 0 else None)
            axes.annotate(f" {row['ratio']:.2f} times", (row["value"], at + 0.19), va="center")
        axes.set_yticks(range(len(compared)), [f"{row['metric']}\nbeside {row['peer']}" for row in compared])
        axes.set_xlabel("notes a second; longer is better")
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
        with publish_path(path) as aside:
            figure.savefig(aside, format="svg", metadata={"Date": None})


def main() -> None:
    """Write page and plot."""
    source = RESULTS / "model" / "cpu.json"
    if not source.is_file():
        sys.exit(f"{source} does not exist; measure first: python -m scripts.benchmark_model --suite cpu")
    results = json.loads(source.read_text())
    gpu_source = RESULTS / "model" / "gpu.json"
    gpu = _NO_GPU
    if gpu_source.is_file():
        measured = json.loads(gpu_source.read_text())
        gpu = f"`{measured['command']}`, {measured['gpu']}.\n\n{_table(measured['rows'])}"
    labels_source = RESULTS / "label-space.json"
    labels = _NO_LABELS
    if labels_source.is_file():
        measured = json.loads(labels_source.read_text())
        labels = f"`{measured['command']}`\n\n{_table(measured['rows'])}"
    _plot(results["rows"], _DOCS / _PLOT)
    page = _PAGE.format(
        command=results["command"],
        device=f"{results['device']['processor']}, {results['threads']} threads",
        torch=results["versions"]["torch"],
        transformers=results["versions"]["transformers"],
        table=_table(results["rows"]),
        gpu=gpu,
        labels=labels,
    )
    with publish(_DOCS / "performance.md") as stream:
        stream.write(page)


if __name__ == "__main__":
    main()
