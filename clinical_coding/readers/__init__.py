"""Stage 1 of the flow: sources of many forms, read as one stream of coded records.

``read_records`` takes a record spec and yields records one at a time, so that memory does not
grow with the notes. Every record it yields has a split, and no patient is in two.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from clinical_coding.code_systems import CodeSystems
from clinical_coding.readers.admission import Admission, PatientInTwoSplitsError, assign_split
from clinical_coding.readers.jsonl import read_jsonl, write_jsonl
from clinical_coding.readers.rejects import Rejects
from clinical_coding.readers.spec import RecordSpec, parse_spec
from clinical_coding.records import CodedRecord, Split

__all__ = ["PatientInTwoSplitsError", "assign_split", "read_records", "write_jsonl", "write_parquet"]


def read_records(
    spec: str,
    *,
    splits: Collection[Split] = tuple(Split),
    rejects: Path | None = None,
    max_rejects: int = 100,
    systems: CodeSystems | None = None,
) -> Iterator[CodedRecord]:
    """Read the records that a spec names, as a stream.

    Args:
        spec: ``jsonl:PATH``, ``parquet:PATH``, ``codiesp:PATH[?lang=en|es&task=D|P]`` or
            ``sample:N[?seed=0]``.
        splits: The splits to give; the others are read all the same, and judged.
        rejects: Where to keep lines that cannot be read, with file, line and reason.
        max_rejects: How many such lines are borne before the reading stops.
        systems: The releases of code systems that codes are judged by; the embedded one when None.

    Returns:
        The records, each with a split: its own, or one given by its patient id.

    Raises:
        ValueError: At once when the spec is wrong or there is no such file; while reading when
            more lines than ``max_rejects`` are rejected, or a patient is found in two splits.
    """
    records = _open(spec, rejects=rejects, max_rejects=max_rejects, admission=Admission(systems))
    return (record for record in records if record.split in splits)


def write_parquet(records: Iterable[CodedRecord], path: Path) -> int:
    """Write records as Parquet; the file appears whole or not at all.

    Returns:
        The number of records written.
    """
    from clinical_coding.readers import parquet

    return parquet.write_parquet(records, path)


def _open(spec: str, *, rejects: Path | None, max_rejects: int, admission: Admission) -> Iterator[CodedRecord]:
    parsed = parse_spec(spec)
    if parsed.form == "sample":
        from clinical_coding.readers.sample import read_sample

        return read_sample(int(parsed.place), seed=int(parsed.options["seed"]))
    path = Path(parsed.place).expanduser()
    if not (path.is_file() or (path.is_dir() and parsed.form == "codiesp")):
        raise ValueError(f"record spec {spec!r} names no file at {path}; check the path")
    return _read_file(parsed, path=path, rejects=Rejects(rejects, max_rejects=max_rejects), admission=admission)


def _read_file(spec: RecordSpec, *, path: Path, rejects: Rejects, admission: Admission) -> Iterator[CodedRecord]:
    with rejects:
        if spec.form == "jsonl":
            yield from read_jsonl(path, rejects=rejects, admission=admission)
        elif spec.form == "parquet":
            from clinical_coding.readers.parquet import read_parquet

            yield from read_parquet(path, rejects=rejects, admission=admission)
        else:
            from clinical_coding.readers.codiesp import read_codiesp

            language, task = spec.options["lang"], spec.options["task"]
            yield from read_codiesp(path, language=language, task=task, rejects=rejects, admission=admission)
