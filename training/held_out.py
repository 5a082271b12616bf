"""How the model does on training patients kept aside: for early stopping and for calibration.

Shapes: N records, L labels, W windows, T tokens a window, H hidden size.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from clinical_coding.records import CodedRecord
from training.lower_layers import LowerLayers
from training.model.coding_model import CodingModel
from training.model.lexical import LexicalMatch
from training.model.packing import pack_windows

__all__ = ["gold_and_known", "lexical_shares", "mean_average_precision", "score_windows"]

_RECORDS_A_PASS = 8


def score_windows(
    model: CodingModel,
    windows: Dataset,
    *,
    pad_token_id: int,
    lower_layers: LowerLayers | None,
    num_lower_layers: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]],
    flat: bool = False,
) -> NDArray[Any]:
    """Logits [N, L] of every label for every record; windows in flat rows where ``flat``."""
    model.eval()
    logits = []
    for first in range(0, len(windows), _RECORDS_A_PASS):
        rows = windows[first : first + _RECORDS_A_PASS]
        packed = pack_windows(rows["input_ids"], pad_token_id=pad_token_id, flat=flat).to(device)
        lower = None
        if lower_layers is not None:
            lower = [states.to(device) for states in lower_layers.recall(rows["row"], stacks=packed.stacks)]
        with torch.no_grad(), autocast():
            logits_BL, _, _ = model(packed, lower=lower, num_lower_layers=num_lower_layers)
        logits.append(logits_BL.float().cpu().numpy())
    return np.concatenate(logits)


def gold_and_known(windows: Dataset, *, num_labels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Which codes each record has [N, L], and of which pairs anything is known [N, L]."""
    gold_NL = np.zeros((len(windows), num_labels), dtype=bool)
    known_NL = np.ones((len(windows), num_labels), dtype=bool)
    for at, row in enumerate(windows):
        gold_NL[at, row["positive"]] = True
        known_NL[at, row["unknown"]] = False
    return gold_NL, known_NL | gold_NL


def mean_average_precision(logits_NL: NDArray[Any], gold_NL: NDArray[Any], *, num_gold_N: Sequence[int]) -> float:
    """Mean over records with codes of the average precision of the whole ranking; 0 when no record has any.

    Args:
        logits_NL: The model's.
        gold_NL: True where the record has the code.
        num_gold_N: Codes of each record, those outside the label space included.
    """
    precisions = []
    for logits_L, gold_L, num_gold in zip(logits_NL, gold_NL, num_gold_N, strict=True):
        if num_gold:
            hits = gold_L[np.argsort(-logits_L, kind="stable")]
            precisions.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].sum() / num_gold)
    return float(np.mean(precisions)) if precisions else 0.0


def lexical_shares(lexical: LexicalMatch, records: Iterable[CodedRecord]) -> NDArray[Any]:
    """The lexical match [N, L] of each record."""
    return np.stack([lexical.match(lexical.read([note.text for note in record.notes])) for record in records])
