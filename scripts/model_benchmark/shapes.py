"""What the model benchmark runs on: encoders of real shapes with random weights, notes of real lengths.

Shapes: L labels, D description embedding size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel, PreTrainedModel

from training.model.head import LabelAttention

__all__ = ["MINILM", "MODERNBERT", "TINY", "EncoderShape", "make_head", "random_notes"]

_MEDIAN_WORDS: Final = 350
_MAX_WORDS: Final = 6000
# MiniLM's tokenizer gives 1.64 tokens a word on the sample notes.
_TOKENS_A_WORD: Final = 1.64
_FIRST_WORD_PIECE: Final = 1000  # Below lie the special tokens of both vocabularies.
_CLS, _SEP, PAD = 101, 102, 0


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """An encoder by its sizes."""

    name: str
    window_tokens: int
    """Special tokens included."""
    num_lora_layers: int
    """Layers with LoRA, counted from the top."""
    make: Callable[[], PreTrainedModel]

    def flop_a_token(self, encoder: PreTrainedModel, *, window_tokens: float) -> float:
        """Forward FLOP a token: two for each weight of a layer's matrices, four for each pair of tokens and channel.

        Args:
            encoder: One that ``make`` gave, before LoRA.
            window_tokens: Tokens of its window; a layer with sliding attention reads those near it.
        """
        matrices = sum(
            parameter.numel()
            for name, parameter in encoder.named_parameters()
            if parameter.ndim == 2 and "embed" not in name
        )
        config = encoder.config
        kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
        attended = sum(
            min(window_tokens, 2 * config.sliding_window + 1) if kind == "sliding_attention" else window_tokens
            for kind in kinds
        )
        return float(2 * matrices + 4 * config.hidden_size * attended)


def _bert(**sizes: int) -> PreTrainedModel:
    # As ``load_encoder`` has it: attention drops nothing.
    return BertModel(BertConfig(**sizes, attention_probs_dropout_prob=0.0), add_pooling_layer=False)


def _minilm() -> PreTrainedModel:
    return _bert(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)


def _tiny() -> PreTrainedModel:
    return _bert(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)


def _modernbert() -> PreTrainedModel:
    return ModernBertModel(ModernBertConfig(pad_token_id=PAD, cls_token_id=_CLS, sep_token_id=_SEP))


MINILM: Final = EncoderShape("MiniLM-L6", 128, 3, _minilm)
TINY: Final = EncoderShape("tiny BERT", 128, 1, _tiny)
MODERNBERT: Final = EncoderShape("ModernBERT-base", 8192, 22, _modernbert)


def make_head(encoder: PreTrainedModel, *, num_labels: int) -> LabelAttention:
    """A label attention head for random descriptions."""
    size = encoder.config.hidden_size
    descriptions_LD = torch.nn.functional.normalize(torch.randn(num_labels, size), dim=1)
    head = LabelAttention(descriptions_LD, hidden_size=size, prior_L=torch.full((num_labels,), 0.01))
    # Residuals as a training leaves them: without them many labels would be alike.
    torch.nn.init.normal_(head.query_residual.weight, std=0.02)
    torch.nn.init.normal_(head.output_residual.weight, std=0.02)
    return head


def random_notes(
    num_notes: int, *, shape: EncoderShape, sigma: float, seed: int, num_tokens: Sequence[int] | None = None
) -> list[list[list[int]]]:
    """Notes of random tokens, each cut into windows as ``cut_windows`` cuts: as few as hold it, of like length.

    Args:
        num_notes: How many.
        shape: Whose windows.
        sigma: Of the logarithm of the length, whose median is 350 words and whose greatest 6,000.
        seed: Of lengths and tokens.
        num_tokens: Lengths in tokens instead, one a note.
    """
    rng = np.random.default_rng(seed)
    words = np.minimum(rng.lognormal(np.log(_MEDIAN_WORDS), sigma, num_notes), _MAX_WORDS)
    lengths = np.asarray(num_tokens if num_tokens is not None else np.maximum(words * _TOKENS_A_WORD, 1), dtype=int)
    room, notes = shape.window_tokens - 2, []
    for length in lengths.tolist():
        parts = np.array_split(rng.integers(_FIRST_WORD_PIECE, 30_000, length), -(-length // room))
        notes.append([[_CLS, *part.tolist(), _SEP] for part in parts])
    return notes
