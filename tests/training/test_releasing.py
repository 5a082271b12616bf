"""A model that was trained is handed on, and may be trained again."""

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from training.processes import make_accelerator, release_model


class TellsAutocast(nn.Module):
    """Knows in which precision it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.was_autocast: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.was_autocast.append(torch.is_autocast_enabled("cpu"))
        return x * self.weight


def test_a_released_model_runs_in_full_precision_until_it_is_prepared_again() -> None:
    # Shared by all of a process, and perhaps set up by a test before.
    AcceleratorState._reset_state(reset_partial_state=True)
    model = TellsAutocast()
    for _ in range(2):
        accelerator = make_accelerator("bf16", cpu=True)
        prepared = accelerator.prepare_model(model, evaluation_mode=True)
        prepared(torch.ones(1))
        release_model(prepared, accelerator)
        model(torch.ones(1))
        accelerator.free_memory()
    AcceleratorState._reset_state(reset_partial_state=True)
    assert model.was_autocast == [True, False, True, False]
