"""What a killed fit goes on from: weights, optimisers, random generators, and where it stood.

A checkpoint appears whole or not at all, and takes the place of the one before. Where several processes train, the
first writes, and each adds the state of its own random generators.
"""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clinical_coding.artefact import publish_folder, publish_path

__all__ = ["Checkpoints", "Progress"]


@dataclass
class Progress:
    """Where a fit stands."""

    step: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    stopped: bool = False


class Checkpoints:
    """The checkpoints of one fit, and the best weights so far."""

    def __init__(self, folder: Path, accelerator: Accelerator):
        self._folder = folder
        self._accelerator = accelerator
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> Progress:
        """Go back to the last checkpoint, if there is one."""
        found = sorted(self._folder.glob("step-*"))
        if not found:
            return Progress()
        self._accelerator.load_state(str(found[-1]))
        return Progress(**json.loads((found[-1] / "progress.json").read_text()))

    def save(self, progress: Progress) -> None:
        """Write a checkpoint aside, then let it take the place of the last."""
        aside, is_first = self._folder / "aside", self._accelerator.is_main_process
        if is_first:
            shutil.rmtree(aside, ignore_errors=True)
        self._accelerator.wait_for_everyone()
        self._accelerator.save_state(str(aside))
        self._accelerator.wait_for_everyone()
        if is_first:
            (aside / "progress.json").write_text(json.dumps(asdict(progress)))
            final = self._folder / f"step-{progress.step:09d}"
            publish_folder(aside, final)
            for older in self._folder.glob("step-*"):
                if older != final:
                    shutil.rmtree(older)
        # Nobody writes the next one into what is still being published.
        self._accelerator.wait_for_everyone()

    def save_best(self, model: nn.Module) -> None:
        """Keep the trained parameters as they are now."""
        if self._accelerator.is_main_process:
            with publish_path(self._best) as aside:
                save_file(_trained_state(model), aside)

    def load_best(self, model: nn.Module) -> None:
        """Put the kept parameters back."""
        self._accelerator.wait_for_everyone()
        _load_trained(model, load_file(self._best))

    @property
    def _best(self) -> Path:
        return self._folder / "best.safetensors"


def _trained_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every trained parameter by name."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


def _load_trained(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            parameters[name].copy_(value)
