"""What training records looked like, so that later traffic can be compared with them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from clinical_coding.bundle import Label

__all__ = ["reference_histograms"]

_TOKEN_EDGES = (0, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_NUM_CODES = 200
"""Most frequent codes that are listed; the rest are counted together as ``other``."""


def reference_histograms(
    windows: Dataset, *, labels: Sequence[Label], confidences: NDArray[Any]
) -> dict[str, dict[str, float]]:
    """Histograms of note length, code mix and confidence, each as shares that add up to 1.

    Args:
        windows: Of the training records.
        labels: The label space.
        confidences: [held-out records, labels]; the best of each record is counted.
    """
    lengths = [sum(len(window) - 2 for window in record) for record in windows["input_ids"]]
    counts, _ = np.histogram(lengths, bins=[*_TOKEN_EDGES, np.inf])
    tokens = {f"{edge}+": float(count / len(lengths)) for edge, count in zip(_TOKEN_EDGES, counts, strict=True)}
    # A partial record lists what was disputed, which is no sample of what notes are coded with.
    listed = [codes for codes, complete in zip(windows["positive"], windows["complete"], strict=True) if complete]
    codes_L = np.bincount(np.concatenate([*listed, []]).astype(int), minlength=len(labels))
    total = max(int(codes_L.sum()), 1)
    top = np.argsort(-codes_L, kind="stable")[:_NUM_CODES]
    mix = {labels[label].key: float(codes_L[label] / total) for label in top if codes_L[label]}
    mix["other"] = float(1 - sum(mix.values()))
    best, edges = np.histogram(confidences.max(axis=1), bins=10, range=(0, 1))
    confidence = {f"{edge:.1f}+": float(count / len(confidences)) for edge, count in zip(edges[:-1], best, strict=True)}
    return {"note_tokens": tokens, "codes": mix, "best_confidence": confidence}
