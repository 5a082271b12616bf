"""Why int8 is not offered on CPUs: what it would gain, and what it would change, on a trained version.

Three ways to run the encoder in fewer bits through OpenVINO. None lets the notes that are read together change each
other's result: activations are scaled within a token. Each must be at least twice as fast as eager float32, a note at a
time, lose at most 0.002 of micro-F1, and leave 99% of the suggested codes unchanged. Takes ten minutes on two cores:

    python -m scripts.benchmark_int8 VERSION --records codiesp:PATH --split dev
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from openvino import Model, Type
from openvino import opset13 as ops
from torch import nn

from clinical_coding.metrics import evaluate
from clinical_coding.predictions import PredictedCode, Prediction
from clinical_coding.records import CodedRecord
from governance.versions import resolve_version
from scripts.benchmark_results import Row, write_results
from scripts.evaluation import records_of
from scripts.model_benchmark.shapes import MINILM, make_head, random_notes
from scripts.model_benchmark.timing import seconds, side_by_side
from scripts.model_benchmark.ways import SIGMA, Forward
from training.model import Scorer
from training.model.encoder import load_encoder
from training.model.openvino_encoder import convert, on_cpu

_LEAST_GAIN: Final = 2.0
_MOST_LOST_F1: Final = 0.002
_LEAST_UNCHANGED: Final = 0.99
_ROUNDS: Final = 5
_NUM_NOTES: Final = 16
_NUM_LABELS: Final = 2_000
_CPU: Final = torch.device("cpu")


def _quantise_weights(model: Model, *, group: int | None) -> Model:
    """Put eight-bit weights in place of every matrix, with one scale and zero a group of input channels.

    OpenVINO then quantises the activations of each token by itself, group by group, and multiplies in int8.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        constant = node.input(1).get_source_output().get_node()
        if constant.get_type_name() != "Constant" or len(constant.shape) != 2:
            continue
        weights = np.array(constant.data, dtype=np.float32)
        grouped = weights.reshape(len(weights), -1, group or weights.shape[1])
        least = np.minimum(grouped.min(axis=2, keepdims=True), 0)
        scale = (np.maximum(grouped.max(axis=2, keepdims=True), 0) - least) / 255
        zero = np.rint(-least / scale)
        levels = np.clip(np.rint(grouped / scale) + zero, 0, 255).astype(np.uint8)
        lifted = ops.subtract(
            ops.convert(ops.constant(levels, Type.u8), "f32"),
            ops.convert(ops.constant(zero.astype(np.uint8), Type.u8), "f32"),
        )
        scaled = ops.multiply(lifted, ops.constant(scale.astype(np.float32)))
        flat = ops.reshape(scaled, ops.constant(np.array(weights.shape, dtype=np.int64)), False)
        node.input(1).replace_source_output(flat.output(0))
    model.validate_nodes_and_infer_types()
    return model


def _attempts(encoder: nn.Module) -> dict[str, nn.Module]:
    """The encoder in fewer bits."""

    def int8(group: int | None, dynamic: int) -> nn.Module:
        quantised = _quantise_weights(convert(encoder), group=group)
        return on_cpu(quantised, DYNAMIC_QUANTIZATION_GROUP_SIZE=str(dynamic))

    with torch.inference_mode():
        return {
            "int8, a scale for 64 channels of a token": int8(64, 64),
            "int8, a scale for each token": int8(None, int(encoder.config.hidden_size)),  # type: ignore[union-attr, arg-type]
            "bfloat16": on_cpu(convert(encoder), INFERENCE_PRECISION_HINT="bf16"),
        }


def _speeds(encoder: nn.Module, fp32: nn.Module, attempts: Mapping[str, nn.Module]) -> list[Row]:
    """Notes a second of each, beside eager float32 a note at a time; the head has 2,000 labels."""
    head = make_head(encoder, num_labels=_NUM_LABELS).requires_grad_(requires_grad=False)
    notes = random_notes(_NUM_NOTES, shape=MINILM, sigma=SIGMA, seed=1)
    with torch.inference_mode():
        plain = Forward(
            encoder=encoder,
            fast_encoder=fp32,
            is_flat=False,
            head=head,
            vectors=head.freeze_labels(),
            shortlist=None,
            device=_CPU,
            dtype=torch.float32,
        )
    ways = {name: replace(plain, fast_encoder=made).packed for name, made in {"fp32": fp32, **attempts}.items()}
    ways["one by one"] = plain.one_by_one
    taken = side_by_side(
        {name: partial(seconds, partial(way, notes), _CPU) for name, way in ways.items()}, rounds=_ROUNDS
    )
    eager = _NUM_NOTES / taken.pop("one by one")
    return [
        Row(f"{name}: notes", _NUM_NOTES / took, "notes/s", "eager float32 one by one", eager)
        for name, took in taken.items()
    ]


def _greatest_change(codes: tuple[PredictedCode, ...], others: tuple[PredictedCode, ...]) -> float:
    """Of the confidence of a code that both rank."""
    one, other = ({code.key: code.confidence for code in side} for side in (codes, others))
    return max(abs(one[key] - other[key]) for key in one.keys() & other.keys())


def _suggested(found: Sequence[tuple[PredictedCode, ...]]) -> set[tuple[int, str]]:
    return {(at, code.key) for at, codes in enumerate(found) for code in codes if code.suggested}


def _quality(scorer: Scorer, records: list[CodedRecord], attempts: Mapping[str, nn.Module]) -> list[Row]:
    """What each changes: the suggested codes, micro-F1, and one note's confidence by the notes beside it."""
    notes = [record.notes for record in records]

    def measured(found: Sequence[tuple[PredictedCode, ...]]) -> float:
        predictions = [
            Prediction(record_id=record.record_id, version="0", codes=codes)
            for record, codes in zip(records, found, strict=True)
        ]
        return evaluate(records, predictions).overall.micro_f1

    before = scorer.score(notes)
    rows = [Row("fp32: micro-F1", measured(before), "proportion")]
    fp32 = scorer._encoder
    for name, encoder in attempts.items():
        scorer._encoder = encoder
        after = scorer.score(notes)
        wanted, found = _suggested(before), _suggested(after)
        alone = [scorer.score([one])[0] for one in notes[:_NUM_NOTES]]
        moved = max(map(_greatest_change, alone, after))
        rows += [
            Row(f"{name}: suggested codes kept", len(wanted & found) / len(wanted), "share of fp32's"),
            Row(f"{name}: suggested codes unchanged", len(wanted & found) / len(wanted | found), "share of both's"),
            Row(f"{name}: micro-F1 beyond fp32", measured(after) - rows[0].value, "proportion"),
            Row(f"{name}: greatest change by notes beside it", moved, "confidence"),
        ]
    scorer._encoder = fp32
    return rows


def _summary(rows: Sequence[Row], attempts: Mapping[str, Any]) -> str:
    def value(name: str) -> Row:
        return next(row for row in rows if row.metric == name)

    meets = [
        name
        for name in attempts
        if (value(f"{name}: notes").ratio or 0) >= _LEAST_GAIN
        and value(f"{name}: suggested codes unchanged").value >= _LEAST_UNCHANGED
        and value(f"{name}: micro-F1 beyond fp32").value >= -_MOST_LOST_F1
    ]
    bounds = f"{_LEAST_GAIN:g} times eager, {_LEAST_UNCHANGED:g} unchanged, {_MOST_LOST_F1:g} of micro-F1"
    return f"Bounds: {bounds}. " + (f"Met by: {', '.join(meets)}." if meets else "None meets all three: not offered.")


def run(
    version: Annotated[str, typer.Argument(help="A version reference or a bundle's folder.")],
    records: Annotated[str, typer.Option(help="Notes to score.")] = "sample:200?seed=1",
    split: Annotated[str | None, typer.Option(help="Only the records of one split.")] = None,
    num_notes: Annotated[int, typer.Option(help="Records to score, from the first.")] = 250,
    data_dir: Annotated[Path, typer.Option(help="Data directory of the version.")] = Path("mlruns"),
) -> None:
    """Measure, write docs/benchmarks/model/int8.json."""
    folder = resolve_version(version, data_dir=data_dir).folder
    scorer, encoder = Scorer(folder), load_encoder(folder / "encoder").eval().requires_grad_(requires_grad=False)
    attempts = _attempts(encoder)
    rows = _speeds(encoder, scorer._encoder, attempts)
    rows += _quality(scorer, list(islice(records_of(records, split=split), num_notes)), attempts)
    for row in rows:
        typer.echo(f"{row.metric:<70} {row.value:.4g} {row.unit}" + (f"  ratio {row.ratio:.3f}" if row.ratio else ""))
    typer.echo(
        write_results("model/int8", rows, summary=_summary(rows, attempts), num_trained_labels=len(scorer.labels))
    )


if __name__ == "__main__":
    typer.run(run)
