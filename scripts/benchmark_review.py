"""What the coding rules do to a version's suggestions: how long they take, what they withhold, and whether rightly.

Scores records that the version was not trained on, reviews the suggested codes as the gateway does, and holds the
result against the codes that belong on the records. Two minutes on two cores with 300 records:

    python -m scripts.benchmark_review candidate --records 'sample:3000?seed=1'
"""

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from clinical_coding.artefact import new_id
from clinical_coding.evaluation_set import EvaluatedRecord
from clinical_coding.findings import Severity
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import CodedRecord
from clinical_coding.suggestions import SuggestionRequest
from governance.lineage import require_unseen
from governance.measured import manifest_of_bundle
from governance.versions import resolve_version
from scripts.answer_rules import load_rules
from scripts.benchmark_results import Row, write_results
from scripts.evaluation import records_of
from scripts.options import DEFAULT_DATA_DIR
from serving.gateway.reviewing import Review, read_notes, review, warm
from serving.gateway.rules import AnswerRules
from training.model import Scorer

__all__ = ["main"]

_RECORDS_A_PASS: Final = 16


@dataclass
class _Tally:
    """Counts over all records."""

    milliseconds: list[float] = field(default_factory=list)
    suggested: Counter[bool] = field(default_factory=Counter)
    """Before the review, by whether the code belongs on the record."""
    withheld: Counter[bool] = field(default_factory=Counter)
    findings: Counter[Severity] = field(default_factory=Counter)
    num_blocked: int = 0
    num_queries: int = 0
    num_gold: int = 0

    def add(
        self, record: CodedRecord, codes: Sequence[PredictedCode], reviewed: Review, *, milliseconds: float
    ) -> None:
        """Count one record."""
        gold, kept = record.keys(), {code.key for code in reviewed.codes}
        self.milliseconds.append(milliseconds)
        self.num_gold += len(gold)
        for code in codes:
            if code.suggested:
                self.suggested[code.key in gold] += 1
                self.withheld[code.key in gold] += code.key not in kept
        self.findings.update(finding.severity for finding in reviewed.findings)
        self.num_blocked += any(finding.severity is Severity.BLOCKING for finding in reviewed.findings)
        self.num_queries += len(reviewed.queries)

    def micro_f1(self, *, reviewed: bool) -> float:
        """Of the suggested codes, before or after the review."""
        counts = self.suggested - self.withheld if reviewed else self.suggested
        return 2 * counts[True] / (counts.total() + self.num_gold)

    def rows(self) -> list[Row]:
        """The figures."""
        num_records, percentiles = len(self.milliseconds), statistics.quantiles(self.milliseconds, n=100)
        return [
            Row("review_p50", percentiles[49], "ms"),
            Row("review_p99", percentiles[98], "ms"),
            Row("suggested_codes", self.suggested.total() / num_records, "codes a record"),
            Row("withheld_codes", self.withheld.total() / num_records, "codes a record"),
            Row("withheld_rightly", self.withheld[False] / max(self.withheld.total(), 1), "share"),
            Row("micro_f1_before_review", self.micro_f1(reviewed=False), "share"),
            Row("micro_f1_after_review", self.micro_f1(reviewed=True), "share"),
            Row("blocking_records", self.num_blocked / num_records, "share"),
            *(Row(f"findings_{one}", self.findings[one] / num_records, "a record") for one in Severity),
            Row("queries", self.num_queries / num_records, "a record"),
        ]


def _scored(records: Sequence[CodedRecord], scorer: Scorer) -> Iterator[tuple[CodedRecord, tuple[PredictedCode, ...]]]:
    stream = iter(records)
    while chunk := list(islice(stream, _RECORDS_A_PASS)):
        yield from zip(chunk, scorer.score([record.notes for record in chunk]), strict=True)


def _review(record: CodedRecord, codes: Sequence[PredictedCode], *, rules: AnswerRules) -> tuple[Review, float]:
    request = SuggestionRequest(record_id=record.record_id, encounter=record.encounter, notes=record.notes)
    started = time.perf_counter()
    reviewed = review(request, codes, read=read_notes(record.notes), rules=rules, suggestion_id=new_id())
    return reviewed, (time.perf_counter() - started) * 1e3


def main(
    version: Annotated[str, typer.Argument(help="A version reference or a bundle's folder.")],
    records: Annotated[str, typer.Option(help="Records to review; those of its training patients are refused.")],
    split: Annotated[str, typer.Option(help="Of which only these are read.")] = "dev",
    num_records: Annotated[int, typer.Option(help="From the first.")] = 300,
    name: Annotated[str, typer.Option(help="Of the results under docs/benchmarks.")] = "review",
    data_dir: Annotated[Path, typer.Option(help="Data directory of the version.")] = DEFAULT_DATA_DIR,
) -> None:
    """Review suggestions, and write docs/benchmarks/review.json."""
    resolved, rules = resolve_version(version, data_dir=data_dir), load_rules(data_dir)
    chosen = list(islice(records_of(records, split=split, systems=rules.systems), num_records))
    require_unseen([EvaluatedRecord.of(one) for one in chosen], manifest_of_bundle(resolved), version=version)
    tally = _Tally()
    scored = list(_scored(chosen, Scorer(resolved.folder)))
    warm(rules)
    for record, codes in scored:
        reviewed, milliseconds = _review(record, codes, rules=rules)
        tally.add(record, codes, reviewed, milliseconds=milliseconds)
    console, rows = Console(), tally.rows()
    for row in rows:
        console.print(f"{row.metric:<28} {row.value:.4g} {row.unit}", highlight=False)
    console.print(f"written to {write_results(name, rows, num_records=len(chosen))}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
