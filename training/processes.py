"""One training in several processes: each reads a share of every batch, and all hold the same weights.

The first process reads the records, measures and registers; the others help to fit. Launched by ``accelerate launch``;
without it there is one process, and all of this does nothing.
"""

import os
from datetime import timedelta
from typing import Any, Literal

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list
from torch import nn

__all__ = ["is_beside_the_first", "make_accelerator", "release_model", "share", "take_over_weights"]

_PATIENCE = timedelta(days=2)
"""The others wait while the first reads records and measures; a process that dies ends the launch at once."""


def is_beside_the_first() -> bool:
    """Whether a launcher started this process as another than the first."""
    return int(os.environ.get("RANK", "0")) > 0


def make_accelerator(precision: Literal["fp32", "bf16"], *, cpu: bool = False) -> Accelerator:
    """Device, precision, and the group of processes.

    Args:
        precision: Of training.
        cpu: Leave a GPU aside.
    """
    return Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if precision == "bf16" else "no",
        # A step is one step of the schedule, however many processes share it.
        step_scheduler_with_optimizer=False,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


def release_model(prepared: nn.Module, accelerator: Accelerator) -> None:
    """Give a prepared model its own forward back: whoever has it from here on says in which precision it runs."""
    model = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
    # accelerate leaves the mark, and would leave such a model as it is when it is to be prepared again: in float32.
    model._is_accelerate_prepared = False


def share(value: Any, accelerator: Accelerator) -> Any:
    """The first process's value, in every process."""
    if accelerator.num_processes == 1:
        return value
    values = [value]
    broadcast_object_list(values, from_process=0)
    return values[0]


def take_over_weights(model: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the first one's weights: devices may differ in the last bits of what they computed."""
    if accelerator.num_processes > 1:
        for tensor in (*model.parameters(), *model.buffers()):
            torch.distributed.broadcast(tensor.data, src=0)
