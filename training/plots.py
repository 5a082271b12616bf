"""Figures of an evaluation and of a training, for people who read them in MLflow or in a report.

Every function gives a :class:`matplotlib.figure.Figure` of its own: no pyplot, no global state, no
display. Colours are Okabe and Ito's (2008), told apart by colour-blind readers. Knows neither MLflow
nor files; figures hold counts and proportions alone, never text of a note.

Shapes: N scored codes, pooled over records.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from clinical_coding.judging import Truth
from clinical_coding.metrics import Evaluation, Metrics
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord

__all__ = ["evaluation_figures", "training_curve"]

T = TypeVar("T")

Curve = Sequence[tuple[int, float]]
"""Points of step and value, by rising step."""

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
MAX_SPECIALTIES = 24
MAX_NAME_CHARACTERS = 36
MIN_SUPPORT = 30
"""Gold codes from which a bar is drawn in full colour: below, chance decides."""
MAX_CURVE_POINTS = 2_000
NUM_BINS = 10
Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class _Scored:
    """All scored codes of all records, unknown ones masked."""

    confidences_N: NDArray[np.float64]
    """Falling."""
    correct_N: NDArray[np.bool_]
    num_gold: int
    """Gold codes, those that were never scored included."""


def evaluation_figures(
    records: Iterable[CodedRecord], predictions: Iterable[Prediction], evaluation: Evaluation
) -> dict[str, Figure]:
    """Draw what an evaluation says.

    Args:
        records: What is true.
        predictions: Of the same records, in any order.
        evaluation: Computed from both.

    Returns:
        Figures by name: ``precision-recall``, ``specialties`` and ``reliability``.
    """
    scored = _pool(records, predictions)
    return {
        "precision-recall": _precision_recall(scored, overall=evaluation.overall),
        "specialties": _specialties(evaluation.slices.get("specialty", {}), overall=evaluation.overall),
        "reliability": _reliability(scored),
    }


def training_curve(losses: Mapping[str, Curve], scores: Mapping[str, Curve]) -> Figure:
    """Draw loss above and held-out score below, over the same steps.

    Args:
        losses: Loss by stage name.
        scores: Held-out mean average precision by stage name; the best point is marked.
    """
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axes, curves in ((upper, losses), (lower, scores)):
        for (name, curve), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
            steps, values = _columns(_thinned(curve))
            marker = "o" if len(steps) <= 60 else ""
            axes.plot(steps, values, color=colour, linewidth=1.4, marker=marker, markersize=3, label=name)
        _finish(axes)
        if len(curves) > 1:
            axes.legend(frameon=False)
    for curve in scores.values():
        if curve:
            _mark_best(lower, curve)
    upper.set_ylabel("training loss")
    lower.set(xlabel="optimiser step", ylabel="held-out mean\naverage precision")
    lower.margins(y=0.25)
    figure.align_ylabels()
    _title(upper, "Training")
    return figure


def _pool(records: Iterable[CodedRecord], predictions: Iterable[Prediction]) -> _Scored:
    truths = {record.record_id: Truth.of(record) for record in records}
    pairs: list[tuple[float, bool]] = []
    for prediction in predictions:
        truth = truths[prediction.record_id]
        pairs += [(code.confidence, code.key in truth.gold) for code in prediction.codes if truth.knows(code.key)]
    pairs.sort(key=lambda pair: -pair[0])
    return _Scored(
        confidences_N=np.array([confidence for confidence, _ in pairs], dtype=np.float64),
        correct_N=np.array([correct for _, correct in pairs], dtype=np.bool_),
        num_gold=sum(len(truth.gold) for truth in truths.values()),
    )


def _precision_recall(scored: _Scored, *, overall: Metrics) -> Figure:
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    _draw_f1_levels(axes)
    recall, precision = _curve_points(scored)
    axes.plot(recall, precision, color=BLUE, linewidth=1.8)
    axes.plot([overall.recall], [overall.precision], marker="o", color=ORANGE, markersize=8, markeredgecolor="white")
    # The curve falls: below and left of a point lies empty ground, and so does above and right.
    on_right = overall.recall > 0.5
    axes.annotate(
        f"at the threshold\nP {overall.precision:.3f}  R {overall.recall:.3f}  F1 {overall.micro_f1:.3f}",
        (overall.recall, overall.precision),
        xytext=(-10, -8) if on_right else (10, 8),
        textcoords="offset points",
        ha="right" if on_right else "left",
        va="top" if on_right else "bottom",
        color=ORANGE,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", aspect="equal")
    _finish(axes)
    _title(axes, f"Precision and recall, pooled over {overall.num_records:,} records ({scored.num_gold:,} gold codes)")
    return figure


def _curve_points(scored: _Scored) -> tuple[NDArray[Any], NDArray[Any]]:
    """Recall and precision of suggesting the first k codes, at every k where the confidence changes."""
    hits_N = np.cumsum(scored.correct_N)
    num_suggested_N = np.arange(1, len(hits_N) + 1)
    is_cut_N = np.append(scored.confidences_N[:-1] > scored.confidences_N[1:], True)[: len(hits_N)]
    recall = (hits_N / max(scored.num_gold, 1))[is_cut_N]
    precision = (hits_N / num_suggested_N)[is_cut_N]
    kept = _thinned(range(len(recall)))
    return recall[kept], precision[kept]


def _draw_f1_levels(axes: Axes) -> None:
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1) + 1e-9, 1, 200)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color=GREY, linewidth=0.6, linestyle=(0, (4, 4)))
        place = (1, f1 / (2 - f1))
        axes.annotate(f"F1 {f1:.1f}", place, xytext=(4, 0), textcoords="offset points", va="center", color=GREY)


def _specialties(slices: Mapping[str, Metrics], *, overall: Metrics) -> Figure:
    ranked = sorted(slices.items(), key=lambda item: (-item[1].num_codes, item[0]))
    shown = ranked[:MAX_SPECIALTIES][::-1]
    figure = Figure(figsize=(8.4, 1.6 + 0.28 * max(len(shown), 2)), layout="constrained")
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    rows = np.arange(len(shown))
    colours = [BLUE if metrics.num_codes >= MIN_SUPPORT else "#A6CBE3" for _, metrics in shown]
    axes.barh(rows, [metrics.micro_f1 for _, metrics in shown], color=colours, height=0.72)
    axes.axvline(overall.micro_f1, color=ORANGE, linewidth=1.4, linestyle=(0, (5, 3)))
    axes.text(
        overall.micro_f1,
        1.0,
        f"all {overall.micro_f1:.3f}",
        transform=axes.get_xaxis_transform(),
        color=ORANGE,
        ha="center",
        va="bottom",
    )
    axes.set_yticks(rows, [_short(name) for name, _ in shown])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set(xlim=(0, 1), ylim=(-0.6, max(len(shown), 1) - 0.4))
    _write_columns(beside, [metrics for _, metrics in shown])
    num_left_out = len(ranked) - len(shown)
    rest = f";\n{num_left_out} more specialties have less support" if num_left_out else ""
    axes.set_xlabel(f"micro-F1 (pale: fewer than {MIN_SUPPORT} gold codes{rest})")
    _finish(axes, grid="x")
    _title(axes, "Micro-F1 by specialty", pad=20)
    return figure


def _write_columns(axes: Axes, shown: Sequence[Metrics]) -> None:
    """Write score and support beside the bars, where the line of the whole cannot cross them."""
    columns: dict[str, list[str]] = {
        "micro-F1": [f"{metrics.micro_f1:.3f}" for metrics in shown],
        "codes": [f"{metrics.num_codes:,}" for metrics in shown],
        "records": [f"{metrics.num_records:,}" for metrics in shown],
    }
    axes.set_axis_off()
    for place, (heading, cells) in zip((0.32, 0.66, 1.0), columns.items(), strict=True):
        axes.text(place, 1.0, heading, transform=axes.transAxes, ha="right", va="bottom", color=GREY, fontsize=9)
        for row, cell in enumerate(cells):
            axes.text(place, row, cell, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=9)


def _reliability(scored: _Scored) -> Figure:
    figure = Figure(figsize=(5.6, 6.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = np.linspace(0, 1, NUM_BINS + 1)
    bins_N = np.clip(np.digitize(scored.confidences_N, edges) - 1, 0, NUM_BINS - 1)
    counts = np.bincount(bins_N, minlength=NUM_BINS)
    filled = counts > 0
    num = counts[filled]
    stated = np.bincount(bins_N, weights=scored.confidences_N, minlength=NUM_BINS)[filled] / num
    observed = np.bincount(bins_N, weights=scored.correct_N, minlength=NUM_BINS)[filled] / num
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 4)), label="as stated")
    upper.errorbar(
        stated,
        observed,
        yerr=_wilson_reach(observed, num),
        color=BLUE,
        marker="o",
        markersize=5,
        linewidth=1.6,
        elinewidth=1,
        capsize=2.5,
        label="observed, 95% interval",
    )
    upper.set(ylabel="share that is gold", xlim=(0, 1), ylim=(-0.02, 1.02))
    upper.legend(frameon=False, loc="upper left")
    # Limits before scale: with no code at all, the logarithm would have nothing to fit itself to.
    lower.set_ylim(0.7, max(counts.max(initial=1), 10) * 2)
    lower.set_yscale("log")
    lower.bar(edges[:-1], counts, width=0.1, align="edge", color=BLUE, edgecolor="white", linewidth=0.8)
    lower.set(xlabel="confidence", ylabel="codes (log)")
    lower.minorticks_off()
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axes in (upper, lower):
        _finish(axes)
    figure.align_ylabels()
    gap = float(np.sum(np.abs(stated - observed) * num) / max(num.sum(), 1))
    _title(upper, f"Reliability of {num.sum():,} confidences; expected calibration error {gap:.3f}")
    return figure


def _wilson_reach(share: NDArray[Any], num: NDArray[Any]) -> NDArray[Any]:
    """Distances from each share down and up to the ends of its Wilson (1927) interval; shape (2, bins)."""
    scale = 1 + Z_95**2 / num
    centre = (share + Z_95**2 / (2 * num)) / scale
    half = Z_95 * np.sqrt(share * (1 - share) / num + Z_95**2 / (4 * num**2)) / scale
    reach: NDArray[np.float64] = np.clip(np.stack([share - (centre - half), (centre + half) - share]), 0, None)
    return reach


def _mark_best(axes: Axes, curve: Curve) -> None:
    step, value = max(curve, key=lambda point: point[1])
    axes.plot([step], [value], marker="o", color=ORANGE, markersize=7, markeredgecolor="white")
    axes.annotate(f"{value:.3f}", (step, value), xytext=(0, 7), textcoords="offset points", ha="center", color=ORANGE)


def _columns(curve: Curve) -> tuple[list[int], list[float]]:
    return [step for step, _ in curve], [value for _, value in curve]


def _thinned(points: Sequence[T]) -> list[T]:
    """Keep at most 2,000 points, the last among them."""
    stride = -(-len(points) // MAX_CURVE_POINTS) or 1
    return list(points[::-1][::stride])[::-1]


def _cycle(num_curves: int) -> list[str]:
    colours = [BLUE, ORANGE, "#009E73", "#CC79A7"]
    return [colours[number % len(colours)] for number in range(num_curves)]


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME_CHARACTERS else name[: MAX_NAME_CHARACTERS - 1] + "…"


def _title(axes: Axes, text: str, *, pad: float = 8) -> None:
    axes.set_title(text, fontsize=10, loc="left", pad=pad)


def _finish(axes: Axes, *, grid: Literal["both", "x"] = "both") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis=grid, color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
