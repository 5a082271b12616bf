"""The untrained model of a run: encoder with LoRA, label attention that starts from the codes' descriptions.

Shapes: L labels, D description embedding size.
"""

from collections.abc import Callable, Sequence

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.config import TrainConfig
from training.dropout import drop_in_top_layers
from training.model.coding_model import CodingModel
from training.model.encoder import add_lora, encode, load_encoder
from training.model.head import LabelAttention

__all__ = ["build_model", "embed_terms"]

_TERMS_A_PASS = 64
_MAX_TERM_TOKENS = 64
_MAX_TERMS = 5


def embed_terms(
    terms: Sequence[Sequence[str]],
    *,
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    progress: Callable[[int], None],
) -> Tensor:
    """Embed what stands for each label: the mean of the encoder's token states, at unit length.

    Args:
        terms: For each label its description and inclusion terms; the first five are read.
        encoder: The pretrained encoder, before LoRA.
        tokenizer: The encoder's.
        device: Where to compute.
        progress: Called with the number of labels done since the last call.

    Returns:
        Embeddings [L, D] in float32.
    """
    encoder.eval()
    texts = ["; ".join(own[:_MAX_TERMS]) for own in terms]
    # Like lengths side by side: less padding.
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    embedded = torch.empty(len(texts), encoder.config.hidden_size)
    for first in range(0, len(order), _TERMS_A_PASS):
        chosen = order[first : first + _TERMS_A_PASS]
        tokens = tokenizer(
            [texts[at] for at in chosen],
            padding=True,
            truncation=True,
            max_length=_MAX_TERM_TOKENS,
            return_tensors="pt",
        ).to(device)
        with torch.no_grad():
            hidden = encode(encoder, tokens["input_ids"], tokens["attention_mask"])
        mask = tokens["attention_mask"].unsqueeze(2)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        embedded[chosen] = nn.functional.normalize(mean, dim=1).float().cpu()
        progress(len(chosen))
    return embedded


def checkpoint_activations(encoder: nn.Module) -> None:
    """Let the backward pass compute the layers' activations again, instead of keeping them."""
    # transformers renames it.
    enable = getattr(encoder, "activation_checkpointing_enable", None) or encoder.gradient_checkpointing_enable
    enable({"use_reentrant": False})  # type: ignore[operator]


def build_model(config: TrainConfig, descriptions_LD: Tensor, *, prior_L: Tensor) -> tuple[CodingModel, PeftModel]:
    """Make a fresh model, the same one for the same seed.

    Args:
        config: The run's.
        descriptions_LD: From ``embed_terms``.
        prior_L: Share of training records that carry each label.

    Returns:
        The model, and the PEFT wrapper around the same encoder, which saves and merges the adapter.
    """
    torch.manual_seed(config.seed)
    folder = config.base_model.locate()
    wrapped = add_lora(load_encoder(folder), config.lora, base_name=config.base_model.name)
    encoder = wrapped.base_model.model
    drop_in_top_layers(encoder, num_top_layers=config.lora.num_top_layers)
    if config.optimisation.activation_checkpointing:
        checkpoint_activations(encoder)
    head = LabelAttention(descriptions_LD, hidden_size=encoder.config.hidden_size, prior_L=prior_L)
    return CodingModel(encoder, head), wrapped
