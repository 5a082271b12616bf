"""Encoders: recalled lower layers, LoRA by its closed form, and base models that are not there."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, CanineTokenizer, ModernBertConfig, ModernBertModel, PreTrainedModel

from clinical_coding.artefact import sha256_of_file
from training.model.encoder import (
    BaseModel,
    Lora,
    add_lora,
    encode,
    encode_lower_layers,
    load_tokenizer,
    recall_lower_layers,
)

# The same float32 operations in the same order on one machine; only kernels chosen by shape may differ.
TOLERANCE = 1e-6
LORA = Lora(rank=4, alpha=8, dropout=0.0, num_top_layers=2)
SIZE = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(params=["bert", "modernbert"])
def encoder(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    if request.param == "bert":
        return BertModel(BertConfig(**SIZE), add_pooling_layer=False).eval()
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    # Local attention of 8 tokens in all layers but every third, so that windows of 20 tokens meet both kinds.
    return ModernBertModel(ModernBertConfig(**SIZE, **special, local_attention=8)).eval()


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    """Three windows of 20, 13 and 2 tokens."""
    lengths_W = torch.tensor([20, 13, 2])
    mask_WT = (torch.arange(20) < lengths_W.unsqueeze(1)).long()
    ids_WT = torch.randint(3, 50, (3, 20), generator=torch.Generator().manual_seed(0))
    return ids_WT * mask_WT, mask_WT


@pytest.mark.parametrize("num_lower", [1, 3])
@torch.no_grad()
def test_recalled_lower_layers_give_the_same_output(
    encoder: PreTrainedModel, inputs: tuple[Tensor, Tensor], num_lower: int
) -> None:
    ids_WT, mask_WT = inputs
    whole_WTH = encode(encoder, ids_WT, mask_WT)
    lower_WTH = encode_lower_layers(encoder, num_lower, ids_WT, mask_WT)
    # Padding is not stored; whatever stands there must not reach real tokens.
    lower_WTH[mask_WT == 0] = 0.0
    with recall_lower_layers(encoder, num_lower) as slot:
        slot.hidden_WTH = lower_WTH
        recalled_WTH = encode(encoder, ids_WT, mask_WT)
    real = mask_WT.bool()
    torch.testing.assert_close(recalled_WTH[real], whole_WTH[real], atol=TOLERANCE, rtol=0)
    # The encoder is whole again.
    torch.testing.assert_close(encode(encoder, ids_WT, mask_WT), whole_WTH, atol=0, rtol=0)


def test_lora_merges_to_the_base_plus_its_product(encoder: PreTrainedModel) -> None:
    base = copy.deepcopy(encoder)
    wrapped = add_lora(encoder, LORA, base_name="tests/base")
    torch.manual_seed(1)
    factors = {name: value for name, value in wrapped.named_parameters() if value.requires_grad}
    for value in factors.values():
        nn.init.normal_(value, std=0.1)
    merged = dict(copy.deepcopy(wrapped).merge_and_unload().named_parameters())
    adapted = set()
    for name in (name for name in factors if ".lora_A." in name):
        path = name.removeprefix("base_model.model.").split(".lora_A.")[0] + ".weight"
        delta = LORA.alpha / LORA.rank * factors[name.replace("lora_A", "lora_B")] @ factors[name]
        torch.testing.assert_close(merged[path], base.get_parameter(path) + delta, atol=TOLERANCE, rtol=0)
        adapted.add(path)
    assert adapted
    for path, value in base.named_parameters():
        assert path in adapted or torch.equal(merged[path], value)


def test_only_linear_layers_at_the_top_are_trained(encoder: PreTrainedModel) -> None:
    top = {
        path
        for path, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and any(f"layer{s}.{at}." in path for s in ("", "s") for at in (2, 3))
    }
    wrapped = add_lora(encoder, LORA, base_name="tests/base")
    trained = {name for name, value in wrapped.named_parameters() if value.requires_grad}
    assert {name.removeprefix("base_model.model.").split(".lora_")[0] for name in trained} == top
    assert all(".lora_A." in name or ".lora_B." in name for name in trained)


def test_more_lora_layers_than_there_are_is_refused(encoder: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=r"num_top_layers is 5, but the encoder has 4"):
        add_lora(encoder, LORA.model_copy(update={"num_top_layers": 5}), base_name="tests/base")


def base_model(**fields: object) -> BaseModel:
    return BaseModel.model_validate({"name": "org/encoder", "revision": "abc"} | fields)


def test_a_missing_package_says_how_to_get_it() -> None:
    with pytest.raises(ValueError, match=r"'no_such_package' is not installed; pip install 'chartloop\[training\]'"):
        base_model(package="no_such_package").locate()


def test_no_place_at_all_says_how_to_download() -> None:
    with pytest.raises(ValueError, match=r"neither package nor folder.*hf download org/encoder --revision abc"):
        base_model().locate()


def test_a_folder_without_weights_says_how_to_download(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"model.safetensors does not exist.*--local-dir {tmp_path}"):
        base_model(folder=tmp_path).locate()


def test_other_weights_are_refused(made_encoder: Path) -> None:
    with pytest.raises(ValueError, match=rf"expected {'0' * 64}; download the stated revision again"):
        base_model(folder=made_encoder, sha256="0" * 64).locate()


def test_the_stated_weights_are_found_and_named(made_encoder: Path) -> None:
    sha256 = sha256_of_file(made_encoder / "model.safetensors")
    found = base_model(folder=made_encoder, sha256=sha256)
    assert found.locate() == made_encoder
    assert found.identity().model_dump() == {"name": "org/encoder", "revision": "abc", "sha256": sha256}


def test_a_tokenizer_without_offsets_is_refused(made_encoder: Path, tmp_path: Path) -> None:
    shutil.copy(made_encoder / "config.json", tmp_path)
    CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="gives no character offsets; use an encoder with a fast tokenizer"):
        load_tokenizer(tmp_path)
