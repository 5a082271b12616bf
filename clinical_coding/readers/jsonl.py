"""Coded records as JSON Lines: one record a line, UTF-8, read as a stream (stage 1)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from clinical_coding.artefact import describe_errors, publish
from clinical_coding.readers.admission import Admission, PatientInTwoSplitsError
from clinical_coding.readers.rejects import Rejects
from clinical_coding.records import CodedRecord

__all__ = ["read_jsonl", "write_jsonl"]

_UTF8_MARK = b"\xef\xbb\xbf"


def read_jsonl(path: Path, *, rejects: Rejects, admission: Admission) -> Iterator[CodedRecord]:
    """Read records, one at a time; blank lines count as lines and say nothing.

    Args:
        path: A UTF-8 file with one CodedRecord of schema version 1 a line.
        rejects: Takes the lines that are not one.
        admission: Judges each record.

    Raises:
        ValueError: The file is in another encoding, too many lines are rejected, or a patient
            is found in two splits.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            text = _decode(line, path=path, number=number)
            if not text.strip():
                continue
            try:
                record = admission.admit(CodedRecord.model_validate_json(text))
            except ValidationError as error:
                rejects.add(path, line=number, reason=describe_errors(error), raw=text)
            except PatientInTwoSplitsError as error:
                raise ValueError(f"{path}, line {number}: split: {error}") from None
            except ValueError as error:
                rejects.add(path, line=number, reason=str(error), raw=text)
            else:
                yield record


def write_jsonl(records: Iterable[CodedRecord], path: Path) -> int:
    """Write records, one a line; the file appears whole or not at all.

    Returns:
        The number of records written.
    """
    count = 0
    with publish(path) as stream:
        for record in records:
            stream.write(record.model_dump_json() + "\n")
            count += 1
    return count


def _decode(line: bytes, *, path: Path, number: int) -> str:
    if number == 1:
        line = line.removeprefix(_UTF8_MARK)
    # A null byte never stands in JSON, but every second byte of UTF-16 is one.
    encoding = "UTF-16" if b"\0" in line or line.startswith((b"\xff\xfe", b"\xfe\xff")) else "LATIN1"
    try:
        if encoding == "UTF-16":
            raise UnicodeError
        return line.decode().rstrip("\r\n")
    except UnicodeError:
        raise ValueError(
            f"{path}, line {number} is not UTF-8 text (perhaps {encoding}); convert the file, for instance with: "
            f"iconv -f {encoding} -t UTF-8 {path.name} > utf8.jsonl"
        ) from None
