"""A code that a release adds is suggested without retraining, and what was said of the others stays."""

import json
import math
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from rich.console import Console
from safetensors.torch import load_file

from clinical_coding.bundle import Label, read_bundle, read_labels
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeSystem
from clinical_coding.data_directory import DataDirectory
from clinical_coding.records import Note
from governance.measured import compare_logged
from governance.versions import list_versions, resolve_version
from scripts import versions_extend
from training.extend import Addition, extend_bundle, plan_extension
from training.model import Scorer
from training.train import train

OLD = {
    "J18": "Pneumonia, unspecified organism",
    "J18.9": "Pneumonia, unspecified organism",
    "N17": "Acute kidney failure",
    "N17.9": "Acute kidney failure, unspecified",
    "R07": "Pain in throat and chest",
    "R07.9": "Chest pain, unspecified",
}
NEW = {
    "J18": "Pneumonia, unspecified organism",
    "J18.9": "Pneumonia, unspecified organism",
    "N17": "Acute kidney failure",
    "N17.7": "Kidney failure from jellyfish venom",
    "N17.9": "Acute kidney failure, unspecified",
    "Q00": "Quartz lung",
    "Q00.7": "Quartz lung of sandblasters",
    "R07": "Pain in throat and chest",
    "R07.9": "Chest pain, unspecified",
    "R07.91": "Chest pain after jellyfish sting",
    "R07.92": "Chest pain after cold water",
}
ADDED = ["N17.7", "Q00.7", "R07.91", "R07.92"]
FIRST, SECOND = date(2025, 10, 1), date(2026, 10, 1)
NOTES = [
    "Assessment: kidney failure from jellyfish venom. Plan: follow up in two weeks.",
    "The patient was seen today. Assessment: essential hypertension and chest pain.",
    "Phone call about the visit.",
]
LEAST_BIAS = math.log(1e-4 / (1 - 1e-4))


def scores(folder: Path) -> list[dict[str, float]]:
    """The confidence of every label on each note."""
    documents = [[Note(note_id="n1", text=text)] for text in NOTES]
    return [{code.key: code.confidence for code in codes} for codes in Scorer(folder).score(documents)]


@pytest.fixture(scope="module")
def releases_dir(import_icd10cm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("releases")
    import_icd10cm(data_dir, OLD, start=FIRST)
    import_icd10cm(data_dir, NEW, start=SECOND)
    return data_dir


@pytest.fixture(scope="module")
def systems(releases_dir: Path) -> CodeSystems:
    return CodeSystems.open(DataDirectory.locate(releases_dir).code_systems)


@pytest.fixture(scope="module")
def store(made_config: Any, empty_store: Path, import_icd10cm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of this module's own, with a trained version and the second release."""
    data_dir = tmp_path_factory.mktemp("store") / "data"
    data_dir.mkdir()
    shutil.copy(empty_store / "mlflow.db", data_dir)
    config = made_config.model_copy(update={"refit": False})
    train(config, data_dir=data_dir, console=Console(quiet=True))
    import_icd10cm(data_dir, NEW, start=SECOND)
    return data_dir


@pytest.fixture(scope="module")
def trained(store: Path) -> Path:
    """The bundle of the trained version, whose records stated no release."""
    return resolve_version("1", data_dir=store).folder


@pytest.fixture(scope="module")
def old_version(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained bundle, as if its records had stated the first release."""
    folder = tmp_path_factory.mktemp("old") / "bundle"
    shutil.copytree(trained, folder)
    index = json.loads((folder / "bundle.json").read_text())
    index["releases"]["icd10cm"] = ["2025-10", "icd10es-2018"]
    (folder / "bundle.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def extended(
    old_version: Path, made_config: Any, systems: CodeSystems, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("extended") / "bundle"
    plan = plan_extension(old_version, release="2026-10", addition=Addition.NEW, systems=systems)
    extend_bundle(
        old_version,
        folder,
        added=plan.labels,
        base=made_config.base_model,
        systems=systems,
        progress=lambda _: None,
    )
    return folder


def test_what_is_new_is_told_by_the_version_s_own_releases(old_version: Path, systems: CodeSystems) -> None:
    plan = plan_extension(old_version, release="2026-10", addition=Addition.NEW, systems=systems)
    assert (plan.release, plan.compared_with) == ("2026-10", ("2025-10",))
    assert [label.code for label in plan.labels] == ADDED
    assert plan.labels[0] == Label(
        system=CodeSystem.ICD10CM, release="2026-10", code="N17.7", description="Kidney failure from jellyfish venom"
    )


def test_all_adds_what_the_version_never_learnt_too(old_version: Path, systems: CodeSystems) -> None:
    plan = plan_extension(old_version, release="2026-10", addition=Addition.ALL, systems=systems)
    known = {label.code for label in read_labels(old_version)}
    assert [label.code for label in plan.labels] == [c for c in systems.icd10cm(SECOND).leaves() if c not in known]
    assert plan.compared_with == ()


def test_a_version_of_no_held_release_is_compared_with_the_one_before(trained: Path, systems: CodeSystems) -> None:
    plan = plan_extension(trained, release="2026-10", addition=Addition.NEW, systems=systems)
    assert plan.compared_with == ("2026-04",)
    with pytest.raises(ValueError, match=r"release 2025-10 of icd10cm adds nothing .*; import one .*or add all codes"):
        plan_extension(trained, release="2025-10", addition=Addition.NEW, systems=systems)


def test_a_release_that_is_not_held_is_named(old_version: Path, systems: CodeSystems) -> None:
    with pytest.raises(ValueError, match=r"release '2027-10' .* not held, only 2025-10, 2026-04, 2026-10; import it"):
        plan_extension(old_version, release="2027-10", addition=Addition.NEW, systems=systems)


def test_a_note_with_the_new_code_s_words_gets_it(extended: Path) -> None:
    (venom, pain, call) = scores(extended)
    ranked = list(venom)
    assert ranked[0] == "icd10cm:N17.7", ranked
    assert venom["icd10cm:N17.7"] >= read_bundle(extended)[0].threshold
    assert venom["icd10cm:N17.7"] > max(pain["icd10cm:N17.7"], call["icd10cm:N17.7"])


def test_old_labels_keep_their_confidence(old_version: Path, extended: Path) -> None:
    for before, after in zip(scores(old_version), scores(extended), strict=True):
        assert before.keys() | {f"icd10cm:{code}" for code in ADDED} == after.keys()
        for key, confidence in before.items():
            assert after[key] == pytest.approx(confidence, abs=1e-6), key


def test_a_deleted_code_stays_a_label(old_version: Path, extended: Path, systems: CodeSystems) -> None:
    # R07.9 became a heading; notes of before are still coded with it.
    assert not systems.icd10cm(SECOND).is_valid("R07.9")
    assert read_labels(extended)[: len(read_labels(old_version))] == read_labels(old_version)
    assert "icd10cm:R07.9" in {label.key for label in read_labels(extended)}


def test_the_bundle_says_what_it_is(old_version: Path, extended: Path) -> None:
    (before, _), (after, _) = read_bundle(old_version), read_bundle(extended)
    assert after.releases == before.releases | {"icd10cm": ("2025-10", "2026-10", "icd10es-2018")}
    assert after.label_space_sha256 != before.label_space_sha256
    kept = {"base_model", "windowing", "calibration", "threshold", "manifest_sha256", "code_commit", "reference"}
    assert after.model_dump(include=kept) == before.model_dump(include=kept)
    changed = {name for name in after.files if after.files[name] != before.files[name]}
    assert changed == {"head.safetensors", "lexical.safetensors", "labels.json"}
    assert [path.name for path in extended.parent.iterdir()] == ["bundle"]


def test_a_new_label_is_as_common_as_its_relatives(old_version: Path, extended: Path) -> None:
    old, new = (load_file(folder / "head.safetensors")["bias.weight"].squeeze(1) for folder in (old_version, extended))
    row = {label.code: at for at, label in enumerate(read_labels(extended))}
    # The two codes under what was a code share what it is worth; beside N17.9 there is one alone.
    assert new[row["R07.91"]] == new[row["R07.92"]] == pytest.approx(old[row["R07.9"]].item() - math.log(2), abs=1e-5)
    assert new[row["N17.7"]] == pytest.approx(old[row["N17.9"]].item(), abs=1e-5)
    assert new[row["Q00.7"]] == pytest.approx(LEAST_BIAS, abs=1e-5)
    state = load_file(extended / "head.safetensors")
    for name in ("query_residual.weight", "output_residual.weight"):
        assert not state[name][len(old) :].any()
    norms = torch.linalg.vector_norm(state["descriptions_LD"], dim=1)
    assert norms == pytest.approx(torch.ones(len(new)), abs=1e-5)


def test_equal_extensions_are_equal(
    old_version: Path, extended: Path, made_config: Any, systems: CodeSystems, tmp_path: Path
) -> None:
    plan = plan_extension(old_version, release="2026-10", addition=Addition.NEW, systems=systems)
    told = {"added": plan.labels, "base": made_config.base_model, "systems": systems, "progress": lambda _: None}
    extend_bundle(old_version, tmp_path / "again", **told)
    assert read_bundle(tmp_path / "again")[1] == read_bundle(extended)[1]


def test_an_extension_that_cannot_be_leaves_nothing(
    old_version: Path, made_config: Any, tiny_encoder: Path, systems: CodeSystems, tmp_path: Path
) -> None:
    plan = plan_extension(old_version, release="2026-10", addition=Addition.NEW, systems=systems)
    other = made_config.base_model.model_copy(update={"folder": tiny_encoder})
    for added, base, message in (
        ((), made_config.base_model, "has every code that was to be added"),
        (plan.labels, other, r"base model tests/tiny-bert@0 .* is not that of the bundle"),
    ):
        with pytest.raises(ValueError, match=message):
            extend_bundle(
                old_version, tmp_path / "new", added=added, base=base, systems=systems, progress=lambda _: None
            )
    assert not list(tmp_path.iterdir())


def test_the_command_registers_a_measured_version(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    versions_extend.extend("1", release="2026-10", dry_run=True, as_json=True, data_dir=store)
    planned = json.loads(capsys.readouterr().out)
    assert [one["code"] for one in planned["codes"]] == ["N17.7", "Q00.7", "R07.91", "R07.92"]
    assert [version.number for version in list_versions(data_dir=store)] == [1]
    versions_extend.extend("1", release="2026-10", data_dir=store)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["version"], told["extended_from"], told["num_added"]) == (2, 1, 4)
    second, first = list_versions(data_dir=store)
    assert (second.aliases, first.aliases) == (("candidate",), ())
    assert second.lineage.evaluated_on == "dev"
    assert second.lineage.manifest_sha256 == first.lineage.manifest_sha256
    assert second.lineage.metrics["micro_f1"] == told["metrics"]["micro_f1"]
    assert told["metrics"]["num_records"] == 8
    bundle = resolve_version("2", data_dir=store).folder
    assert {label.code for label in read_labels(bundle)} >= set(ADDED)
    # Both were measured on the same records, so that governance can tell what the new labels cost.
    comparison = compare_logged("1", "2", data_dir=store)
    assert (comparison.a.number, comparison.b.number) == (1, 2)
    # And again: what trained the first version is still known.
    with pytest.raises(ValueError, match="has every code that was to be added"):
        versions_extend.extend("2", release="2026-10", data_dir=store)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"add": "some"}, r"--add 'some' is not known; give one of new, all"),
        ({"release": "2030-10"}, r"release '2030-10' of icd10cm is not held"),
        ({"records": "jsonl:/nowhere.jsonl"}, r"names no file at /nowhere\.jsonl; .*with --records"),
        ({"version": "BUNDLE"}, r"has no run; name the configuration that trained it with --config"),
    ],
)
def test_what_the_command_cannot_do_is_said(store: Path, trained: Path, options: dict[str, str], message: str) -> None:
    before = list_versions(data_dir=store)
    told = {"version": "1", "release": "2026-10", "data_dir": store} | options
    if told["version"] == "BUNDLE":
        told["version"] = str(trained)
    with pytest.raises(ValueError, match=message):
        versions_extend.extend(**told)
    assert list_versions(data_dir=store) == before


def test_a_version_is_not_measured_on_what_trained_it(store: Path, made_config: Any, tmp_path: Path) -> None:
    lines = Path(made_config.records.removeprefix("jsonl:")).read_text().splitlines()
    (tmp_path / "leaky.jsonl").write_text("\n".join(lines[:40]).replace('"split":"train"', '"split":"dev"') + "\n")
    with pytest.raises(ValueError, match="40 of 40 evaluation records leaked into the training of version 1"):
        versions_extend.extend("1", release="2026-10", records=f"jsonl:{tmp_path / 'leaky.jsonl'}", data_dir=store)


def test_the_command_joins_a_group() -> None:
    app = typer.Typer()
    versions_extend.add_to(app)
    assert [command.callback for command in app.registered_commands] == [versions_extend.extend]
