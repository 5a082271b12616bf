"""The output of the frozen lower layers, computed once and kept on disk.

Nothing below the lowest LoRA layer is trained, so its output for a record never changes: it is written once,
memory-mapped, and recalled in every epoch. It belongs to one run.

Shapes: W windows, T tokens a window, H hidden size.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor, nn

from clinical_coding.artefact import publish
from training.model.coding_model import stack_windows
from training.model.encoder import encode_lower_layers

__all__ = ["LowerLayers"]

_RECORDS_A_PASS = 8


class LowerLayers:
    """Stored hidden states of every window of a Dataset, in half precision."""

    def __init__(self, states: NDArray[Any], window_lengths: Sequence[Sequence[int]]):
        """Take the memory-mapped states [all tokens, H] and the length of each record's windows."""
        self._states = states
        self._window_lengths = window_lengths
        ends = np.cumsum([sum(lengths) for lengths in window_lengths])
        self._starts = np.concatenate([[0], ends[:-1]])

    @classmethod
    def compute(
        cls,
        encoder: nn.Module,
        windows: Dataset,
        *,
        num_layers: int,
        path: Path,
        pad_token_id: int,
        autocast: Callable[[], AbstractContextManager[None]],
        progress: Callable[[int], None],
    ) -> "LowerLayers":
        """Compute, or find again, the states of a Dataset of token windows.

        Args:
            encoder: The encoder; put in evaluation mode.
            windows: From ``cut_records``.
            num_layers: How many of the lowest layers to run.
            path: Where the states are to lie; a complete file there is of the same run, and is used.
            pad_token_id: The tokenizer's.
            autocast: Makes the context that sets the precision.
            progress: Called with the number of records done since the last call.

        Raises:
            ValueError: A state does not fit half precision.
        """
        lengths = [[len(window) for window in record] for record in windows["input_ids"]]
        num_tokens = sum(map(sum, lengths))
        hidden_size = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        # The mark is published after the states: without it a half-written file of a killed run is made anew.
        mark = path.with_suffix(".json")
        wanted = {"num_tokens": num_tokens, "hidden_size": hidden_size}
        path.parent.mkdir(parents=True, exist_ok=True)
        if mark.is_file() and json.loads(mark.read_text()) == wanted:
            progress(len(lengths))
            return cls(np.memmap(path, np.float16, "r", shape=(num_tokens, hidden_size)), lengths)
        states = np.memmap(path, np.float16, "w+", shape=(num_tokens, hidden_size))
        encoder.eval()
        device = next(encoder.parameters()).device
        at = 0
        for first in range(0, len(lengths), _RECORDS_A_PASS):
            rows = windows[first : first + _RECORDS_A_PASS]["input_ids"]
            stacked = stack_windows(rows, pad_token_id=pad_token_id).to(device)
            with torch.no_grad(), autocast():
                hidden_WTH = encode_lower_layers(encoder, num_layers, stacked.input_ids_WT, stacked.mask_WT)
            flat = hidden_WTH[stacked.mask_WT.bool()].to(torch.float16).cpu().numpy()
            if not np.isfinite(flat).all():
                raise ValueError("the lower layers' output does not fit half precision; set cache_lower_layers: false")
            states[at : at + len(flat)] = flat
            at += len(flat)
            progress(len(rows))
        states.flush()
        with publish(mark) as stream:
            json.dump(wanted, stream)
        return cls(states, lengths)

    def recall(self, rows: Sequence[int], *, width: int) -> Tensor:
        """The states of some records, stacked and padded as ``stack_windows`` stacks them.

        Args:
            rows: Positions in the Dataset.
            width: Tokens of the longest window.

        Returns:
            States [W, T, H] in float32.
        """
        lengths = [length for row in rows for length in self._window_lengths[row]]
        lower_WTH = torch.zeros(len(lengths), width, self._states.shape[1])
        window = 0
        for row in rows:
            at = self._starts[row]
            for length in self._window_lengths[row]:
                lower_WTH[window, :length] = torch.from_numpy(self._states[at : at + length].astype(np.float32))
                at += length
                window += 1
        return lower_WTH
