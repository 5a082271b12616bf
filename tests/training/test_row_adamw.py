"""The optimiser of label rows: where AdamW over the whole table would have them."""

import copy
import io
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from training import row_adamw
from training.row_adamw import RowAdamW

NUM_ROWS, NUM_COLUMNS, READ = 40, 6, 5
PEAK, DECAY = 0.02, 0.1


class Pair:
    """The same table under both optimisers, on the same one-cycle schedule, which moves beta1 too."""

    def __init__(self, num_steps: int):
        self.rows = nn.Embedding(NUM_ROWS, NUM_COLUMNS, sparse=True)
        self.whole = nn.Embedding(NUM_ROWS, NUM_COLUMNS)
        self.whole.load_state_dict(self.rows.state_dict())
        self.row_adamw = RowAdamW(self.rows.parameters(), lr=PEAK, weight_decay=DECAY)
        self.adamw = torch.optim.AdamW(self.whole.parameters(), lr=PEAK, weight_decay=DECAY)
        self.optimisers = (self.row_adamw, self.adamw)
        self.schedules = [
            torch.optim.lr_scheduler.OneCycleLR(one, PEAK, total_steps=num_steps) for one in self.optimisers
        ]

    def step(self, rows_R: torch.Tensor, pull_RH: torch.Tensor) -> None:
        self.row_adamw.bring_up_to_date(rows_R)
        torch.testing.assert_close(self.rows.weight[rows_R], self.whole.weight[rows_R], atol=1e-5, rtol=0)
        for table in (self.rows, self.whole):
            ((table(rows_R) - pull_RH) ** 2).sum().backward()
        for one, schedule in zip(self.optimisers, self.schedules, strict=True):
            one.step()
            schedule.step()
            one.zero_grad()


def draws(num_steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for _ in range(num_steps):
        # Some rows are read often, some hardly ever, some never.
        weights = torch.linspace(-6, 4, NUM_ROWS - 3).exp()
        rows_R = torch.multinomial(torch.cat([weights, torch.zeros(3)]), READ)
        yield rows_R, torch.randn(READ, NUM_COLUMNS)


@pytest.mark.parametrize("num_steps", [1, 60, 400])
def test_rows_are_where_adamw_over_the_whole_table_has_them(num_steps: int) -> None:
    pair = Pair(num_steps + 1)
    for rows_R, pull_RH in draws(num_steps):
        pair.step(rows_R, pull_RH)
    pair.row_adamw.bring_up_to_date()
    torch.testing.assert_close(pair.rows.weight, pair.whole.weight, atol=1e-5, rtol=0)


def test_all_rows_are_brought_up_to_date_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_adamw, "_STEPS_BETWEEN_SWEEPS", 7)
    pair = Pair(31)
    for rows_R, pull_RH in draws(28):
        pair.step(rows_R, pull_RH)
    # A sweep falls on the last step.
    assert pair.row_adamw.param_groups[0]["since_sweep"] == []
    torch.testing.assert_close(pair.rows.weight, pair.whole.weight, atol=1e-5, rtol=0)


def test_saved_and_loaded_it_goes_on_bit_for_bit() -> None:
    pair = Pair(61)
    steps = list(draws(60))
    for rows_R, pull_RH in steps[:33]:
        pair.step(rows_R, pull_RH)
    stream = io.BytesIO()
    torch.save((pair.rows.state_dict(), pair.row_adamw.state_dict()), stream)
    stream.seek(0)
    weights, state = torch.load(stream, weights_only=True)
    again = nn.Embedding(NUM_ROWS, NUM_COLUMNS, sparse=True)
    again.load_state_dict(weights)
    other = RowAdamW(again.parameters(), lr=PEAK, weight_decay=DECAY)
    other.load_state_dict(copy.deepcopy(state))
    for rows_R, pull_RH in steps[33:]:
        for table, optimiser in ((pair.rows, pair.row_adamw), (again, other)):
            optimiser.bring_up_to_date(rows_R)
            ((table(rows_R) - pull_RH) ** 2).sum().backward()
            optimiser.step()
            optimiser.zero_grad()
    pair.row_adamw.bring_up_to_date()
    other.bring_up_to_date()
    assert torch.equal(pair.rows.weight, again.weight)
