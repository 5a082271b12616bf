"""Two versions predict the same records and are compared: the join of training and governance (stage 11)."""

from pathlib import Path

from rich.console import Console

from clinical_coding.comparisons import Comparison
from clinical_coding.evaluation_set import EvaluatedRecord
from governance.comparison import Measured, compare
from governance.lineage import require_unseen
from governance.measured import describe_bundle, manifest_of_bundle
from governance.versions import resolve_version
from scripts.evaluation import predicted, records_of
from scripts.held_releases import held_releases

__all__ = ["compare_on"]


def compare_on(
    a: str, b: str, spec: str, *, split: str | None, rejects: Path | None, data_dir: Path, console: Console
) -> Comparison:
    """Let both versions predict records that neither was trained on, and compare them.

    Args:
        a: Reference to the one to compare with.
        b: Reference to the one that is judged.
        spec: The records.
        split: Of which only these are read.
        rejects: Where to keep input lines that cannot be read.
        data_dir: The data directory.
        console: Where progress is shown.

    Raises:
        ValueError: A version, the spec or the split is wrong, there is no record, or a version was
            trained on some of them.
    """
    resolved = [resolve_version(reference, data_dir=data_dir) for reference in (a, b)]
    versions = [describe_bundle(one) for one in resolved]
    systems = held_releases(data_dir)
    chosen = records_of(spec, split=split, rejects=rejects, systems=systems)
    records = [EvaluatedRecord.of(record) for record in chosen]
    for one, version in zip(resolved, versions, strict=True):
        name = str(version.number or version.bundle_sha256[:12])
        require_unseen(records, manifest_of_bundle(one), version=name)
    measured = []
    for one, version in zip(resolved, versions, strict=True):
        with predicted(one, spec, split=split, rejects=None, systems=systems, console=console) as predictions:
            measured.append(Measured(version, records, list(predictions)))
    return compare(*measured)
