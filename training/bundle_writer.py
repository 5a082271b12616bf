"""The end of stage 3: a trained model becomes a bundle, published whole or not at all.

Weights are safetensors, everything else is JSON: no pickle, no absolute path. The layout::

    bundle.json          index, with the hash of every other file
    encoder/             merged encoder, its config and tokenizer
    adapter/             the LoRA adapter in PEFT's format
    head.safetensors     label attention
    lexical.safetensors  terms of the labels
    labels.json          labels in the order of the outputs
    manifest.json        the records that trained it
"""

import copy
import json
import os
import shutil
from pathlib import Path

from peft import PeftModel
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from clinical_coding.artefact import publish, publish_folder, sha256_of_file
from clinical_coding.bundle import BUNDLE_FILE, LABELS_FILE, Bundle, Calibration
from clinical_coding.manifest import Manifest
from training.config import TrainConfig
from training.label_space import LabelSpace
from training.model.lexical import LexicalMatch

__all__ = ["write_bundle"]


def _save_encoder(wrapped: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path, *, base_name: str) -> None:
    wrapped.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    adapter_config = folder / "adapter" / "adapter_config.json"
    settings = json.loads(adapter_config.read_text())
    settings["base_model_name_or_path"] = base_name
    settings["target_modules"] = sorted(settings["target_modules"])
    adapter_config.write_text(json.dumps(settings, indent=2, sort_keys=True))
    merged = copy.deepcopy(wrapped).merge_and_unload()
    merged.save_pretrained(str(folder / "encoder"))
    tokenizer.save_pretrained(str(folder / "encoder"))
    encoder_config = folder / "encoder" / "config.json"
    settings = json.loads(encoder_config.read_text())
    settings.pop("_name_or_path", None)
    encoder_config.write_text(json.dumps(settings, indent=2, sort_keys=True))


def write_bundle(
    folder: Path,
    *,
    config: TrainConfig,
    wrapped: PeftModel,
    head: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    label_space: LabelSpace,
    lexical: LexicalMatch,
    calibration: Calibration,
    threshold: float,
    manifest: Manifest,
    code_commit: str | None,
    reference: dict[str, dict[str, float]],
) -> Path:
    """Write a bundle.

    Args:
        folder: Where it is to appear; a bundle that is there already is replaced.
        config: The run's.
        wrapped: The trained encoder with its adapter, not merged.
        head: The trained head.
        tokenizer: The encoder's.
        label_space: The labels.
        lexical: Their terms.
        calibration: Logits to confidences.
        threshold: Confidence from which a code is suggested.
        manifest: The records that trained it.
        code_commit: Of the running code, when known.
        reference: Histograms that later traffic is compared with.

    Returns:
        The folder.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    _save_encoder(wrapped, tokenizer, aside, base_name=config.base_model.name)
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()},
        aside / "head.safetensors",
    )
    lexical.save(aside / "lexical.safetensors")
    with publish(aside / LABELS_FILE) as stream:
        json.dump([label.model_dump(mode="json") for label in label_space.labels], stream, indent=0)
    with publish(aside / "manifest.json") as stream:
        stream.write(manifest.model_dump_json(indent=1))
    releases: dict[str, set[str]] = {}
    for label in label_space.labels:
        releases.setdefault(label.system, set()).update({label.release} - {None})  # type: ignore[arg-type]
    bundle = Bundle(
        base_model=config.base_model.identity(),
        label_space_sha256=label_space.sha256,
        releases={system: tuple(sorted(own)) for system, own in sorted(releases.items())},
        windowing=config.windowing,
        calibration=calibration,
        threshold=threshold,
        manifest_sha256=manifest.content_sha256,
        code_commit=code_commit,
        reference=reference,
        files={
            path.relative_to(aside).as_posix(): sha256_of_file(path)
            for path in sorted(aside.rglob("*"))
            if path.is_file()
        },
    )
    with publish(aside / BUNDLE_FILE) as stream:
        stream.write(bundle.model_dump_json(indent=2))
    publish_folder(aside, folder)
    return folder
