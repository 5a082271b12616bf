"""The history that ``chartloop routing`` replays: records and predictions side by side, or the ledger's decisions."""

import os
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.console import Console

from clinical_coding.artefact import describe_errors
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord
from scripts.answer_rules import load_rules
from scripts.evaluation import predicted, records_of

if TYPE_CHECKING:
    from serving.routing.history import PastEncounter

__all__ = ["decided_history", "replayed_history"]


def replayed_history(
    records: str,
    *,
    version: str | None,
    predictions: Path | None,
    routing: Sequence[Path],
    on: date,
    data_dir: Path,
    console: Console,
) -> "list[PastEncounter]":
    """Review and route coded records anew, with what a version says of them.

    Args:
        records: The spec; the codes of the records count as right.
        version: Who predicts; or None.
        predictions: The prediction file of these records, in their order; or None.
        routing: The policies, each applied.
        on: The day of routing.
        data_dir: The data directory.
        console: Where progress is shown.

    Raises:
        ValueError: Neither or both of version and predictions are given, the version was trained on some of the
            records, or the prediction file is of other records.
    """
    from governance.versions import resolve_version
    from serving.gateway.replaying import replay

    if (version is None) == (predictions is None):
        raise ValueError("name either --version, which predicts, or --predictions, a file that it wrote")
    loaded = [load_rules(data_dir, routing=path) for path in routing]
    rules, num_processes = loaded[0], os.cpu_count() or 1

    def replayed(stream: Iterator[Prediction]) -> "list[PastEncounter]":
        pairs = _side_by_side(records_of(records, split=None, systems=rules.systems), stream)
        policies = [one.router for one in loaded]
        done = replay(pairs, rules=rules, policies=policies, on=on, num_processes=num_processes)
        return list(done)

    if predictions is not None:
        return replayed(_read_predictions(predictions))
    assert version is not None
    resolved = resolve_version(version, data_dir=data_dir)
    with predicted(resolved, records, split=None, rejects=None, systems=rules.systems, console=console) as predicting:
        return replayed(iter(list(predicting)))


def decided_history(data_dir: Path, *, database_url: str | None) -> "list[PastEncounter]":
    """Read what coders decided."""
    from feedback.history import past_decisions
    from ledger.engine import ledger
    from serving.routing.history import PastEncounter, Segment

    with ledger(data_dir, url=database_url) as engine:
        return [
            PastEncounter(
                segment=Segment(one.setting, one.specialty, one.complexity or "unknown"),
                fired=(),
                num_suggested=0,
                num_wrong=one.num_wrong,
                num_missed=one.num_missed,
                seconds_spent=one.seconds_spent,
            )
            for one in past_decisions(engine)
        ]


def _read_predictions(path: Path) -> Iterator[Prediction]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield Prediction.model_validate_json(line)
                except ValidationError as error:
                    raise ValueError(f"{path}:{number}: {describe_errors(error)}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no prediction file; write one with `chartloop predict`") from None


def _side_by_side(
    records: Iterator[CodedRecord], predictions: Iterator[Prediction]
) -> Iterator[tuple[CodedRecord, Prediction]]:
    for number, (record, prediction) in enumerate(zip_longest(records, predictions), start=1):
        if record is None or prediction is None or record.record_id != prediction.record_id:
            raise ValueError(
                f"record {number} and prediction {number} do not belong together; "
                "predict these records anew with `chartloop predict`"
            )
        yield record, prediction
