"""The encoder on CPUs: OpenVINO runs what PyTorch defines, with the same numbers.

Takes a loaded encoder, gives a module that is called the same way. Encoders that OpenVINO cannot run, or runs
otherwise than PyTorch, stay as they are.

Shapes: W windows, T tokens a window, H hidden size.
"""

import logging
import warnings
from typing import Final

import torch
from openvino import CompiledModel, Core, Model
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from training.model.encoder import encode

__all__ = ["convert", "faster_on_cpu", "on_cpu"]

logger = logging.getLogger(__name__)

_TOLERANCE: Final = 1e-4
"""Greatest difference of a hidden state, which is layer-normed, from PyTorch's; single precision gives 1e-5."""
_EXAMPLE: Final = (2, 16, 5)
_OTHERS: Final = ((1, 3, 0), (3, 40, 4), (7, 24, 2))
"""Windows, tokens, padding of the shorter ones: shapes that the conversion has not seen."""


class _OpenVinoEncoder(nn.Module):
    """Called as the encoder that it was made from."""

    def __init__(self, compiled: CompiledModel):
        super().__init__()
        self._request = compiled.create_infer_request()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> BaseModelOutput:
        """Hidden states [W, T, H] of windows [W, T]."""
        given = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        # A copy: the request writes its next answer into the same memory.
        hidden_WTH = torch.from_numpy(self._request.infer(given)[0].copy())
        return BaseModelOutput(last_hidden_state=hidden_WTH)


class _HiddenStates(nn.Module):
    """The one output that is read."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return encode(self.encoder, input_ids, attention_mask)


def faster_on_cpu(encoder: nn.Module) -> nn.Module:
    """Let OpenVINO run an encoder, where it can.

    Args:
        encoder: In evaluation mode, on the CPU.

    Returns:
        A module for ``encode``, on as many threads as PyTorch uses now; the encoder itself, and a warning in the
        log, where OpenVINO does not give the same hidden states.
    """
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # Tracing warns of every branch that it takes for good; the comparison below shows whether one mattered.
            warnings.simplefilter("ignore")
            converted = on_cpu(convert(encoder))
            worst = max(_difference(encoder, converted, shape) for shape in (_EXAMPLE, *_OTHERS))
    # Which errors a conversion can raise is nowhere documented; whatever it is, PyTorch still serves.
    except Exception as error:
        logger.warning("OpenVINO cannot run %s (%s); PyTorch runs it", type(encoder).__name__, type(error).__name__)
        return encoder
    if not worst <= _TOLERANCE:
        logger.warning("OpenVINO differs from %s by %.2g; PyTorch runs it", type(encoder).__name__, worst)
        return encoder
    return converted


def convert(encoder: nn.Module) -> Model:
    """An encoder as OpenVINO's graph."""
    input_ids_WT, mask_WT = _windows(encoder, _EXAMPLE)
    # openvino.convert_model does the same, and reports its use to the maker: nothing may leave a hospital unasked.
    frontend = FrontEndManager().load_by_framework("pytorch")
    example = {"input_ids": input_ids_WT, "attention_mask": mask_WT}
    # Both must live until the conversion ends.
    decoder = TorchScriptPythonDecoder(_HiddenStates(encoder), example_input=example)
    loaded = frontend.load(decoder)
    return frontend.convert(loaded)


def on_cpu(model: Model, **options: str) -> nn.Module:
    """A converted encoder, to be called as the encoder was; on as many threads as PyTorch uses now.

    Args:
        model: From ``convert``.
        **options: OpenVINO's, beside or instead of those that give what PyTorch gives in float32.
    """
    given = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
        # Other processes use the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    return _OpenVinoEncoder(Core().compile_model(model, "CPU", given | options))


def _windows(encoder: nn.Module, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    num_windows, num_tokens, padding = shape
    vocabulary = int(encoder.config.vocab_size)  # type: ignore[union-attr, arg-type]
    draws = torch.Generator().manual_seed(num_tokens)
    input_ids_WT = torch.randint(0, vocabulary, (num_windows, num_tokens), generator=draws)
    mask_WT = torch.ones_like(input_ids_WT)
    mask_WT[1:, num_tokens - padding :] = 0
    return input_ids_WT, mask_WT


def _difference(encoder: nn.Module, converted: nn.Module, shape: tuple[int, int, int]) -> float:
    input_ids_WT, mask_WT = _windows(encoder, shape)
    apart_WTH = encode(encoder, input_ids_WT, mask_WT) - encode(converted, input_ids_WT, mask_WT)
    return float(apart_WTH[mask_WT.bool()].abs().max())
