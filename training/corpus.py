"""Everything a fit needs to know of its records: windows, labels, terms, and who is held out.

Shapes: N records, L labels, D description embedding size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset, disable_progress_bars
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from clinical_coding.code_systems import CodeSystems
from clinical_coding.records import CodedRecord
from training.build import embed_terms
from training.config import TrainConfig
from training.dataset import cut_records, load_records, open_stored
from training.label_space import LabelSpace, build_label_space
from training.lower_layers import LowerLayers
from training.model.encoder import load_encoder, load_tokenizer
from training.model.lexical import LexicalMatch
from training.progress import progress_bar

__all__ = ["Corpus", "prepare"]


@dataclass(frozen=True)
class Corpus:
    """The training records of one run."""

    stored: Dataset
    windows: Dataset
    held_out: NDArray[Any]
    """True for the records [N] of held-out patients."""
    label_space: LabelSpace
    lexical: LexicalMatch
    descriptions_LD: Tensor
    tokenizer: PreTrainedTokenizerBase
    lower_layers: LowerLayers | None

    def held_out_records(self) -> Iterator[CodedRecord]:
        """The records of held-out patients, in order."""
        return load_records(self.stored.select(np.flatnonzero(self.held_out)))

    def held_out_windows(self) -> Dataset:
        """The windows of the same records."""
        return self.windows.select(np.flatnonzero(self.held_out))

    def priors(self, windows: Dataset) -> Tensor:
        """Share of the given records that carry each label, of those on which it is known, [L]."""
        num_positive_L = torch.zeros(len(self.label_space.labels))
        num_known_L = torch.zeros(len(self.label_space.labels))
        for row in windows.select_columns(["positive", "negative", "unknown", "complete"]):
            judged = {*row["positive"], *row["negative"]}
            num_positive_L[row["positive"]] += 1
            if row["complete"]:
                num_known_L += 1
                num_known_L[list({*row["unknown"]} - judged)] -= 1
            else:
                num_known_L[list(judged)] += 1
        return num_positive_L / num_known_L.clamp(min=1)


def is_held_out(patient_id: str, *, share: float) -> bool:
    """Hold a share of the patients out, the same ones in every run, whole patients only."""
    return int.from_bytes(sha256(f"held-out:{patient_id}".encode()).digest()[:8], "big") < share * 2**64


def choose_held_out(stored: Dataset, *, share: float) -> NDArray[Any]:
    """Hold out a share of the patients all of whose records are complete, audited ones like others.

    What is measured on a partial record would be the share of the reviewed codes alone, and the threshold chosen
    on it too low. A patient with a partial record is trained on whole, so that no patient crosses.

    Returns:
        True for the records [N] of held-out patients.
    """
    patients, complete = stored["patient_id"][:], stored["complete"][:]
    partial = {patient for patient, whole in zip(patients, complete, strict=True) if not whole}
    return np.array([patient not in partial and is_held_out(patient, share=share) for patient in patients])


def prepare(
    config: TrainConfig,
    *,
    records: Path,
    folder: Path,
    systems: CodeSystems,
    accelerator: Accelerator,
    console: Console,
) -> Corpus:
    """Make the corpus of a run, or find its parts again after a kill.

    Args:
        config: The run's.
        records: What ``store_records`` wrote.
        folder: Where windows and the lower layers' output lie.
        systems: The releases whose words stand for the labels.
        accelerator: Device and precision.
        console: Where progress is shown.

    Raises:
        ValueError: No patient, or every patient, falls among the held-out; no record has a code.
    """
    disable_progress_bars()
    stored = open_stored(records)
    held_out = choose_held_out(stored, share=config.calibration_share)
    if held_out.all() or not held_out.any():
        raise ValueError(
            f"calibration_share {config.calibration_share} holds out {held_out.sum()} of {len(held_out)} records; "
            "train on more patients whose records are complete"
        )
    # Without a refit the held-out patients' own codes would be labels that nothing ever trains.
    learned = stored if config.refit else stored.select(np.flatnonzero(~held_out))
    codes = (code for record in load_records(learned) for code in record.codes)
    label_space = build_label_space(codes, systems=systems)
    if not label_space.labels:
        raise ValueError("the training records carry no positive or negative code; nothing can be learned from them")
    base = config.base_model.locate()
    tokenizer, encoder = load_tokenizer(base), load_encoder(base).to(accelerator.device)
    windows = cut_records(
        stored,
        tokenizer=tokenizer,
        windowing=config.windowing,
        index=label_space.index,
        path=folder / "windows.arrow",
    )
    with progress_bar("embed descriptions", total=len(label_space.labels), console=console) as advance:
        descriptions_LD = embed_terms(
            label_space.terms, encoder=encoder, tokenizer=tokenizer, device=accelerator.device, progress=advance
        )
    num_lower = encoder.config.num_hidden_layers - config.lora.num_top_layers
    lower_layers = None
    if config.optimisation.cache_lower_layers and num_lower > 0:
        with progress_bar("frozen layers, once", total=len(windows), console=console) as advance:
            lower_layers = LowerLayers.compute(
                encoder,
                windows["input_ids"],
                num_layers=num_lower,
                path=folder / "lower-layers.bin",
                weights_sha256=config.base_model.identity().sha256,
                pad_token_id=tokenizer.pad_token_id,
                precision=config.optimisation.precision,
                autocast=accelerator.autocast,
                progress=advance,
            )
    return Corpus(
        stored=stored,
        windows=windows,
        held_out=held_out,
        label_space=label_space,
        lexical=LexicalMatch.build(label_space.terms),
        descriptions_LD=descriptions_LD,
        tokenizer=tokenizer,
        lower_layers=lower_layers,
    )
