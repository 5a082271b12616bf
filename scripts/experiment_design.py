"""What the feedback experiment does with one seed, in reading order; ``experiment_feedback`` runs the seeds.

Version 1 learns from base records; coders decide on what it suggests for fresh encounters; supervisors judge what
they changed; version 2 learns the outcome twice, once as adjudicated and once as the coders left it. All three are
measured on further records. Each step leaves a file, so that an interrupted seed goes on after its last one.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clinical_coding.artefact import publish
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeState
from clinical_coding.readers import read_records, write_jsonl
from clinical_coding.records import CodedRecord, Setting, Split
from scripts.options import CONFIGS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from feedback.simulation.running import SimulationReport
    from governance.versions import ResolvedVersion

__all__ = ["ARMS", "Sizes", "run_seed"]

ARMS: Final = ("version 1", "adjudicated", "raw")
SPECIALTIES: Final = frozenset({"family-medicine", "cardiology", "endocrinology", "nephrology"})
"""Outpatients of internal medicine: one service line, whose codes recur often enough in some hundred records."""
_SAMPLES_A_RECORD: Final = 12
"""Sample records drawn for each one kept; one in five is of the service line, of these four in five of split train."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of records."""

    base: int
    fresh: int
    evaluation: int


def run_seed(seed: int, *, work: Path, sizes: Sizes, num_threads: int) -> dict[str, Any]:
    """Do everything for one seed, or find it done.

    Args:
        seed: Of the records, of the trainings and of the simulated people.
        work: Where the seeds' folders lie.
        sizes: Numbers of records.
        num_threads: For training and prediction.

    Returns:
        ``counts`` by arm, a list of ``[correct, gold or suggested]`` for all codes and for those of the habits, one
        entry an evaluation record; and ``facts``, what was learnt from.
    """
    import torch

    torch.set_num_threads(num_threads)
    folder = work / f"seed-{seed}-{sizes.base}-{sizes.fresh}-{sizes.evaluation}"
    if (folder / "result.json").is_file():
        found: dict[str, Any] = _read(folder / "result.json")
        return found
    folder.mkdir(parents=True, exist_ok=True)
    _write_records(folder, seed=seed, sizes=sizes)
    counts = {ARMS[0]: _measured(folder, ARMS[0], records=folder / "base.jsonl", seed=seed)}
    facts = _gather_feedback(folder, seed=seed)
    for arm in ARMS[1:]:
        counts[arm] = _measured(folder, arm, records=folder / arm / "records.jsonl", seed=seed)
    result = {"seed": seed, "counts": counts, "facts": facts}
    with publish(folder / "result.json") as stream:
        json.dump(result, stream)
    return result


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_records(folder: Path, *, seed: int, sizes: Sizes) -> None:
    """Draw base, fresh and evaluation records: other sample seeds, so other patients."""
    parts = {"base": (sizes.base, True), "fresh": (sizes.fresh, True), "evaluation": (sizes.evaluation, False)}
    for number, (name, (size, is_train)) in enumerate(parts.items()):
        if not (folder / f"{name}.jsonl").is_file():
            chosen = islice(_of_service_line(10 * seed + number, size=size, is_train=is_train), size)
            write_jsonl(chosen, folder / f"{name}.jsonl")


def _of_service_line(sample_seed: int, *, size: int, is_train: bool) -> Iterator[CodedRecord]:
    splits = (Split.TRAIN,) if is_train else tuple(Split)
    for record in read_records(f"sample:{_SAMPLES_A_RECORD * size}?seed={sample_seed}", splits=splits):
        if record.encounter.specialty in SPECIALTIES and record.encounter.setting is Setting.OUTPATIENT:
            yield record


def _trained(folder: Path, arm: str, *, records: Path, seed: int) -> "ResolvedVersion":
    """Train a version, or find it registered."""
    from rich.console import Console

    from governance.versions import resolve_version
    from training.config import load_config
    from training.train import train

    done = folder / f"{arm}.number"
    if not done.is_file():
        config = load_config(CONFIGS / "train-experiment.yaml", records=f"jsonl:{records}", seed=seed)
        result = train(config, data_dir=folder / "data", console=Console(quiet=True))
        with publish(done) as stream:
            stream.write(str(result.version.number))
    return resolve_version(done.read_text(), data_dir=folder / "data")


def _measured(folder: Path, arm: str, *, records: Path, seed: int) -> list[list[int]]:
    """Train an arm's version and count what it does on each evaluation record."""
    from feedback.simulation.settings import load_simulation
    from training.model import Scorer
    from training.predict import predict

    path = folder / f"{arm}.counts.json"
    if not path.is_file():
        scorer = Scorer(_trained(folder, arm, records=records, seed=seed).folder)
        habits = load_simulation(CONFIGS / "simulation.yaml").habit_keys()
        truths = list(read_records(f"jsonl:{folder / 'evaluation.jsonl'}"))
        rows = []
        for record, prediction in zip(
            truths, predict(scorer, truths, version=arm, progress=lambda _: None), strict=True
        ):
            suggested = {code.key for code in prediction.codes if code.suggested}
            rows.append(_counts(record.keys(), suggested) + _counts(record.keys() & habits, suggested & habits))
        with publish(path) as stream:
            json.dump(rows, stream)
    counts: list[list[int]] = _read(path)
    return counts


def _counts(gold: frozenset[str], suggested: set[str] | frozenset[str]) -> list[int]:
    """Numerator and denominator of code-over-code accuracy."""
    return [len(gold & suggested), len(gold | suggested)]


def _gather_feedback(folder: Path, *, seed: int) -> dict[str, Any]:
    """Simulate coders and supervisors on the fresh encounters, and export what they say, both ways."""
    from ledger.engine import default_url, ledger

    path = folder / "feedback.json"
    if not path.is_file():
        place = folder / "ledger"
        # What an interrupted simulation left would be decided twice.
        for left in place.glob("*") if place.is_dir() else ():
            left.unlink()
        place.mkdir(exist_ok=True)
        with ledger(place, url=default_url(place)) as engine:
            report = _simulate(engine, folder, seed=seed)
            facts = {"simulation": report.as_dict(), **_export(engine, folder)}
        with publish(path) as stream:
            json.dump(facts, stream)
    facts_read: dict[str, Any] = _read(path)
    return facts_read


def _simulate(engine: "Engine", folder: Path, *, seed: int) -> "SimulationReport":
    from feedback.settings import load_feedback, load_reasons
    from feedback.simulation.running import simulate
    from feedback.simulation.settings import load_simulation
    from scripts.answer_rules import load_rules
    from scripts.feedback_simulation import suggested
    from training.model import Scorer

    version = _trained(folder, ARMS[0], records=folder / "base.jsonl", seed=seed)
    # No audit draws: an audited record is complete, so that it would teach both arms more than overrides.
    shares = ("accepted_share", "autonomous_share", "first_year_accepted_share", "first_year_autonomous_share")
    rules = load_rules(folder)
    return simulate(
        engine,
        suggested(
            read_records(f"jsonl:{folder / 'fresh.jsonl'}"),
            scorer=Scorer(version.folder),
            version=version.version,
            rules=rules,
        ),
        settings=load_simulation(CONFIGS / "simulation.yaml"),
        feedback=load_feedback(CONFIGS / "feedback.yaml").model_copy(update=dict.fromkeys(shares, 0.0)),
        reasons=load_reasons(CONFIGS / "reasons.yaml"),
        systems=rules.systems,
        seed=seed,
    )


def _export(engine: "Engine", folder: Path) -> dict[str, Any]:
    """Write both training sets: the exported one, and the same with the coders' labels."""
    from feedback.simulation.raw_labels import as_coded
    from feedback.training_set import RECORD_PREFIX, export
    from ledger.principals import list_principals

    supervisor = next(one for one in list_principals(engine) if one.role == "supervisor")
    exported = export(
        engine,
        out=folder / ARMS[1],
        principal=supervisor,
        systems=CodeSystems.embedded(),
        replay=[f"jsonl:{folder / 'base.jsonl'}"],
    )
    raw, num_labels, num_differing = [], 0, 0
    for record in read_records(f"jsonl:{folder / ARMS[1] / 'records.jsonl'}"):
        changed = record
        if record.record_id.startswith(RECORD_PREFIX):
            changed = as_coded(record, final=_final_codes(engine, record.record_id.removeprefix(RECORD_PREFIX)))
            num_labels += sum(code.state is not CodeState.UNKNOWN for code in record.codes)
            pairs = zip(record.codes, changed.codes, strict=True)
            num_differing += sum(before.state is not after.state for before, after in pairs)
        raw.append(changed)
    write_jsonl(raw, folder / ARMS[2] / "records.jsonl")
    return {"num_feedback": exported.num_feedback, "num_labels": num_labels, "num_differing": num_differing}


def _final_codes(engine: "Engine", suggestion_id: str) -> frozenset[str]:
    from feedback.decisions import decision_of, final_codes
    from ledger.suggestions import load

    with engine.connect() as connection:
        decided = decision_of(connection, suggestion_id)
        return final_codes(load(connection, suggestion_id), decided.decision if decided else None)
