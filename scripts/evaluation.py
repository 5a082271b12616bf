"""A version reads records: what predict and evaluate share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from clinical_coding.code_systems import CodeSystems
from clinical_coding.predictions import Prediction
from clinical_coding.readers import read_records
from clinical_coding.records import CodedRecord, Split
from governance.versions import ResolvedVersion
from training.model import Scorer
from training.predict import predict
from training.progress import progress_bar

__all__ = ["predicted", "records_of"]


def records_of(
    spec: str, *, split: str | None, rejects: Path | None = None, systems: CodeSystems | None = None
) -> Iterator[CodedRecord]:
    """Read records, of one split when it is named, judged by the held releases, else by the embedded one.

    Raises:
        ValueError: There is no such split, or the spec is wrong.
    """
    if split is not None and split not in set(Split):
        raise ValueError(f"--split {split!r} is not a split; choose one of {', '.join(Split)}")
    splits = tuple(Split) if split is None else (Split(split),)
    return read_records(spec, splits=splits, rejects=rejects, systems=systems)


@contextmanager
def predicted(
    resolved: ResolvedVersion,
    spec: str,
    *,
    split: str | None,
    rejects: Path | None,
    systems: CodeSystems,
    console: Console,
) -> Iterator[Iterator[Prediction]]:
    """Predict records in a stream, with a progress bar while the block runs.

    Raises:
        ValueError: The bundle is damaged, the spec or the split is wrong, or no record is in the split.
    """
    records = records_of(spec, split=split, rejects=rejects, systems=systems)
    first = next(records, None)
    if first is None:
        raise ValueError(f"records {spec!r} has no record{f' in split {split}' if split else ''}; choose another")

    def stream() -> Iterator[CodedRecord]:
        yield first
        yield from records

    name = str(resolved.version.number or resolved.version.bundle_sha256[:12])
    scorer = Scorer(resolved.folder)
    with progress_bar("predict", total=None, console=console) as advance:
        yield predict(scorer, stream(), version=name, progress=advance)
