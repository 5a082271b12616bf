"""Attention over windows that lie in one flat row, without any padding, kept apart by their edges.

transformers hands its attention to the function that is registered here, and the edges with it (see ``packing``).
Windows in stacks go on to PyTorch's own attention, so that one encoder reads both. It knows nothing of records.

Source: torch.nn.attention.varlen (FlashAttention-2, Dao 2023, arXiv:2307.08691); the attention interface of
transformers. Only GPUs have that kernel, in half precision and without dropout of attention; on CPUs plain
PyTorch gives the same, in memory quadratic in the row.

Shapes: A attention heads, T tokens of the row, C channels a head, E window edges.
"""

import logging
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from training.model.coding_model import encode_packed
from training.model.packing import PackedWindows, pack_windows

__all__ = ["attend_by_edges", "reads_flat_rows"]

logger = logging.getLogger(__name__)

_NAME: Final = "chartloop_varlen"
_TOLERANCES: Final = (0.002, 0.05, 0.1)
"""Greatest shares of ``_differences``. Rounding to half precision gives 0, and 0.013 twice, on six layers; windows that
read each other give 0.012 and more even on random weights, in each of the three."""
_LENGTHS: Final = (300, 2, 40, 129, 7, 64, 3)
"""Windows of the comparison, in tokens: some within a sliding window, some beyond, in no order."""


def attend_by_edges(encoder: PreTrainedModel) -> None:
    """Let an encoder read flat rows as well as stacks, whose mask must then always be given."""
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, _mask)
    encoder.set_attn_implementation(_NAME)


def reads_flat_rows(encoder: PreTrainedModel) -> bool:
    """Let an encoder read flat rows, where its device can and gives what stacks give.

    Call it in the precision and the gradient mode in which the encoder will run: where gradients are on, those of
    what is trained are compared too.

    Args:
        encoder: On its device, with LoRA when it is trained.

    Returns:
        Whether ``pack_windows`` may lay flat rows; when not, the encoder is as it was, with a warning in the log
        unless the device or the precision never could.
    """
    if not _has_kernel(encoder):
        return False
    before, was_training = encoder.config._attn_implementation, encoder.training
    try:
        attend_by_edges(encoder.eval())
        apart = _differences(encoder)
    # Which errors a kernel can raise is nowhere documented; whatever it is, stacks still serve.
    except Exception as error:
        problem = f"fail ({type(error).__name__})"
    else:
        if all(share <= most for share, most in zip(apart, _TOLERANCES, strict=False)):
            return True
        problem = f"differ by {max(apart):.2g}"
    finally:
        encoder.train(was_training)
    encoder.set_attn_implementation(before)
    logger.warning("flat rows %s in %s; windows are stacked and padded", problem, type(encoder).__name__)
    return False


def _has_kernel(encoder: nn.Module) -> bool:
    """Whether the device has the kernel for the precision in use."""
    parameter = next(encoder.parameters())
    device, dtype = parameter.device.type, parameter.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    return device == "cuda" and dtype in (torch.bfloat16, torch.float16)


def _differences(encoder: PreTrainedModel) -> list[float]:
    """By which share of their norm states of flat rows differ.

    Returns:
        From those beside another first window; from those of stacks; where gradients are on, gradients from those of
        stacks.
    """
    vocabulary, pad = int(encoder.config.vocab_size), int(encoder.config.pad_token_id or 0)
    draws = torch.Generator().manual_seed(0)
    longest = int(encoder.config.max_position_embeddings) - 2
    lengths = [min(length, longest) for length in (_LENGTHS[0], *_LENGTHS)]
    windows = [torch.randint(0, vocabulary, (length,), generator=draws) for length in lengths]
    records = [[torch.where(window == pad, (pad + 1) % vocabulary, window).tolist()] for window in windows]
    device = next(encoder.parameters()).device
    (hidden_NH, *flat), stacked = (
        _run(encoder, pack_windows(records[1:], pad_token_id=pad, flat=flat).to(device)) for flat in (True, False)
    )
    beside = pack_windows([records[0], *records[2:]], pad_token_id=pad, flat=True).to(device)
    with torch.no_grad():
        beside_NH = encode_packed(encoder, beside).float()
    rest = slice(beside.lengths[0], None)
    pairs = [(hidden_NH[rest], beside_NH[rest]), *zip((hidden_NH, *flat), stacked, strict=True)]
    return [float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs]


def _run(encoder: nn.Module, windows: PackedWindows) -> list[Tensor]:
    """The states [N, H]; where gradients are on, that of all that is trained as one vector."""
    hidden_NH = encode_packed(encoder, windows)
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    if not torch.is_grad_enabled() or not trained:
        return [hidden_NH.float()]
    draws = torch.Generator().manual_seed(1)
    towards_NH = torch.randn(hidden_NH.shape, generator=draws).to(hidden_NH.device)
    loss = (hidden_NH.float() * towards_NH).sum()
    gradients = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
    return [hidden_NH.detach().float(), torch.cat([gradient.float().flatten() for gradient in gradients])]


def _mask(*given: Any, attention_mask: Tensor | None = None, **named: Any) -> Tensor | None:
    """What stacks are masked with; nothing in a flat row."""
    if attention_mask is None:
        return None
    mask: Tensor | None = sdpa_mask(*given, attention_mask=attention_mask, **named)
    return mask


def _attend(
    module: nn.Module,
    query_WATC: Tensor,
    key_WATC: Tensor,
    value_WATC: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    **named: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it; gives [W, T, A, C]."""
    if cu_seq_lens_q is None:
        stacked: tuple[Tensor, None] = sdpa_attention_forward(
            module, query_WATC, key_WATC, value_WATC, attention_mask, scaling=scaling, **named
        )
        return stacked
    # transformers counts the token itself to both sides, the kernel to none.
    reach = -1 if sliding_window is None else sliding_window - 1
    query_TAC, key_TAC, value_TAC = (part[0].transpose(0, 1) for part in (query_WATC, key_WATC, value_WATC))
    if query_TAC.device.type == "cpu":
        return _plain(query_TAC, key_TAC, value_TAC, cu_seq_lens_q, scaling=scaling, reach=reach)[None], None
    read_TAC = varlen_attn(
        query_TAC,
        key_TAC,
        value_TAC,
        cu_seq_lens_q,
        cu_seq_lens_q,
        max_length_q,
        max_length_q,
        scale=scaling,
        window_size=(reach, reach),
    )
    # The kernel adds a second part only when it is asked for.
    assert isinstance(read_TAC, Tensor)
    return read_TAC[None], None


def _plain(
    query_TAC: Tensor, key_TAC: Tensor, value_TAC: Tensor, edges_E: Tensor, *, scaling: float | None, reach: int
) -> Tensor:
    """What the kernel computes, shape [T, A, C]."""
    token_T = torch.arange(len(query_TAC), device=query_TAC.device)
    window_T = torch.bucketize(token_T, edges_E, right=True)
    may_read_TT = window_T[:, None] == window_T
    if reach >= 0:
        may_read_TT &= (token_T[:, None] - token_T).abs() <= reach
    query, key, value = (part.transpose(0, 1)[None] for part in (query_TAC, key_TAC, value_TAC))
    read = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=may_read_TT, scale=scaling)
    return read[0].transpose(0, 1)
