import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel, PreTrainedModel

from training.model.encoder import encode
from training.model.openvino_encoder import faster_on_cpu


def _bert() -> PreTrainedModel:
    sizes = {"vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertModel(BertConfig(**sizes, intermediate_size=64), add_pooling_layer=False).eval()


def _modern_bert() -> PreTrainedModel:
    sizes = {"vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    return ModernBertModel(ModernBertConfig(**sizes, **special, intermediate_size=64)).eval()


@pytest.mark.parametrize("make", [_bert, _modern_bert])
def test_hidden_states_are_those_of_pytorch_at_every_shape(make) -> None:
    torch.manual_seed(torch.seed() % 2**31)
    encoder = make()
    converted = faster_on_cpu(encoder)
    assert converted is not encoder
    with torch.inference_mode():
        for _ in range(20):
            num_windows, num_tokens = (int(torch.randint(1, most, ())) for most in (12, 129))
            input_ids_WT = torch.randint(0, 200, (num_windows, num_tokens))
            lengths_W1 = torch.randint(max(1, num_tokens // 2), num_tokens + 1, (num_windows, 1))
            mask_WT = (torch.arange(num_tokens) < lengths_W1).long()
            theirs = encode(encoder, input_ids_WT, mask_WT)[mask_WT.bool()]
            torch.testing.assert_close(
                encode(converted, input_ids_WT, mask_WT)[mask_WT.bool()], theirs, atol=1e-5, rtol=1e-5
            )


def test_an_answer_is_not_overwritten_by_the_next() -> None:
    converted = faster_on_cpu(_bert())
    ones = torch.ones(1, 7, dtype=torch.long)
    first = encode(converted, ones, ones)
    kept = first.clone()
    encode(converted, ones * 9, ones)
    assert torch.equal(first, kept)


class _Branching(nn.Module):
    """What tracing gets wrong: it takes the branch of the example for good."""

    def __init__(self, encoder: PreTrainedModel):
        super().__init__()
        self.encoder, self.config = encoder, encoder.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> object:
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        if input_ids.shape[1] > 32:
            output.last_hidden_state = output.last_hidden_state * 2
        return output


class _Refusing(_Branching):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> object:
        if torch.jit.is_tracing():
            raise NotImplementedError
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask)


@pytest.mark.parametrize(("kind", "why"), [(_Branching, "differs"), (_Refusing, "cannot run")])
def test_pytorch_goes_on_where_openvino_differs_or_fails(kind, why: str, caplog: pytest.LogCaptureFixture) -> None:
    encoder = kind(_bert())
    with caplog.at_level(logging.WARNING):
        assert faster_on_cpu(encoder) is encoder
    assert why in caplog.text


def test_nothing_is_reported_to_anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    from openvino_telemetry.main import Telemetry

    sent: list[object] = []
    for name in ("send_event", "start_session", "send_error", "send_stack_trace"):
        monkeypatch.setattr(Telemetry, name, lambda *given, **_: sent.append(given))
    faster_on_cpu(_bert())
    assert not sent


def test_a_served_model_runs_it(tiny_bundle: Path) -> None:
    from training.model import Scorer

    assert not isinstance(Scorer(tiny_bundle)._encoder, PreTrainedModel)
