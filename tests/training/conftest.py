"""Made-up records whose notes name their codes in plain words, and a tiny model that learns from them.

They do not depend on the sample generator, so losses measured on them stay what they are.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from rich.console import Console

from clinical_coding.bundle import Calibration
from clinical_coding.code_systems import CodeSystems, ReleasedSystem
from clinical_coding.code_systems.importing import import_release
from clinical_coding.code_systems.releases import fiscal_year
from clinical_coding.data_directory import DataDirectory
from clinical_coding.manifest import Manifest
from clinical_coding.readers import write_jsonl
from clinical_coding.records import CodedRecord
from governance.versions import resolve_version
from training.batches import Collator
from training.build import build_model
from training.bundle_writer import write_bundle
from training.config import TrainConfig
from training.corpus import Corpus, prepare
from training.dataset import store_records
from training.fit import FitResult, fit
from training.label_sampler import LabelSampler
from training.label_space import LabelSpace
from training.model.coding_model import CodingModel
from training.model.lexical import LexicalMatch
from training.train import TrainResult, train

WORDS = {
    "icd10cm:I10": "essential hypertension",
    "icd10cm:E11.9": "type two diabetes",
    "icd10cm:E11.65": "diabetes with hyperglycemia",
    "icd10cm:J18.9": "pneumonia of the left lower lobe",
    "icd10cm:J45.909": "asthma without exacerbation",
    "icd10cm:N17.9": "acute kidney failure",
    "icd10cm:N18.9": "chronic kidney disease",
    "icd10cm:R07.9": "chest pain",
    "cpt:99213": "established patient visit",
    "hcpcs:J1885": "ketorolac injection",
}
DEV_ONLY, TEST_ONLY = "icd10cm:M54.50", "icd10cm:G43.909"
FILLER = "The patient was seen today and reports feeling well; vitals are stable. Plan: follow up in two weeks.\n"


def _record(number: int, draw: np.random.Generator) -> CodedRecord:
    split = "train" if number < 40 else "dev" if number < 48 else "test"
    keys = sorted(draw.choice(list(WORDS), draw.integers(1, 4), replace=False))
    text, codes = FILLER * int(draw.integers(0, 4)), []
    for key in keys:
        start = len(text) + len("Assessment: ")
        text += f"Assessment: {WORDS[key]}. " + FILLER * int(draw.integers(0, 2))
        span = {"note_id": "n1", "start": start, "end": start + len(WORDS[key])}
        system, _, code = key.partition(":")
        codes.append({"system": system, "code": code, "evidence": [span]})
    if split != "train":
        system, _, code = (DEV_ONLY if split == "dev" else TEST_ONLY).partition(":")
        codes.append({"system": system, "code": code})
    # Two records a patient, so that a split by record would be seen.
    record = {"record_id": f"r{number}", "patient_id": f"p{number // 2}", "split": split, "codes": codes}
    encounter = {"setting": "outpatient", "specialty": "family-medicine"}
    notes = [{"note_id": "n1", "text": text}, {"note_id": "n2", "text": "Phone call about the visit."}]
    return CodedRecord.model_validate(record | {"encounter": encounter, "notes": notes})


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Sums in one order: runs in this process and in others give the same weights."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made_records() -> list[CodedRecord]:
    """52 records of 26 patients: 40 to train, 8 dev, 4 test."""
    draw = np.random.default_rng(0)
    return [_record(number, draw) for number in range(52)]


@pytest.fixture(scope="session")
def made_encoder(make_encoder: Callable[[str], Path]) -> Path:
    """A tiny encoder that knows the words of the made-up notes."""
    return make_encoder((FILLER + ". ".join(WORDS.values())) * 4)


@pytest.fixture(scope="session")
def made_config(
    made_encoder: Path,
    made_records: list[CodedRecord],
    tiny_optimisation: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> TrainConfig:
    """A training of the tiny encoder on the made-up records, refit included."""
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    write_jsonl(made_records, path)
    return TrainConfig.model_validate(
        {
            "records": f"jsonl:{path}",
            "splits": ["train"],
            "base_model": {"name": "tests/tiny-bert", "revision": "0", "folder": made_encoder},
            "windowing": {"max_window_tokens": 32, "max_windows": 32},
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.1, "num_top_layers": 2},
            "head": {"num_sampled_labels": 8, "evidence_weight": 0.5},
            "optimisation": tiny_optimisation,
            "calibration_share": 0.2,
            "refit": True,
            "seed": 0,
        }
    )


@pytest.fixture(scope="session")
def corpus(
    made_config: TrainConfig, made_records: list[CodedRecord], tmp_path_factory: pytest.TempPathFactory
) -> Corpus:
    """The training split of the made-up records, prepared with stored lower layers."""
    folder = tmp_path_factory.mktemp("corpus")
    train = (record for record in made_records if record.split == "train")
    store_records(train, sources=["made"], path=folder / "records.arrow")
    console = Console(quiet=True)
    return prepare(
        made_config,
        records=folder / "records.arrow",
        folder=folder,
        systems=CodeSystems.embedded(),
        accelerator=Accelerator(cpu=True),
        console=console,
    )


@dataclass
class Fitted:
    """A fit that ended, or was killed."""

    model: CodingModel
    losses: list[float]
    result: FitResult | None = None

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.model.named_parameters() if value.requires_grad}


FitStarter = Callable[..., Fitted]


@pytest.fixture
def start_fit(corpus: Corpus, made_config: TrainConfig, tmp_path: Path) -> Iterator[FitStarter]:
    """Fit the tiny model on the prepared corpus; ``kill_at`` raises KeyboardInterrupt after a step's report."""

    def start(
        *,
        folder: str = "fit",
        kill_at: int | None = None,
        cached: bool = True,
        adjust: Callable[[CodingModel], None] | None = None,
        held_out_score: Callable[[CodingModel], float] | None = None,
        accelerator: Any = None,
        **optimisation: Any,
    ) -> Fitted:
        options = made_config.optimisation.model_copy(update=optimisation)
        config = made_config.model_copy(update={"optimisation": options})
        model, _ = build_model(config, corpus.descriptions_LD, prior_L=corpus.priors(corpus.windows))
        if adjust is not None:
            adjust(model)
        siblings = corpus.label_space.siblings()
        sampler = LabelSampler(siblings, num_sampled=config.head.num_sampled_labels, seed=config.seed)
        stored = corpus.lower_layers if cached else None
        collator = Collator(sampler, pad_token_id=corpus.tokenizer.pad_token_id, lower_layers=stored)
        fitted = Fitted(model, [])

        def report(step: int, loss: float, _score: float | None) -> None:
            fitted.losses.append(loss)
            if step == kill_at:
                raise KeyboardInterrupt

        try:
            fitted.result = fit(
                model,
                corpus.windows,
                collator,
                config=config,
                accelerator=accelerator or Accelerator(cpu=True),
                checkpoints=tmp_path / folder,
                held_out_score=None if held_out_score is None else lambda: held_out_score(model),
                report=report,
                before_checkpoint=lambda: None,
            )
        except KeyboardInterrupt:
            assert kill_at is not None
        return fitted

    yield start


ReleaseImporter = Callable[..., None]


def _diagnoses(codes: Mapping[str, str], *, below: str) -> str:
    """The entries directly below a code, in the layout of the tabular list."""
    rows = []
    for code, title in codes.items():
        parent = next(
            (code[:at].rstrip(".") for at in range(len(code) - 1, 2, -1) if code[:at].rstrip(".") in codes), ""
        )
        if parent == below:
            rows.append(f"<diag><name>{code}</name><desc>{title}</desc>{_diagnoses(codes, below=code)}</diag>")
    return "".join(rows)


@pytest.fixture(scope="session")
def import_icd10cm(tmp_path_factory: pytest.TempPathFactory) -> ReleaseImporter:
    """Import a small release of ICD-10-CM, from files in the official layouts, into a data directory."""

    def run(data_dir: Path, codes: Mapping[str, str], *, start: date) -> None:
        folder, year = tmp_path_factory.mktemp("official"), fiscal_year(start)
        headings = {other for other in codes for code in codes if code != other and code.startswith(other)}
        lines = [
            f"{number:05} {code.replace('.', ''):<7} {code not in headings:d} {title[:60]:<60} {title}"
            for number, (code, title) in enumerate(codes.items(), start=1)
        ]
        order, tabular = folder / f"icd10cm_order_{year}.txt", folder / f"icd10cm_tabular_{year}.xml"
        order.write_text("\n".join(lines) + "\n")
        tabular.write_text(
            f"<ICD10CM.tabular><version>{year}</version><chapter><name>1</name><desc>All</desc>"
            f'<section id="A00-Z99"><desc>All (A00-Z99)</desc>{_diagnoses(codes, below="")}</section>'
            "</chapter></ICD10CM.tabular>"
        )
        told = {"name": f"{start:%Y-%m}", "effective_from": start, "directory": DataDirectory.locate(data_dir)}
        import_release(ReleasedSystem.ICD10CM, [order, tabular], **told)

    return run


@dataclass(frozen=True)
class MadeStore:
    """A data directory in which the made-up records trained one version; to be read, not written."""

    data_dir: Path
    result: TrainResult
    bundle: Path


@pytest.fixture(scope="session")
def made_store(made_config: TrainConfig, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> MadeStore:
    """Train the made-up records once, without being killed."""
    data_dir = tmp_path_factory.mktemp("made") / "data"
    data_dir.mkdir()
    shutil.copy(empty_store / "mlflow.db", data_dir)
    result = train(made_config, data_dir=data_dir, console=Console(quiet=True))
    return MadeStore(data_dir, result, resolve_version("1", data_dir=data_dir).folder)


@pytest.fixture(scope="session")
def write_model(corpus: Corpus, made_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write a bundle of an untrained model whose LoRA factors are random; gives folder and model."""

    def write(
        *, label_space: LabelSpace | None = None, calibration: Calibration, threshold: float, max_windows: int = 64
    ) -> tuple[Path, CodingModel]:
        space = label_space or corpus.label_space
        draw = torch.Generator().manual_seed(0)
        descriptions_LD = torch.nn.functional.normalize(torch.randn(len(space.labels), 32, generator=draw), dim=1)
        windowing = made_config.windowing.model_copy(update={"max_windows": max_windows})
        config = made_config.model_copy(update={"windowing": windowing})
        model, wrapped = build_model(config, descriptions_LD, prior_L=torch.full((len(space.labels),), 0.2))
        for name, value in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(value, std=0.2, generator=draw)
        folder = write_bundle(
            tmp_path_factory.mktemp("written") / "bundle",
            config=config,
            wrapped=wrapped,
            head=model.head,
            tokenizer=corpus.tokenizer,
            label_space=space,
            lexical=LexicalMatch.build(space.terms),
            calibration=calibration,
            threshold=threshold,
            manifest=Manifest(record_ids=("r1",), content_sha256="0" * 64, splits={"train": 1}, sources=("made",)),
            code_commit=None,
            reference={},
        )
        return folder, model.eval()

    return write
