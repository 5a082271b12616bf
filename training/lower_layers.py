"""The output of the frozen lower layers, computed once and kept on disk.

Nothing below the lowest LoRA layer is trained, so its output for a record never changes: it is written once,
memory-mapped, and recalled in every epoch. What is found on disk is used only where all that it depends on is the
same: weights, layers, tokens, precision.

Shapes: W windows, T tokens a window, H hidden size.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clinical_coding.artefact import publish
from training.model.encoder import encode_lower_layers
from training.model.packing import Stack, pack_windows

__all__ = ["LowerLayers"]

_RECORDS_A_PASS = 8


class LowerLayers:
    """Stored hidden states of every window of some records, in the precision of the training."""

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
        windows: Sequence[Sequence[Sequence[int]]],
        *,
        num_layers: int,
        path: Path,
        weights_sha256: str,
        pad_token_id: int,
        precision: Literal["fp32", "bf16"],
        autocast: Callable[[], AbstractContextManager[None]],
        progress: Callable[[int], None],
    ) -> "LowerLayers":
        """Compute, or find again, the states of token windows.

        Args:
            encoder: The encoder; put in evaluation mode.
            windows: Token ids of each record's windows, in order.
            num_layers: How many of the lowest layers to run.
            path: Where the states are to lie; what is there already and depends on the same is used.
            weights_sha256: Of the encoder's weights.
            pad_token_id: The tokenizer's.
            precision: Of the training; for bf16 the states are rounded to the eleven bits of float16.
            autocast: Makes the context that sets the precision.
            progress: Called with the number of records done since the last call.

        Raises:
            ValueError: A state does not fit half precision.
        """
        lengths = [[len(window) for window in record] for record in windows]
        num_tokens = sum(map(sum, lengths))
        hidden_size = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        dtype, torch_dtype = (np.float32, torch.float32) if precision == "fp32" else (np.float16, torch.float16)
        # The mark is published after the states: without it a half-written file of a killed run is made anew.
        mark = path.with_suffix(".json")
        wanted = {
            "weights_sha256": weights_sha256,
            "num_layers": num_layers,
            "tokens_sha256": _hash_windows(windows),
            "precision": precision,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        if mark.is_file() and json.loads(mark.read_text()) == wanted:
            progress(len(lengths))
            return cls(np.memmap(path, dtype, "r", shape=(num_tokens, hidden_size)), lengths)
        mark.unlink(missing_ok=True)
        states = np.memmap(path, dtype, "w+", shape=(num_tokens, hidden_size))
        encoder.eval()
        device = next(encoder.parameters()).device
        stored = cls(states, lengths)
        for first in range(0, len(lengths), _RECORDS_A_PASS):
            rows = windows[first : first + _RECORDS_A_PASS]
            spans = stored._spans(range(first, first + len(rows)))
            for stack in pack_windows(rows, pad_token_id=pad_token_id).to(device).stacks:
                with torch.no_grad(), autocast():
                    hidden_WTH = encode_lower_layers(encoder, num_layers, stack.input_ids_WT, stack.mask_WT)
                for window, hidden_TH in zip(stack.windows, hidden_WTH.to(torch_dtype).cpu().numpy(), strict=True):
                    start, end = spans[window]
                    states[start:end] = hidden_TH[: end - start]
            if not np.isfinite(states[spans[0][0] : spans[-1][1]]).all():
                raise ValueError(
                    "optimisation.precision bf16: the frozen layers' output does not fit half precision; "
                    "set it to fp32, or cache_lower_layers: false"
                )
            progress(len(rows))
        states.flush()
        with publish(mark) as stream:
            json.dump(wanted, stream)
        return stored

    def recall(self, rows: Sequence[int], *, stacks: Sequence[Stack]) -> tuple[Tensor, ...]:
        """The states of some records, stacked and padded like their windows.

        Args:
            rows: Positions among the records.
            stacks: The same records' windows, from ``pack_windows``.

        Returns:
            For each stack its states [W, T, H] in float32.
        """
        spans = self._spans(rows)
        recalled = []
        for stack in stacks:
            lower_WTH = torch.zeros(*stack.input_ids_WT.shape, self._states.shape[1])
            # A view: what is written there lies in the stack.
            lower_FH = lower_WTH.flatten(0, 1)
            for at, window in zip(stack.starts, stack.windows, strict=True):
                start, end = spans[window]
                lower_FH[at : at + end - start] = torch.from_numpy(self._states[start:end].astype(np.float32))
            recalled.append(lower_WTH)
        return tuple(recalled)

    def _spans(self, rows: Iterable[int]) -> list[tuple[int, int]]:
        """Where the states of each window of some records begin and end."""
        spans = list[tuple[int, int]]()
        for row in rows:
            ends = np.cumsum(self._window_lengths[row]) + self._starts[row]
            spans += zip((ends - self._window_lengths[row]).tolist(), ends.tolist(), strict=True)
        return spans


def _hash_windows(windows: Sequence[Sequence[Sequence[int]]]) -> str:
    """Hash of every token of every window, and of where they end."""
    digest = sha256()
    for record in windows:
        for window in record:
            digest.update(np.array([len(window), *window], dtype=np.int32).tobytes())
        digest.update(b"|")
    return digest.hexdigest()
