"""``chartloop versions extend``: codes that a new release adds become labels of a version, without retraining."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.held_releases import held_releases
from scripts.options import DEFAULT_DATA_DIR, AsJson, DataDir, print_json

if TYPE_CHECKING:
    from clinical_coding.code_systems import CodeSystems
    from clinical_coding.data_directory import DataDirectory
    from clinical_coding.records import CodedRecord
    from governance.versions import ResolvedVersion
    from training.config import TrainConfig
    from training.extend import Extension

__all__ = ["add_to", "extend"]

_NUM_SHOWN = 20


def add_to(app: typer.Typer) -> None:
    """Put the command into the group ``versions``."""
    app.command()(extend)


def extend(
    version: Annotated[str, typer.Argument(help="champion, candidate, challenger, a number, or a bundle's folder.")],
    release: Annotated[
        str, typer.Option("--release", help="A release of ICD-10-CM that `chartloop codes import` stored: 2026-10.")
    ],
    add: Annotated[
        str,
        typer.Option("--add", help="new: codes that the version's own releases do not have; all: every valid code."),
    ] = "new",
    records: Annotated[
        str | None,
        typer.Option("--records", help="Measure on the dev split of these records; default: the training's."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The configuration that trained the version; default: what its run logged."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be added, and change nothing.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Let a version suggest the codes that a new release adds, and register it as a new candidate.

    Example: [bold]chartloop versions extend champion --release 2026-10 --dry-run[/bold]

    A new label starts from its official words and from its nearest trained relative's share of records; weights,
    calibration, threshold and what is said of the old labels stay as they are. No label is taken away: a code that
    the release deletes is still suggested for dates of service before, and is a finding after. The new version is
    measured anew, on records of patients that the version was not trained on. The last line printed is JSON.
    """
    from clinical_coding.data_directory import DataDirectory
    from governance.versions import resolve_version
    from training.extend import Addition, plan_extension

    if add not in set(Addition):
        raise ValueError(f"--add {add!r} is not known; give one of {', '.join(Addition)}")
    directory, systems = DataDirectory.locate(data_dir), held_releases(data_dir)
    source = resolve_version(version, data_dir=data_dir)
    extension = plan_extension(source.folder, release=release, addition=Addition(add), systems=systems)
    if dry_run:
        _show(extension, as_json=as_json)
        return
    settings = _config_of(source, config, data_dir=data_dir)
    measured, spec = _unseen_records(source, settings, records, systems=systems)
    with _extended_bundle(source, extension, settings, systems=systems, directory=directory) as bundle:
        _register(bundle, source, extension, settings, measured, spec=spec, data_dir=data_dir)


@contextmanager
def _extended_bundle(
    source: "ResolvedVersion",
    extension: "Extension",
    settings: "TrainConfig",
    *,
    systems: "CodeSystems",
    directory: "DataDirectory",
) -> Iterator[Path]:
    """The bundle with more labels, for as long as the block runs."""
    from training.extend import extend_bundle
    from training.progress import progress_bar

    directory.cache.mkdir(parents=True, exist_ok=True)
    total, console = len(extension.labels), Console(stderr=True)
    with tempfile.TemporaryDirectory(dir=directory.cache, prefix=".extend-") as scratch:
        bundle = Path(scratch) / "bundle"
        with progress_bar("embed descriptions", total=total, console=console) as advance:
            extend_bundle(
                source.folder,
                bundle,
                added=extension.labels,
                base=settings.base_model,
                systems=systems,
                progress=advance,
            )
        yield bundle


def _register(
    bundle: Path,
    source: "ResolvedVersion",
    extension: "Extension",
    settings: "TrainConfig",
    measured: "list[CodedRecord]",
    *,
    spec: str,
    data_dir: Path,
) -> None:
    """Measure and register the bundle, and tell what came of it."""
    from clinical_coding.readers.spec import without_folders
    from training.extended_version import register_extension

    console = Console(stderr=True)
    result = register_extension(
        bundle,
        parent=source.version,
        extension=extension,
        config=settings,
        measured_on=without_folders(spec),
        records=measured,
        data_dir=data_dir,
        console=console,
    )
    told = f"version {result.version.number}: {len(extension.labels):,} codes of {extension.release} added"
    console.print(told, highlight=False)
    print_json(
        {
            "run_id": result.run_id,
            "version": result.version.number,
            "bundle_sha256": result.version.bundle_sha256,
            "extended_from": source.version.number,
            "num_added": len(extension.labels),
            "metrics": result.evaluation.overall.as_dict(),
        }
    )


def _show(extension: "Extension", *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "release": extension.release,
                "compared_with": extension.compared_with,
                "codes": [{"code": label.code, "description": label.description} for label in extension.labels],
            }
        )
        return
    against = f", not in {' or '.join(extension.compared_with)}" if extension.compared_with else ""
    Console().print(f"{len(extension.labels):,} codes of {extension.release}{against}", highlight=False)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("code", no_wrap=True)
    table.add_column("description")
    for label in extension.labels[:_NUM_SHOWN]:
        table.add_row(label.code, escape(label.description or ""))
    Console().print(table)
    if (more := len(extension.labels) - _NUM_SHOWN) > 0:
        Console().print(f"and {more:,} more; --json lists them all", highlight=False)


def _config_of(source: "ResolvedVersion", config: Path | None, *, data_dir: Path) -> "TrainConfig":
    """Find what trained a version: it names the base model and the records that measure."""
    from training.config import load_config

    if config is not None:
        return load_config(config)
    if source.version.number is None:
        raise ValueError(
            f"the bundle at {source.folder} has no run; name the configuration that trained it with --config"
        )

    from pydantic import ValidationError

    from clinical_coding.artefact import describe_errors
    from clinical_coding.data_directory import DataDirectory
    from governance.registry import open_registry, read_run_artifact
    from governance.versions import find_version
    from training.extended_version import config_of_run

    directory = DataDirectory.locate(data_dir)
    registered = find_version(str(source.version.number), data_dir=data_dir)
    try:
        assert registered.run_id is not None, "a version whose bundle was found has a run"
        logged = read_run_artifact(open_registry(directory), registered.run_id, "config.json", directory=directory)
        return config_of_run(json.loads(logged))
    except ValidationError as error:
        fault = describe_errors(error)
    except ValueError as error:
        fault = str(error)
    raise ValueError(
        f"version {registered.number} does not tell what trained it ({fault}); name its configuration with --config"
    )


def _unseen_records(
    source: "ResolvedVersion", settings: "TrainConfig", records: str | None, *, systems: "CodeSystems"
) -> "tuple[list[CodedRecord], str]":
    """The records to measure on, none of a patient that the version was trained on, and their spec."""
    from clinical_coding.evaluation_set import EvaluatedRecord
    from clinical_coding.readers import read_records
    from clinical_coding.records import Split
    from governance.lineage import require_unseen
    from governance.measured import manifest_of_bundle

    if records is None and Split.DEV in settings.splits:
        raise ValueError("the version was trained on the dev split of its records; name others with --records")
    spec = records or settings.records
    try:
        measured = list(read_records(spec, splits=(Split.DEV,), systems=systems))
    except ValueError as error:
        raise ValueError(f"{error}; or name other records to measure on with --records") from None
    if not measured:
        raise ValueError(f"records {spec!r} have no dev split to measure on; name others with --records")
    name = str(source.version.number or source.version.bundle_sha256[:12])
    require_unseen([EvaluatedRecord.of(one) for one in measured], manifest_of_bundle(source), version=name)
    return measured, spec
