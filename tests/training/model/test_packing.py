"""Packing: every token has its place, in stacks and in flat rows, and no stack holds more than it may."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.model.packing import copy_to, group_by_tokens, pack_windows

FIRST, LAST, PAD = 1, 2, 0

windows = st.lists(st.integers(3, 49), max_size=30).map(lambda ids: [FIRST, *ids, LAST])
records = st.lists(st.lists(windows, max_size=6), max_size=6)


@settings(deadline=None)
@given(made=records, flat=st.booleans(), most=st.sampled_from([1, 40, 64, None]))
def test_every_token_has_its_place(made: list[list[list[int]]], flat: bool, most: int | None) -> None:
    packed = pack_windows(made, pad_token_id=PAD, flat=flat, max_stack_tokens=most)
    in_order = [window for record in made for window in record]
    laid_flat = torch.cat([torch.zeros(0, dtype=torch.long), *(s.input_ids_WT.flatten() for s in packed.stacks)])
    for index, record in zip(packed.token_index_N.split(packed.lengths), made, strict=True):
        assert laid_flat[index].tolist() == [token for window in record for token in window[1:-1]]
    assert sorted(row for stack in packed.stacks for row in stack.windows) == list(range(len(in_order)))
    for stack in packed.stacks:
        assert most is None or stack.input_ids_WT.numel() <= most or len(stack.windows) == 1
        for row, start in zip(stack.windows, stack.starts, strict=True):
            assert stack.input_ids_WT.flatten()[start : start + len(in_order[row])].tolist() == in_order[row]


@settings(deadline=None)
@given(made=records, most=st.sampled_from([1, 40, None]))
def test_a_flat_row_has_no_padding_and_knows_its_edges(made: list[list[list[int]]], most: int | None) -> None:
    in_order = [window for record in made for window in record]
    for stack in pack_windows(made, pad_token_id=PAD, flat=True, max_stack_tokens=most).stacks:
        lengths = [len(in_order[row]) for row in stack.windows]
        assert stack.input_ids_WT.shape == (1, sum(lengths))
        assert stack.mask_WT is None
        assert stack.edges is not None
        assert stack.edges.cumulative_E.dtype == torch.int32
        assert stack.edges.cumulative_E.diff().tolist() == lengths
        assert stack.edges.max_window_tokens == max(lengths)
        assert stack.edges.position_ids_WT[0].tolist() == [at for length in lengths for at in range(length)]


def test_windows_of_unlike_lengths_are_not_padded_to_the_longest() -> None:
    made = [[[FIRST, *[5] * 126, LAST]] * 40, [[FIRST, *[5] * 30, LAST]] * 40]
    packed = pack_windows(made, pad_token_id=PAD)
    assert [tuple(stack.input_ids_WT.shape) for stack in packed.stacks] == [(40, 128), (40, 32)]


@pytest.mark.parametrize("flat", [False, True])
def test_packed_windows_can_be_copied_to_a_device(flat: bool) -> None:
    packed = pack_windows([[[FIRST, 5, LAST], [FIRST, LAST]]], pad_token_id=PAD, flat=flat)
    (stack,) = packed.to(torch.device("meta")).stacks
    tensors = [stack.input_ids_WT, *([stack.edges.cumulative_E, stack.edges.position_ids_WT] if stack.edges else [])]
    assert all(tensor.is_meta for tensor in tensors)
    assert (stack.windows, stack.starts) == (packed.stacks[0].windows, packed.stacks[0].starts)


def test_a_copy_to_the_cpu_is_no_copy() -> None:
    tensor = torch.ones(3)
    assert copy_to(tensor, torch.device("cpu")) is tensor


def test_groups_are_formed_while_lengths_come_in() -> None:
    asked = 0

    def lengths() -> Iterator[int]:
        nonlocal asked
        for length in (5, 5, 5, 20, 1):
            asked += 1
            yield length

    groups = group_by_tokens(lengths(), max_tokens=10)
    assert (next(groups), asked) == ([0, 1], 3)
    assert list(groups) == [[2], [3], [4]]
