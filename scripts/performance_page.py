"""docs/performance.md and its plots, written from benchmark results; every figure in its tables is one on file.

python -m scripts.performance_page
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from clinical_coding.artefact import publish
from scripts.benchmark_results import RESULTS
from scripts.performance_plots import OURS, plot_beside_peers, plot_label_spaces
from scripts.result_tables import device, table

__all__ = ["render"]

_DOCS: Final = RESULTS.parent
_MODEL: Final = RESULTS / "model"

_PAGE: Final = """# How fast the model is, and what limits it

Written by `python -m scripts.performance_page` from the files in [benchmarks/model](benchmarks/model).

## The question

How near do the training step and the forward pass come to what the hardware can do, and how do they compare with the
usual way to run the same model? Does a whole code release cost more than the codes that were trained?

## The method

One script measures ours and each peer in the same run, in turning order, on the same notes with the same weights;
figures are medians over rounds, after one that does not count. Weights are random, of real shapes; note lengths are
log-normal with a median of 350 words, sigma 0.9, at most 6,000 words. The first rows are the ceilings: a large matrix
product in the working precision, and a copy. A ratio is ours over the peer's: of notes or tokens a second more is
better, of time, memory, padding, arithmetic or traffic less. Time is what differs from run to run; what is counted
(padding, arithmetic, traffic) does not.

- *padded Trainer*: `transformers.Trainer` with PEFT on the same LoRA placement, notes of a batch of 8 padded to its
  longest, the same sampled labels, loss and precision; attention drops nothing on either side, since fast kernels
  cannot. Ours packs windows of like length, updates only the label rows that a step scores, drops in the layers with
  LoRA alone, and draws eight elements' dropout from one random word.
- Forward: ours runs as a served model does, packed windows of many notes, and on CPUs the encoder through OpenVINO.
  *one by one*: eager PyTorch, a note at a time. *padded*: eager, batches of 8 padded to the longest.
  *sentence-transformers*: its own `encode` over the same windows, given as token ids, sorted by length as it does by
  itself; then the head as ours runs.
- Variants are ours in another way, beside ours as it is: *lower layers stored* reads the output of the frozen layers
  below LoRA from disk; the encoder in eager PyTorch, or compiled by it.
- Peak memory is that of a fresh process that does nothing else.
- More than {num_in_full:,} labels are scored in two stages: a rough pass over all of them in {dimensions} dimensions,
  full label attention for the {num_shortlisted:,} best.
- *share of the matmul ceiling* counts two FLOP for each weight of a layer's matrices and four for each attended pair
  and channel; a training step counts the layers below LoRA once and those with LoRA twice. *Traffic* counts the weights
  once a call of the encoder, and input and output of each matrix for every token.

What is fast is also right. Over fresh random inputs, packed equals separate, flat rows equal stacks, stored equals
computed, several passes equal one, and activation checkpointing changes nothing, in loss and gradients; batched equals
single in every score; two processes give the losses and weights of one, dropout aside, and a run that was killed those
of one that was not ([tests/training](../tests/training)).

## Two CPU cores

`{command}`, {device}, torch {torch}, transformers {transformers}.

![Ours beside its peers](performance-cpu.svg)

![Time by number of labels](performance-labels.svg)

{table}

Other ways to run ours:

{variants}

## GPU

{gpu}

## A trained version over a whole code release

A trained version, extended by every other code of the ICD-10-CM release, scores notes in two stages and, for recall,
over all labels in full. Memory is the peak of a fresh process that loads the extended version and scores the notes one
by one.

{labels}

## int8 on two CPU cores

{int8}

## What limits us now

- Training: three quarters of a step are the matrix products of encoder, LoRA and attention; LoRA's, of rank 16, run far
  below the ceiling, because they read and write whole activations. Most of the rest are passes over activations.
- Stored lower layers save the forward pass through half of the layers. Were all of a step at the ceiling, that would be
  a third of it; it is less by what LoRA, dropout and head add to the other half.
- Forward: float32 is near the matrix product's ceiling. OpenVINO on CPUs wins what PyTorch's kernels leave; more needs
  a lower precision.
- Large label spaces: the rough pass still touches every label, once for each four tokens. In training, parameters and
  optimiser state of the label rows lie in memory, 9 KB a label at 384 channels; a step touches those that it scores.
"""
_NO_LABELS: Final = "Not yet measured: `python -m scripts.benchmark_label_space VERSION`"
_NO_INT8: Final = "Not yet measured, and not offered."
_NO_GPU: Final = """Not yet measured. With one GPU and the CUDA build of torch, in a checkout after `scripts/install`:

    python -m scripts.benchmark_model --suite gpu
    python -m scripts.performance_page

The first writes `docs/benchmarks/model/gpu.json`, the second this section."""


def _section(path: Path, *, absent: str) -> str:
    """Command, what was measured on, and table of a results file."""
    if not path.is_file():
        return absent
    measured = json.loads(path.read_text())
    told = [measured["summary"]] if "summary" in measured else []
    return "\n\n".join(
        [f"`{measured['command']}`, {measured.get('gpu') or device(measured)}.", *told, table(measured["rows"])]
    )


def render() -> str:
    """The page.

    Raises:
        ValueError: Nothing has been measured on the CPU.
    """
    # Only what the page says of the shortlist is asked of the model.
    from training.model.shortlist import DIMENSIONS, MAX_LABELS_IN_FULL, NUM_SHORTLISTED

    results = _cpu_results()
    variants = [row for row in results["rows"] if row["peer"] == OURS]
    return _PAGE.format(
        num_in_full=MAX_LABELS_IN_FULL,
        num_shortlisted=NUM_SHORTLISTED,
        dimensions=DIMENSIONS,
        command=results["command"],
        device=device(results),
        torch=results["versions"]["torch"],
        transformers=results["versions"]["transformers"],
        table=table([row for row in results["rows"] if row not in variants]),
        variants=table(variants, ours="variant", peer="ours"),
        gpu=_section(_MODEL / "gpu.json", absent=_NO_GPU),
        labels=_section(RESULTS / "label-space.json", absent=_NO_LABELS),
        int8=_section(_MODEL / "int8.json", absent=_NO_INT8),
    )


def _cpu_results() -> dict[str, Any]:
    source = _MODEL / "cpu.json"
    if not source.is_file():
        raise ValueError(f"{source} does not exist; measure first: python -m scripts.benchmark_model --suite cpu")
    found: dict[str, Any] = json.loads(source.read_text())
    return found


def main() -> None:
    """Write page and plots."""
    try:
        rows = _cpu_results()["rows"]
    except ValueError as error:
        sys.exit(str(error))
    plot_beside_peers(rows, _DOCS / "performance-cpu.svg")
    plot_label_spaces(rows, _DOCS / "performance-labels.svg")
    with publish(_DOCS / "performance.md") as stream:
        stream.write(render())


if __name__ == "__main__":
    main()
