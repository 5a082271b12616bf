"""The training loop: golden losses, resumption, early stopping, and a stop before what is not finite."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from training.corpus import Corpus
from training.label_sampler import LabelSampler
from training.model.coding_model import CodingModel
from training.model.packing import pack_windows
from training.processes import make_accelerator
from training.step import code_loss, evidence_loss

# Losses of the first ten steps. A change of them is a change of what is trained: state it where it is made.
GOLDEN = [10.01598, 7.1501, 8.91163, 4.77419, 10.09607, 6.14329, 9.0316, 10.76791, 7.79218, 9.7591]
# Kernels and libraries of other machines add in another order; over ten steps that stays far below this share.
GOLDEN_TOLERANCE = 1e-3


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, atol: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_ten_steps_give_the_golden_losses(start_fit: Any) -> None:
    losses = start_fit(num_epochs=1).losses
    assert losses == pytest.approx(GOLDEN, rel=GOLDEN_TOLERANCE)


@pytest.mark.parametrize("batch_records", [40, 20, 10])
def test_a_fit_may_be_of_very_few_steps(start_fit: Any, batch_records: int) -> None:
    # A tenth of the steps, the warm-up, is less than one.
    losses = start_fit(num_epochs=1, batch_records=batch_records).losses
    assert len(losses) == 40 // batch_records
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("kill_at", [3, 13])
def test_a_killed_fit_goes_on_to_the_same_weights(start_fit: Any, kill_at: int) -> None:
    whole = start_fit(folder="whole")
    killed = start_fit(folder="killed", kill_at=kill_at)
    assert (killed.result, len(killed.losses)) == (None, kill_at)
    resumed = start_fit(folder="killed")
    # Checkpoints are written every four steps; the steps since are done again, dropout included.
    assert len(resumed.losses) == len(whole.losses) - kill_at // 4 * 4
    assert resumed.losses == whole.losses[-len(resumed.losses) :]
    assert_same_weights(resumed.weights(), whole.weights(), atol=0)


def test_a_fit_that_ended_is_not_done_again(start_fit: Any) -> None:
    whole = start_fit(num_epochs=1)
    again = start_fit(num_epochs=1)
    assert again.losses == []
    assert_same_weights(again.weights(), whole.weights(), atol=0)


def test_stored_lower_layers_give_the_losses_of_computed_ones(start_fit: Any) -> None:
    # The layers above draw the same dropout: those below draw none.
    stored = start_fit(folder="stored", num_epochs=1)
    computed = start_fit(folder="computed", num_epochs=1, cached=False)
    assert stored.losses == pytest.approx(computed.losses, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_before_the_update(start_fit: Any) -> None:
    before = {}

    def adjust(model: torch.nn.Module) -> None:
        with torch.no_grad():
            model.head.bias.weight[0] = torch.inf
        before.update({name: value.detach().clone() for name, value in model.named_parameters()})
        adjusted.append(model)

    adjusted: list[torch.nn.Module] = []
    with pytest.raises(ValueError, match=r"step 1, records r\d.*is not finite; the step was not taken: lower the lea"):
        start_fit(adjust=adjust)
    for name, value in adjusted[0].named_parameters():
        assert torch.equal(value, before[name]), name


def test_a_code_of_a_weight_beyond_measure_stops_before_the_update_and_names_its_records(start_fit: Any) -> None:
    adjusted: list[torch.nn.Module] = []
    sample = LabelSampler.sample

    def overflowing(*given: Any, **options: Any) -> Any:
        labels, weights = sample(*given, **options)
        weights[0] = 3e38
        return labels, weights

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LabelSampler, "sample", overflowing)
        with pytest.raises(ValueError, match=r"step 1, records r\d+, r\d+, r\d+, r\d+: the loss"):
            start_fit(adjust=adjusted.append)
    assert all(torch.isfinite(value).all() for value in adjusted[0].parameters())


def test_early_stopping_keeps_the_best_weights(start_fit: Any) -> None:
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    seen = []

    def score(model: torch.nn.Module) -> float:
        seen.append({name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad})
        return next(scores)

    fitted = start_fit(num_epochs=5, patience_epochs=2, held_out_score=score)
    assert fitted.result is not None
    assert (fitted.result.best_epoch, fitted.result.num_steps, len(seen)) == (2, 40, 4)
    assert_same_weights(fitted.weights(), seen[1], atol=0)


def test_a_fit_killed_between_epochs_still_knows_the_best(start_fit: Any) -> None:
    def scorer(values: list[float]) -> Callable[[torch.nn.Module], float]:
        remaining = iter(values)
        return lambda _model: next(remaining)

    options = {"num_epochs": 4, "patience_epochs": 2}
    start_fit(kill_at=21, held_out_score=scorer([0.5, 0.4]), **options)
    resumed = start_fit(held_out_score=scorer([0.3]), **options)
    assert resumed.result is not None
    assert (resumed.result.best_epoch, resumed.result.num_steps) == (1, 30)


def test_a_model_trained_in_half_precision_comes_back_in_full(start_fit: Any, corpus: Corpus) -> None:
    AcceleratorState._reset_state()
    try:
        fitted = start_fit(num_epochs=1, accelerator=make_accelerator("bf16", cpu=True))
    finally:
        AcceleratorState._reset_state()
    packed = pack_windows(corpus.windows[0:4]["input_ids"], pad_token_id=corpus.tokenizer.pad_token_id)
    with torch.no_grad():
        logits_BL, _, _ = fitted.model.eval()(packed)
        assert torch.equal(logits_BL, CodingModel.forward(fitted.model, packed)[0])
        with torch.autocast("cpu", torch.bfloat16):
            assert not torch.equal(logits_BL, CodingModel.forward(fitted.model, packed)[0])


def test_losses_by_hand(corpus: Corpus) -> None:
    logits_BS = torch.tensor([[0.0, 2.0], [-1.0, 0.0]])
    targets_BS, weights_BS = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 3.0], [0.0, 1.0]])
    # log 2, three times log(1 + e^2), nothing, log 2.
    expected = 0.693147 + 3 * 2.126928 + 0.693147
    assert code_loss(logits_BS, targets_BS, weights_BS).item() == pytest.approx(expected, abs=1e-5)

    # Three tokens of the first record, then two of the second.
    attention_SN = torch.tensor([[0.2, 0.3, 0.5, 1.0, 0.0], [0.5, 0.25, 0.25, 0.0, 1.0]])
    evidence_EN = torch.tensor([[True, True, False, False, False], [False, False, False, True, False]])
    batch = SimpleNamespace(
        evidence_column_E=torch.tensor([0, 1]), evidence_EN=evidence_EN, targets_BS=torch.zeros(2, 2)
    )
    # 0.2 + 0.3 of the attention is on the evidence of the first; none on that of the second, bounded below.
    expected = -(torch.tensor(0.5).log() + torch.tensor(1e-6).log()).item()
    assert evidence_loss(attention_SN, batch).item() == pytest.approx(expected, abs=1e-5)
