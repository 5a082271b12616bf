import pytest

from clinical_coding.readers.sample import read_sample
from clinical_coding.records import CodedRecord


@pytest.fixture(scope="session")
def records() -> tuple[CodedRecord, ...]:
    return tuple(read_sample(5_000))
