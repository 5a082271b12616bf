"""A code that a new release adds becomes a label of a trained version, without retraining.

Takes a bundle and an imported release of ICD-10-CM, gives a bundle with more labels behind the old ones. What the
version says of its old labels does not change: nothing is taken away, their weights and their part of the lexical
match stay, and so do calibration and threshold. A code that the release deletes goes on being scored, for dates of
service before; that it is no longer valid is a finding, not the model's business.

A new label starts as every label does, from the embedding of its official words, by the base model as it was before
fine-tuning, and has no residual. How common it is nobody has counted: its bias comes from its nearest trained
relatives. Tried one by one on 1,326 labels that CodiEsp's train split did teach, as if they were new, on its 250 dev
records: relatives' bias gives micro-F1 0.400 (ranked 21st in the median), that of the rarest label 0.331 (58th), the
label's own training 0.469 (13th); the relatives' residual beside their bias lowers it to 0.386 (22nd). Knows nothing of
the registry.

Shapes: N new labels, D description embedding size, H hidden size.
"""

import json
import math
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clinical_coding.artefact import publish, publish_folder, sha256_of_file, sha256_of_json
from clinical_coding.bundle import BUNDLE_FILE, LABELS_FILE, Bundle, Label, read_bundle, read_labels
from clinical_coding.code_systems import CodeSystems, Release
from clinical_coding.codes import CodeSystem
from training.build import embed_terms
from training.label_words import description_of, terms_of
from training.model.encoder import BaseModel, load_encoder, load_tokenizer
from training.model.head import LEAST_PRIOR
from training.model.lexical import LexicalMatch

__all__ = ["Addition", "Extension", "extend_bundle", "plan_extension"]

_SYSTEM: Final = CodeSystem.ICD10CM
_CPU: Final = torch.device("cpu")
_HEAD_FILE: Final = "head.safetensors"
_CATEGORY_CHARACTERS: Final = 3


class Addition(StrEnum):
    """Which codes of the release become labels."""

    NEW = "new"
    """Those that the version's own releases do not have."""
    ALL = "all"
    """Every valid code."""


@dataclass(frozen=True, slots=True)
class Extension:
    """What a release would add to a version."""

    release: str
    compared_with: tuple[str, ...]
    """Releases whose codes are not new; empty when all are added."""
    labels: tuple[Label, ...]
    """In the order of the tabular list; none of them is a label already."""


def plan_extension(folder: Path, *, release: str, addition: Addition, systems: CodeSystems) -> Extension:
    """Find the codes that a release adds to a version.

    Args:
        folder: The version's bundle.
        release: Name of a held release of ICD-10-CM.
        addition: Which of its codes.
        systems: The held releases.

    Raises:
        ValueError: The release is not held, or no release is that its codes could be new to.
    """
    bundle, _ = read_bundle(folder)
    named = systems.named(_SYSTEM, release)
    if named is None:
        held = ", ".join(one.name for one in systems.releases(_SYSTEM))
        raise ValueError(
            f"release {release!r} of {_SYSTEM} is not held, only {held}; import it with `chartloop codes import`"
        )
    known = {label.code for label in read_labels(folder) if label.system is _SYSTEM}
    compared = () if addition is Addition.ALL else _own_releases(bundle, named=named, systems=systems)
    old = {code for one in compared for code in systems.library(one).leaves()}
    codes = [code for code in systems.library(named).leaves() if code not in known and code not in old]
    return Extension(
        release=release,
        compared_with=tuple(one.name for one in compared),
        labels=tuple(_label(code, release=release, systems=systems) for code in codes),
    )


def _own_releases(bundle: Bundle, *, named: Release, systems: CodeSystems) -> tuple[Release, ...]:
    """The held releases of a version's labels; where none is, the one before the new release."""
    own = tuple(one for one in systems.releases(_SYSTEM) if one.name in bundle.releases.get(_SYSTEM, ()))
    before = [one for one in systems.releases(_SYSTEM) if one.effective_from < named.effective_from]
    if not own and not before:
        raise ValueError(
            f"release {named.name} of {_SYSTEM} adds nothing that can be told: neither a release of the version's "
            "labels is held nor an earlier one; import one with `chartloop codes import`, or add all codes"
        )
    return own or (before[-1],)


def _label(code: str, *, release: str, systems: CodeSystems) -> Label:
    description = description_of(_SYSTEM, code, release=release, systems=systems)
    return Label(system=_SYSTEM, release=release, code=code, description=description)


def extend_bundle(
    source: Path,
    folder: Path,
    *,
    added: Sequence[Label],
    base: BaseModel,
    systems: CodeSystems,
    progress: Callable[[int], None],
) -> Bundle:
    """Write a bundle with the labels of another, in their order, and new ones behind them.

    Args:
        source: The bundle to extend; it is read alone.
        folder: Where the new one is to appear, whole or not at all.
        added: The new labels, from ``plan_extension``.
        base: The base model that the bundle was trained from.
        systems: The releases whose words stand for the new labels.
        progress: Called with the number of labels embedded since the last call.

    Raises:
        ValueError: There is nothing to add, or the base model is another.
    """
    bundle, sha256 = read_bundle(source)
    if not added:
        raise ValueError(f"bundle {sha256[:16]} has every code that was to be added; nothing to extend")
    if (identity := base.identity()) != bundle.base_model:
        raise ValueError(
            f"base model {identity.name}@{identity.revision} ({identity.sha256[:16]}) is not that of the bundle, "
            f"{bundle.base_model.name}@{bundle.base_model.revision} ({bundle.base_model.sha256[:16]}); "
            "name the configuration that trained it"
        )
    words = [
        terms_of(one.system, one.code, description=one.description, release=one.release, systems=systems)
        for one in added
    ]
    encoder, tokenizer = load_encoder(base.locate()), load_tokenizer(base.locate())
    descriptions_ND = embed_terms(words, encoder=encoder, tokenizer=tokenizer, device=_CPU, progress=progress)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(source, aside)
    labels, state = read_labels(source), load_file(source / _HEAD_FILE)
    biases_N1 = _first_biases(added, labels, state["bias.weight"])
    save_file(_longer_head(state, descriptions_ND, biases_N1), aside / _HEAD_FILE)
    LexicalMatch.load(source / "lexical.safetensors").extend(words).save(aside / "lexical.safetensors")
    extended = _write_index(aside, bundle, labels=(*labels, *added))
    publish_folder(aside, folder)
    return extended


def _longer_head(state: dict[str, Tensor], descriptions_ND: Tensor, biases_N1: Tensor) -> dict[str, Tensor]:
    """The head with rows for new labels, which have learned nothing beside what their words mean."""
    residual_NH = torch.zeros(len(descriptions_ND), state["query_residual.weight"].shape[1])
    more = {
        "descriptions_LD": descriptions_ND,
        "query_residual.weight": residual_NH,
        "output_residual.weight": residual_NH,
        "bias.weight": biases_N1,
    }
    return state | {name: torch.cat([state[name], rows]) for name, rows in more.items()}


def _first_biases(added: Sequence[Label], labels: Sequence[Label], bias_L1: Tensor) -> Tensor:
    """How common a new label is taken to be [N, 1]: as its nearest relatives among the old ones.

    Those are the labels with the longest common beginning, the category at least: the code that it refines, or on
    average those beside it. New labels of the same relatives share what these are worth, so that a thousand of them
    are not a thousand times as likely. Without relatives a label is taken to be as rare as can be.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        if label.system is _SYSTEM:
            for length in range(_CATEGORY_CHARACTERS, len(label.code) + 1):
                rows[label.code[:length]].append(row)
    nearest = [next((start for start in _beginnings(label.code) if start in rows), None) for label in added]
    num_sharing = Counter(nearest)
    least = math.log(LEAST_PRIOR / (1 - LEAST_PRIOR))
    biases = [
        least if start is None else max(bias_L1[rows[start]].mean().item() - math.log(num_sharing[start]), least)
        for start in nearest
    ]
    return torch.tensor(biases).unsqueeze(1)


def _beginnings(code: str) -> Iterator[str]:
    """The beginnings of a code, the longest first, down to its category."""
    return (code[:length] for length in range(len(code) - 1, _CATEGORY_CHARACTERS - 1, -1))


def _write_index(folder: Path, bundle: Bundle, *, labels: Sequence[Label]) -> Bundle:
    as_json = [label.model_dump(mode="json") for label in labels]
    with publish(folder / LABELS_FILE) as stream:
        json.dump(as_json, stream, indent=0)
    releases = {system: set(names) for system, names in bundle.releases.items()}
    for label in labels:
        releases.setdefault(label.system, set()).update({label.release} - {None})  # type: ignore[arg-type]
    extended = bundle.model_copy(
        update={
            "label_space_sha256": sha256_of_json(as_json),
            "releases": {system: tuple(sorted(names)) for system, names in sorted(releases.items())},
            "files": {name: sha256_of_file(folder / name) for name in bundle.files},
        }
    )
    with publish(folder / BUNDLE_FILE) as stream:
        stream.write(extended.model_dump_json(indent=2))
    return extended
